"""A checkpoint's file, found by name, and the tokenizer that is shared with its model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final
from weakref import WeakValueDictionary

from santacoder._util.regular_file import file_identity
from santacoder._util.validation import invalid_argument
from santacoder.conversion.find_model import ModelOptions, find_model, find_tokenizer
from santacoder.engine.loading import open_transformer
from santacoder.errors import InvalidRequestError
from santacoder.gguf.config_reader import read_config
from santacoder.gguf.reader import GGUFFile
from santacoder.model import SantaCoder
from santacoder.prefixes.place import find_place
from santacoder.quantize.mixes import find_mix
from santacoder.sources.model_name import parse_name
from santacoder.text.tokenizer import Tokenizer

#: Of a checkpoint that is converted: nearest to what transformers gives.
DEFAULT_TYPE: Final = "q8_0"
#: PyTorch's names -> ours.
_DTYPES: Final = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
#: Tokenizers in use, by the identity of their file.
_TOKENIZERS: Final[WeakValueDictionary[tuple[int, ...], Tokenizer]] = WeakValueDictionary()


def options_of(gguf_file: str | None, type: str | None, dtypes: Mapping[str, object], **access: Any) -> ModelOptions:
    """Return what a caller of `from_pretrained` asks for.

    Args:
        gguf_file: the file in a folder or repository.
        type: of a checkpoint's matrices, or None.
        dtypes: arguments by name that say it in PyTorch's words; None and "auto" say nothing.
        access: fields of `ModelOptions`.

    Raises:
        InvalidRequestError: a dtype is not one of three, or two of these arguments contradict each other.
    """
    said: dict[str, str] = {}
    if type is not None:
        find_mix(type)
        said["type"] = type.lower()
    floats = {}
    for name, dtype in dtypes.items():
        if dtype not in (None, "auto"):
            word = str(dtype).removeprefix("torch.")
            if word not in _DTYPES:
                raise invalid_argument(name, dtype, f"one of {', '.join(_DTYPES)}, or None: choose others with type")
            floats[name] = _DTYPES[word]
    if len({*said.values(), *floats.values()}) > 1:
        (first, one), (second, other) = list({**said, **floats}.items())[:2]
        raise InvalidRequestError(f"{first} is {one!r}, but {second} is {other!r}")
    default = next(iter(floats.values()), DEFAULT_TYPE)
    return ModelOptions(gguf_file, "gguf_file", said.get("type"), default, **access)


def find_checkpoint(checkpoint: str | os.PathLike[str], options: ModelOptions) -> str:
    """Return the path of a checkpoint's GGUF file; errors are those of `find_model`."""
    return find_model(parse_name(checkpoint), options)


def open_tokenizer(checkpoint: str | os.PathLike[str], options: ModelOptions) -> tuple[Tokenizer, int]:
    """Return a checkpoint's tokenizer and the model's context; weights are neither downloaded nor converted for it.

    Errors are those of `find_model` and `load_tokenizer`.
    """
    found = find_tokenizer(parse_name(checkpoint), options)
    return load_tokenizer(found) if isinstance(found, str) else found


def load_tokenizer(path: str) -> tuple[Tokenizer, int]:
    """Return a file's tokenizer (its loaded model's, if there is one) and the model's context; read no weights.

    Raises:
        OSError: the file cannot be opened.
        ModelFormatError: it is not a model's file.
    """
    key = file_identity(path)
    with GGUFFile.open(path) as file:
        config = read_config(file)
        tokenizer = _TOKENIZERS.get(key) or Tokenizer.from_gguf(file, config.vocab_size)
    _TOKENIZERS[key] = tokenizer
    return tokenizer, config.context_length


def load_model(path: str, threads: int | None, context: int | None) -> SantaCoder:
    """Load a model as `SantaCoder.load` does, with the tokenizer of `load_tokenizer` if that is still in use."""
    key, place = file_identity(path), find_place()
    prefixes = None if place is None else place.of_model(path)
    transformer, tokenizer = open_transformer(path, threads, context, _TOKENIZERS.get(key))
    _TOKENIZERS[key] = tokenizer
    return SantaCoder(transformer, tokenizer, prefixes)
