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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names for type checkers, which cannot follow `__getattr__`; a test compares the two
    from santacoder._version import __version__ as __version__
    from santacoder.attribution.index import AttributionIndex as AttributionIndex
    from santacoder.attribution.matches import Match as Match
    from santacoder.attribution.matches import Source as Source
    from santacoder.batching.counters import Counters as Counters
    from santacoder.batching.limits import Limits as Limits
    from santacoder.batching.session import Session as Session
    from santacoder.conversion.convert import convert as convert
    from santacoder.decoding.logprobs import TokenLogprobs as TokenLogprobs
    from santacoder.decoding.options import SamplingOptions as SamplingOptions
    from santacoder.decoding.results import Completion as Completion
    from santacoder.decoding.results import Piece as Piece
    from santacoder.decoding.results import Timings as Timings
    from santacoder.decoding.results import Usage as Usage
    from santacoder.engine.isa import isa as isa
    from santacoder.errors import AttributionIndexError as AttributionIndexError
    from santacoder.errors import ContextOverflowError as ContextOverflowError
    from santacoder.errors import DeadlockError as DeadlockError
    from santacoder.errors import HookError as HookError
    from santacoder.errors import HubError as HubError
    from santacoder.errors import InvalidRequestError as InvalidRequestError
    from santacoder.errors import IsolationError as IsolationError
    from santacoder.errors import MissingPackageError as MissingPackageError
    from santacoder.errors import ModelClosedError as ModelClosedError
    from santacoder.errors import ModelFormatError as ModelFormatError
    from santacoder.errors import ModelNotFoundError as ModelNotFoundError
    from santacoder.errors import NumericalError as NumericalError
    from santacoder.errors import QueueFullError as QueueFullError
    from santacoder.errors import QueueTimeoutError as QueueTimeoutError
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
    "AttributionIndex": "attribution.index",
    "AttributionIndexError": "errors",
    "Completion": "decoding.results",
    "Config": "gguf.config",
    "ContextOverflowError": "errors",
    "Counters": "batching.counters",
    "DeadlockError": "errors",
    "HookError": "errors",
    "HubError": "errors",
    "InvalidRequestError": "errors",
    "IsolationError": "errors",
    "Match": "attribution.matches",
    "MissingPackageError": "errors",
    "Limits": "batching.limits",
    "Mode": "text.infilling",
    "ModelClosedError": "errors",
    "ModelFormatError": "errors",
    "ModelNotFoundError": "errors",
    "NumericalError": "errors",
    "Piece": "decoding.results",
    "Prompt": "requests",
    "QueueFullError": "errors",
    "QueueTimeoutError": "errors",
    "Request": "requests",
    "SamplingOptions": "decoding.options",
    "SantaCoder": "model",
    "SantaCoderError": "errors",
    "Score": "scoring.score",
    "Session": "batching.session",
    "SessionFormatError": "errors",
    "Source": "attribution.matches",
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
    path: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    context: int | None = None,
    *,
    type: str | None = None,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    prefix_cache: bool | str | os.PathLike[str] | None = None,
    prefix_cache_bytes: int | None = None,
    packed: bool | None = False,
) -> SantaCoder:
    """Load a model; without a name the small demonstration model that ships in the package.

    Names are read in one way everywhere: a GGUF file; a folder with one; "owner/name" or "owner/name:file" on the hub,
    or the URL of its page; "packaged", the demonstration model (a file of that name is "./packaged"). A folder or a
    repository that has a checkpoint in place of a GGUF file, such as "bigcode/santacoder", is converted into a cache
    when it is loaded for the first time. An object that is not a str, such as a Path, is a path.

    Args:
        path: the model's name.
        threads: how many threads compute; None takes what the machine allows.
        context: positions to use, prompt and completion together; None takes all that the model has.
        type: of a checkpoint's matrices, "f16" or "q8_0", say; None is "q4_k_m". A GGUF file has to be of this type.
        revision: a branch, tag or commit of a repository; None is the default branch.
        cache_dir: the folder of the hub's cache, and of converted checkpoints within it; None is the usual ones.
        token: for gated and private repositories; None takes the one of `hf auth login`.
        local_files_only: look nowhere but in the cache.
        force_download: download and convert even what is in the cache.
        prefix_cache: a folder for keys and values of prompts, which the next process that runs the model need not
            compute; True is the usual one, None what SANTACODER_PREFIX_CACHE says, which is none unless it is set.
        prefix_cache_bytes: the most bytes in that folder, of all models; None is 2 GiB.
        packed: keep the packed weights in a file of the cache and map it: processes share the memory, and all starts
            but the first are faster. Where it cannot be written, a warning says why.

    Raises:
        OSError: a file cannot be found or downloaded: FileNotFoundError, HubError.
        ModelNotFoundError: `path` is None, and the installation lacks the packaged model.
        ModelFormatError: it is not a model that can run.
        MissingPackageError: the package that reads a checkpoint is not installed.
        InvalidRequestError: there is no model, or several, or an argument is out of range.
        UnsupportedISAError: SANTACODER_ISA asks for what this CPU lacks.
    """
    return _load(
        path, threads, context, prefix_cache, prefix_cache_bytes, packed, type=type, revision=revision,
        cache_dir=cache_dir, token=token, local_files_only=local_files_only, force_download=force_download,
    )  # fmt: skip


def from_pretrained(
    repo: str | os.PathLike[str],
    filename: str | None = None,
    revision: str | None = None,
    threads: int | None = None,
    context: int | None = None,
    *,
    type: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    prefix_cache: bool | str | os.PathLike[str] | None = None,
    prefix_cache_bytes: int | None = None,
    packed: bool | None = False,
) -> SantaCoder:
    """Load a model, usually from the Hugging Face hub, downloaded unless the local cache has it.

    Args:
        repo: "owner/name", "owner/name:file", or any other name that `load` takes.
        filename: the file; None takes the one that `repo` names, the only GGUF file, or the only Q4_K_M one.
        revision: a branch, tag or commit; None is the default branch.
        threads: as in `load`.
        context: as in `load`.
        type: as in `load`.
        cache_dir: as in `load`.
        token: as in `load`.
        local_files_only: as in `load`.
        force_download: as in `load`.
        prefix_cache: as in `load`.
        prefix_cache_bytes: as in `load`.
        packed: as in `load`.

    Raises:
        InvalidRequestError: `repo` names another file than `filename`, or as in `load`.
        SantaCoderError: any error of `load`.
    """
    return _load(
        repo, threads, context, prefix_cache, prefix_cache_bytes, packed, file=filename, type=type, revision=revision,
        cache_dir=cache_dir, token=token, local_files_only=local_files_only, force_download=force_download,
    )  # fmt: skip


def _load(
    name: str | os.PathLike[str] | None,
    threads: int | None,
    context: int | None,
    prefix_cache: bool | str | os.PathLike[str] | None,
    prefix_cache_bytes: int | None,
    packed: bool | None,
    **options: Any,
) -> SantaCoder:
    """Load the model of this name; `options` are those of `ModelOptions`."""
    from santacoder.conversion.find_model import ModelOptions, find_model
    from santacoder.engine.loading import open_transformer
    from santacoder.prefixes.place import find_place
    from santacoder.sources.model_name import parse_name
    from santacoder.sources.packed import packed_cache

    place = find_place(prefix_cache, prefix_cache_bytes, options["cache_dir"])
    cache = packed_cache(packed, options["cache_dir"])
    path = find_model(parse_name(name), ModelOptions(**options))
    prefixes = None if place is None else place.of_model(path)
    transformer, tokenizer = open_transformer(
        path, threads, context, meanwhile=lambda: import_module("santacoder.model"), packed=cache
    )
    from santacoder.model import SantaCoder

    return SantaCoder(transformer, tokenizer, prefixes)


if not TYPE_CHECKING:  # else type checkers would accept any name as public

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module(f"santacoder.{_MODULES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
