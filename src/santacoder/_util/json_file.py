"""JSON files of bounded size whose errors name the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from santacoder._util.text_file import decode_text
from santacoder.errors import ModelFormatError, SantaCoderError

MAX_BYTES: Final = 1 << 25  # the tokenizer.json of 2^18 tokens takes some 20 MB


def read_object(path: Path, kind: type[SantaCoderError] = ModelFormatError) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        OSError: the file cannot be read.
        SantaCoderError: a `kind`: it is too large, is not JSON, or holds something other than an object.
    """
    return parse_object(read_bytes(path, kind), path, kind)


def read_json(path: Path, kind: type[SantaCoderError] = ModelFormatError) -> object:
    """Return the JSON value in a file.

    Raises:
        OSError: the file cannot be read.
        SantaCoderError: a `kind`: it is too large, or is not JSON.
    """
    return _parse(read_bytes(path, kind), path, kind)


def read_bytes(path: Path, kind: type[SantaCoderError] = ModelFormatError) -> bytes:
    """Return the contents of a file of at most MAX_BYTES.

    Raises:
        OSError: the file cannot be read.
        SantaCoderError: a `kind`: it is larger, or not a file.
    """
    if not path.is_file():
        raise kind(f"{path} is not a file")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise kind(f"{path} has {size} bytes, but at most {MAX_BYTES} are read")
    return path.read_bytes()


def parse_object(data: bytes, name: object, kind: type[SantaCoderError] = ModelFormatError) -> dict[str, Any]:
    """Return the JSON object in `data`; errors call it `name`.

    Raises:
        SantaCoderError: a `kind`: it is not UTF-8 or not JSON, or holds something other than an object.
    """
    value = _parse(data, name, kind)
    if not isinstance(value, dict):
        raise kind(f"{name} holds a JSON {type(value).__name__}, not an object")
    return value


def _parse(data: bytes, name: object, kind: type[SantaCoderError]) -> object:
    text = decode_text(data, name, kind)
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise kind(f"{name} is not JSON: {error}") from None
    return value
