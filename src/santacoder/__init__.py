"""Runs the SantaCoder code model from a GGUF file on a CPU.

    import santacoder

    with santacoder.load("santacoder-q4_k_m.gguf") as model:
        print(model.complete("def fib(n):", max_tokens=64).text)

Without a path, `load` takes the small demonstration model that ships in the package.
Importing this package is quick: slow imports (NumPy, tokenizers, the kernels) follow on first use.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the same names for type checkers, which cannot follow `__getattr__`; a test compares the two
    from santacoder._version import __version__ as __version__
    from santacoder.batching.session import Session as Session
    from santacoder.conversion.convert import convert as convert
    from santacoder.decoding.logprobs import TokenLogprobs as TokenLogprobs
    from santacoder.decoding.options import SamplingOptions as SamplingOptions
    from santacoder.decoding.results import Completion as Completion
    from santacoder.decoding.results import Piece as Piece
    from santacoder.decoding.results import Timings as Timings
    from santacoder.decoding.results import Usage as Usage
    from santacoder.engine.isa import isa as isa
    from santacoder.errors import ContextOverflowError as ContextOverflowError
    from santacoder.errors import DeadlockError as DeadlockError
    from santacoder.errors import HubError as HubError
    from santacoder.errors import InvalidRequestError as InvalidRequestError
    from santacoder.errors import IsolationError as IsolationError
    from santacoder.errors import MissingPackageError as MissingPackageError
    from santacoder.errors import ModelClosedError as ModelClosedError
    from santacoder.errors import ModelFormatError as ModelFormatError
    from santacoder.errors import ModelNotFoundError as ModelNotFoundError
    from santacoder.errors import NumericalError as NumericalError
    from santacoder.errors import SantaCoderError as SantaCoderError
    from santacoder.errors import SessionFormatError as SessionFormatError
    from santacoder.errors import UnsupportedISAError as UnsupportedISAError
    from santacoder.gguf.config import Config as Config
    from santacoder.model import SantaCoder as SantaCoder
    from santacoder.requests import Prompt as Prompt
    from santacoder.requests import Request as Request
    from santacoder.scoring.score import Score as Score
    from santacoder.text.infilling import Mode as Mode
    from santacoder.text.tokenizer import Tokenizer as Tokenizer

#: Every public name that another module defines -> that module.
_MODULES = {
    "Completion": "decoding.results",
    "Config": "gguf.config",
    "ContextOverflowError": "errors",
    "DeadlockError": "errors",
    "HubError": "errors",
    "InvalidRequestError": "errors",
    "IsolationError": "errors",
    "MissingPackageError": "errors",
    "Mode": "text.infilling",
    "ModelClosedError": "errors",
    "ModelFormatError": "errors",
    "ModelNotFoundError": "errors",
    "NumericalError": "errors",
    "Piece": "decoding.results",
    "Prompt": "requests",
    "Request": "requests",
    "SamplingOptions": "decoding.options",
    "SantaCoder": "model",
    "SantaCoderError": "errors",
    "Score": "scoring.score",
    "Session": "batching.session",
    "SessionFormatError": "errors",
    "Timings": "decoding.results",
    "TokenLogprobs": "decoding.logprobs",
    "Tokenizer": "text.tokenizer",
    "UnsupportedISAError": "errors",
    "Usage": "decoding.results",
    "__version__": "_version",
    "convert": "conversion.convert",
    "isa": "engine.isa",
}
__all__ = sorted(["from_pretrained", "load", *_MODULES])


def load(
    path: str | os.PathLike[str] | None = None, threads: int | None = None, context: int | None = None
) -> SantaCoder:
    """Load a GGUF file, or without a path the small demonstration model that ships in the package.

    Arguments and errors are those of `SantaCoder.load`.

    Raises:
        ModelNotFoundError: `path` is None, and the installation lacks the packaged model.
    """
    from santacoder.engine.loading import open_transformer
    from santacoder.sources.packaged import packaged_model

    transformer, tokenizer = open_transformer(
        packaged_model() if path is None else path,
        threads,
        context,
        meanwhile=lambda: import_module("santacoder.model"),
    )
    from santacoder.model import SantaCoder

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
        repo: "owner/name", or "owner/name:file".
        filename: the file; None takes the one that `repo` names, the only GGUF file, or the only Q4_K_M one.
        revision: a branch, tag or commit; None is the default branch.
        threads: as in `SantaCoder.load`.
        context: as in `SantaCoder.load`.

    Raises:
        InvalidRequestError: `repo` is a path or names another file than `filename`, or the repository has no such
            file, no GGUF file, or several.
        HubError: the repository or the file cannot be fetched.
        SantaCoderError: any error of `SantaCoder.load`.
    """
    from santacoder.sources.hub import download
    from santacoder.sources.model_name import parse_hub_name, with_file

    name = parse_hub_name(repo)
    if name is not None:  # else `download` says what is wrong with it
        name = with_file(name, "filename", filename)
        repo, filename = name.repo or repo, name.file
    return load(download(repo, filename, revision), threads, context)


if not TYPE_CHECKING:  # else type checkers would accept any name as public

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module(f"santacoder.{_MODULES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
