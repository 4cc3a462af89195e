"""The HTTP server: OpenAI's completions, llama.cpp's endpoints, a tokenizer for harnesses, and a page for people.

    app = santacoder.server.create_app(santacoder.load("model.gguf"))

`create_app` makes an ASGI application, which any ASGI server can run; `santacoder serve` runs it with uvicorn. Each
answer is the one that the library gives in process, whatever else runs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from santacoder.server.app import create_app as create_app
    from santacoder.server.settings import Settings as Settings

_MODULES = {"create_app": "app", "Settings": "settings"}
__all__ = sorted(_MODULES)

if not TYPE_CHECKING:  # Starlette is imported on first use: the settings do not need it

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"santacoder.server.{_MODULES[name]}"), name)
