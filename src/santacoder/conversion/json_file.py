"""JSON files of bounded size whose errors name the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from santacoder._util.text_file import decode_text
from santacoder.errors import ModelFormatError

MAX_BYTES: Final = 1 << 25  # the tokenizer.json of 2^18 tokens takes some 20 MB


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        OSError: the file cannot be read.
        ModelFormatError: it is too large, is not JSON, or holds something else than an object.
    """
    return parse_object(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """All of a file of at most MAX_BYTES.

    Raises:
        OSError: the file cannot be read.
        ModelFormatError: it is larger, or no file.
    """
    if not path.is_file():
        raise ModelFormatError(f"{path} is not a file")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ModelFormatError(f"{path} has {size} bytes, but at most {MAX_BYTES} are read")
    return path.read_bytes()


def parse_object(data: bytes, name: object) -> dict[str, Any]:
    """The JSON object in `data`; errors call it `name`.

    Raises:
        ModelFormatError: it is not UTF-8 or not JSON, or holds something else than an object.
    """
    text = decode_text(data, name, ModelFormatError)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{name} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ModelFormatError(f"{name} holds a JSON {type(value).__name__}, not an object")
    return value
