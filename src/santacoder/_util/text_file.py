"""Decodes text files: UTF-8, with or without a byte order mark. Other encodings are named and refused."""

from __future__ import annotations

import codecs
from typing import Final

from santacoder.errors import InvalidRequestError, SantaCoderError

#: Byte order marks; that of UTF-32 begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16"),
)  # fmt: skip


def decode_text(data: bytes, name: object, kind: type[SantaCoderError] = InvalidRequestError) -> str:
    """Return the text of a file, without its byte order mark.

    Args:
        data: the file's contents.
        name: what errors call it.
        kind: of the errors.

    Raises:
        SantaCoderError: a `kind`: it is not UTF-8. UTF-16 and UTF-32 are named, even without their marks if most
            characters are ASCII.
    """
    if wide := _wide(data):
        raise kind(f"{name} is {wide}, but it must be UTF-8")
    begin = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
    try:
        return data[begin:].decode()
    except UnicodeDecodeError as error:
        raise kind(f"{name} is not UTF-8 at byte {begin + error.start}") from None


def _wide(data: bytes) -> str:
    """Return the name of the encoding if it has two or four bytes per character, or ""."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name
    for size, name in ((4, "UTF-32"), (2, "UTF-16")):
        if data and len(data) % size == 0 and any(_ascii_in(data, size, at) for at in (0, size - 1)):
            return name
    return ""


def _ascii_in(data: bytes, size: int, at: int) -> bool:
    """Return whether most characters of `size` bytes are zero except for their byte `at`, as those of ASCII are."""
    half = len(data) // size / 2
    zeros = [data[place::size].count(0) for place in range(size)]
    return zeros.pop(at) < half < min(zeros)
