"""Bounded reading of a GGUF header: numbers, strings and arrays, each size checked before it is used."""

from __future__ import annotations

import mmap
import struct
from typing import Any, Final

import numpy as np

from santacoder._util.validation import format_value
from santacoder.errors import ModelFormatError
from santacoder.gguf.metadata import MetadataValue

_MAX_ARRAY_STRINGS: Final = 1 << 19  # the largest vocabularies have 2^18, and few bytes make many strings
_MAX_STRING_BYTES: Final = 1 << 26
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")
_BOOL, _STRING, _ARRAY = 7, 8, 9
_SCALARS: Final[dict[int, struct.Struct]] = {
    0: struct.Struct("<B"), 1: struct.Struct("<b"), 2: struct.Struct("<H"), 3: struct.Struct("<h"),
    4: _U32, 5: struct.Struct("<i"), 6: struct.Struct("<f"), 7: struct.Struct("<B"),
    10: _U64, 11: struct.Struct("<q"), 12: struct.Struct("<d"),
}  # fmt: skip


class Cursor:
    """Reads little-endian values from a mapping of `size` bytes; every rejection is a ModelFormatError.

    `field` is the name that errors give to the value being read.
    """

    def __init__(self, buffer: mmap.mmap, size: int) -> None:
        """Start at byte 0."""
        self.buffer = buffer
        self.size = size
        self.pos = 0

    def skip(self, n_bytes: int, field: str) -> int:
        """Move past n_bytes and return where they start."""
        start = self.pos
        if n_bytes > self.size - start:
            left = self.size - start
            raise ModelFormatError(f"{field} needs {n_bytes} bytes at byte {start}, but only {left} remain")
        self.pos = start + n_bytes
        return start

    def _scalar(self, layout: struct.Struct, field: str) -> Any:
        return layout.unpack_from(self.buffer, self.skip(layout.size, field))[0]

    def u32(self, field: str) -> int:
        """Read 4 bytes as a number."""
        return int(self._scalar(_U32, field))

    def u64(self, field: str) -> int:
        """Read 8 bytes as a number."""
        return int(self._scalar(_U64, field))

    def count(self, field: str, item_bytes: int, limit: int) -> int:
        """Read a number of items, each of which takes at least item_bytes of the bytes that remain."""
        at = self.pos
        n = self.u64(field)
        room = (self.size - self.pos) // item_bytes
        if n > room:
            raise ModelFormatError(f"{field} is {n} at byte {at}, but at most {room} can follow")
        if n > limit:
            raise ModelFormatError(f"{field} is {n} at byte {at}, but at most {limit} are read")
        return n

    def string(self, field: str, low: int, high: int) -> str:
        """Read a length-prefixed UTF-8 string of low..high bytes."""
        at = self.pos
        n = self.u64(f"the length of {field}")
        if not low <= n <= high:
            raise ModelFormatError(f"the length of {field} is {n} at byte {at}, not in {low}..{high}")
        start = self.skip(n, field)
        try:
            return self.buffer[start : start + n].decode()
        except UnicodeDecodeError as error:
            raise ModelFormatError(f"{field} is not UTF-8 at byte {start + error.start}") from None

    def identifier(self, field: str, high: int) -> str:
        """Read a key or a tensor name: a string that is not empty and holds no NUL."""
        at = self.pos
        text = self.string(field, 1, high)
        if "\0" in text:
            raise ModelFormatError(f"{field} {format_value(text)} at byte {at} holds a NUL character")
        return text

    def value(self, kind: int, field: str, at: int) -> MetadataValue:
        """Read the value of one key; `at` is the offset of its type."""
        if kind == _STRING:
            return self.string(field, 0, _MAX_STRING_BYTES)
        if kind == _ARRAY:
            return self._array(field)
        if kind not in _SCALARS:
            raise ModelFormatError(f"the type of {field} is {kind} at byte {at}, not in 0..12")
        number: int | float = self._scalar(_SCALARS[kind], field)
        if kind != _BOOL:
            return number
        if number not in (0, 1):
            raise ModelFormatError(f"{field} is the bool {number} at byte {self.pos - 1}, not 0 or 1")
        return bool(number)

    def _array(self, field: str) -> MetadataValue:
        at = self.pos
        kind = self.u32(f"the element type of {field}")
        if kind == _STRING:
            return self._strings(field)
        if kind not in _SCALARS:
            what = "arrays (nested arrays are not supported)" if kind == _ARRAY else "an unknown type"
            raise ModelFormatError(f"the element type of {field} is {kind} at byte {at}: {what}")
        layout = _SCALARS[kind]
        n = self.count(f"the length of {field}", layout.size, self.size)
        start = self.skip(n * layout.size, field)
        values = np.frombuffer(self.buffer[start : self.pos], dtype=np.dtype(layout.format))
        if kind != _BOOL:
            return values
        wrong = np.flatnonzero(values > 1)
        if wrong.size:
            first = int(wrong[0])
            raise ModelFormatError(f"{field} is the bool {values[first]} at byte {start + first}, not 0 or 1")
        return values.view(np.bool_)

    def _strings(self, field: str) -> list[str]:
        """Read an array of strings: the hot loop of the parser, about 0.2 us per string."""
        n = self.count(f"the length of {field}", _U64.size, _MAX_ARRAY_STRINGS)
        first = self.pos
        raw: list[bytes] = []
        append, unpack, buffer, size, pos = raw.append, _U64.unpack_from, self.buffer, self.size, self.pos
        for _ in range(n):
            if size - pos < 8:
                raise ModelFormatError(f"{field}[{len(raw)}] is cut off at byte {pos}: {size - pos} bytes remain")
            (length,) = unpack(buffer, pos)
            pos += 8
            if length > size - pos:
                raise ModelFormatError(
                    f"the length of {field}[{len(raw)}] is {length} at byte {pos - 8}, "
                    f"but only {size - pos} bytes remain"
                )
            end = pos + length
            append(buffer[pos:end])
            pos = end
        self.pos = pos
        try:
            return _decode(raw)
        except UnicodeDecodeError:
            raise _bad_string(field, raw, first) from None


def _decode(raw: list[bytes]) -> list[str]:
    """Decode many short strings, thousands at a time.

    A NUL byte is never inside a UTF-8 sequence, so text joined with NULs is valid exactly when each string
    is; a string that holds a NUL itself shows up as an extra piece. join needs 80 bytes of scratch per string,
    hence the chunks.
    """
    texts: list[str] = []
    for i in range(0, len(raw), 4096):
        chunk = raw[i : i + 4096]
        pieces = b"\0".join(chunk).decode().split("\0")
        texts += pieces if len(pieces) == len(chunk) else [item.decode() for item in chunk]
    return texts


def _bad_string(field: str, raw: list[bytes], pos: int) -> ModelFormatError:
    """Return the error for the first of `raw` (an array that starts at byte `pos`) that is not UTF-8."""
    for i, item in enumerate(raw):
        try:
            item.decode()
        except UnicodeDecodeError as error:
            return ModelFormatError(f"{field}[{i}] is not UTF-8 at byte {pos + 8 + error.start}")
        pos += 8 + len(item)
    raise AssertionError(field)
