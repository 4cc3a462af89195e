"""A checkpoint's file, found by name, and the tokenizer that is shared with its model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

from santacoder._util.regular_file import file_identity
from santacoder._util.validation import why_bad_path
from santacoder.engine.loading import open_transformer
from santacoder.errors import InvalidRequestError
from santacoder.gguf.config import Config
from santacoder.gguf.config_reader import read_config
from santacoder.gguf.reader import GGUFFile
from santacoder.model import SantaCoder
from santacoder.sources.hub import choose, listing
from santacoder.sources.model_name import local_gguf, parse_name, with_file
from santacoder.text.tokenizer import Tokenizer

#: Tokenizers in use, by the identity of their file.
_TOKENIZERS: Final[WeakValueDictionary[tuple[int, ...], Tokenizer]] = WeakValueDictionary()


def locate(checkpoint: str | os.PathLike[str], gguf_file: str | None, **access: Any) -> str:
    """Find a checkpoint's GGUF file; download it if it is on the hub and not in the cache.

    Args:
        checkpoint: a file, a folder, or a name on the hub if there is nothing at that path: see `parse_name`.
        gguf_file: the file in the folder or repository; None takes the only one, or the only Q4_K_M one.
        access: the keywords of `hub.download`.

    Raises:
        InvalidRequestError: the folder or repository has no such file, no GGUF file, or several; or `checkpoint` and
            `gguf_file` name different files.
        HubError: the file cannot be downloaded.
    """
    name = parse_name(checkpoint)
    if name.is_path:
        return _local(Path(checkpoint), gguf_file)
    return local_gguf(with_file(name, "gguf_file", gguf_file), **access)


def _local(path: Path, gguf_file: str | None) -> str:
    if "\0" in str(path):
        raise InvalidRequestError(f"{str(path)!r} {why_bad_path(path)}")
    if not path.is_dir():
        return str(path)
    names = [entry.name for entry in path.iterdir() if entry.is_file()]
    if gguf_file is not None and not (path / gguf_file).is_file():
        raise InvalidRequestError(f"{str(path)!r} has no file {gguf_file!r}; {listing(names)}")
    return str(path / (gguf_file or choose(str(path), names)))


def load_tokenizer(path: str) -> tuple[Tokenizer, Config]:
    """Return a file's tokenizer (its loaded model's, if there is one) and the model's dimensions; read no weights.

    Raises:
        OSError: the file cannot be opened.
        ModelFormatError: it is not a model's file.
    """
    key = file_identity(path)
    with GGUFFile.open(path) as file:
        config = read_config(file)
        tokenizer = _TOKENIZERS.get(key) or Tokenizer.from_gguf(file, config.vocab_size)
    _TOKENIZERS[key] = tokenizer
    return tokenizer, config


def load_model(path: str, threads: int | None, context: int | None) -> SantaCoder:
    """Load a model as `SantaCoder.load` does, with the tokenizer of `load_tokenizer` if that is still in use."""
    key = file_identity(path)
    transformer, tokenizer = open_transformer(path, threads, context, _TOKENIZERS.get(key))
    _TOKENIZERS[key] = tokenizer
    return SantaCoder(transformer, tokenizer)
