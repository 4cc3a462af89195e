"""Runs the SantaCoder code model from a GGUF file on a CPU.

    import santacoder

    with santacoder.load("santacoder-q4_k_m.gguf") as model:
        print(model.complete("def fib(n):", max_tokens=64).text)

Without a path, `load` takes the small demonstration model that ships in the package.
Importing this package is quick: what is slow to import (NumPy, tokenizers, the kernels) follows on first use.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from santacoder.errors import (
    ContextOverflowError,
    DeadlockError,
    HubError,
    InvalidRequestError,
    IsolationError,
    MissingPackageError,
    ModelClosedError,
    ModelFormatError,
    ModelNotFoundError,
    NumericalError,
    SantaCoderError,
    SessionFormatError,
    UnsupportedISAError,
)

if TYPE_CHECKING:
    from santacoder.config import Config
    from santacoder.conversion import convert
    from santacoder.generation import Completion, Piece, Timings, Usage
    from santacoder.model import SantaCoder
    from santacoder.requests import Request
    from santacoder.scoring import Score, TokenLogprobs
    from santacoder.session import Session
    from santacoder.tokenizer import Tokenizer

__version__ = "0.1.0"

__all__ = [
    "Completion",
    "Config",
    "ContextOverflowError",
    "DeadlockError",
    "HubError",
    "InvalidRequestError",
    "IsolationError",
    "MissingPackageError",
    "ModelClosedError",
    "ModelFormatError",
    "ModelNotFoundError",
    "NumericalError",
    "Piece",
    "Request",
    "SantaCoder",
    "SantaCoderError",
    "Score",
    "Session",
    "SessionFormatError",
    "Timings",
    "TokenLogprobs",
    "Tokenizer",
    "UnsupportedISAError",
    "Usage",
    "__version__",
    "convert",
    "from_pretrained",
    "isa",
    "load",
]

_MODULES = {
    "Completion": "generation",
    "Config": "config",
    "Piece": "generation",
    "Request": "requests",
    "SantaCoder": "model",
    "Score": "scoring",
    "Session": "session",
    "Timings": "generation",
    "TokenLogprobs": "scoring",
    "Tokenizer": "tokenizer",
    "Usage": "generation",
    "convert": "conversion",
}


def load(
    path: str | os.PathLike[str] | None = None, threads: int | None = None, context: int | None = None
) -> SantaCoder:
    """Load a GGUF file, or without a path the small demonstration model that ships in the package.

    Arguments and errors are those of `SantaCoder.load`.

    Raises:
        ModelNotFoundError: also, without a path, where the installation lacks that model.
    """
    from santacoder.loading import open_transformer
    from santacoder.packaged import packaged_model

    transformer, tokenizer = open_transformer(packaged_model() if path is None else path, threads, context)
    from santacoder.model import SantaCoder  # imported already, while weights were packed

    return SantaCoder(transformer, tokenizer)


def from_pretrained(
    repo: str,
    filename: str | None = None,
    revision: str | None = None,
    threads: int | None = None,
    context: int | None = None,
) -> SantaCoder:
    """Load a model from the Hugging Face hub, downloaded unless the local cache has it.

    Args:
        repo: "owner/name".
        filename: the file; None takes the only GGUF file, or the only Q4_K_M one.
        revision: a branch, tag or commit; None is the default branch.
        threads: as in `SantaCoder.load`.
        context: as in `SantaCoder.load`.

    Raises:
        InvalidRequestError: `repo` is a path, or the repository has no such file, no GGUF file, or several.
        HubError: the repository or the file cannot be had.
        SantaCoderError: any error of `SantaCoder.load`.
    """
    from santacoder.hub import download

    return load(download(repo, filename, revision), threads, context)


def isa() -> str:
    """The instruction set that models loaded now will use: "avx512" for example.

    Raises:
        UnsupportedISAError: SANTACODER_ISA names none, or one that this CPU lacks.
    """
    from santacoder import _isa

    return _isa.isa()


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"santacoder.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
