"""The metadata of a GGUF file: its keys and values, their byte offsets, and errors that name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from santacoder.errors import ModelFormatError

#: A metadata value: arrays of strings are lists, arrays of numbers are read-only 1-D NumPy arrays.
MetadataValue = bool | int | float | str | list[str] | NDArray[Any]


class Metadata(dict[str, MetadataValue]):
    """The key-value section, with each value's byte offset, which errors name, and its GGUF type."""

    def __init__(self, values: Mapping[str, MetadataValue] | None = None, path: str = "") -> None:
        """Wrap `values`; without offsets (a plain mapping) errors name only the key."""
        super().__init__(values or {})
        self.path = path
        self.offsets: dict[str, int] = {}
        self.kinds: dict[str, int] = {}

    def error(self, key: str, problem: str) -> ModelFormatError:
        """Return the error "KEY at byte N PROBLEM", for the caller to raise."""
        prefix = f"{self.path}: " if self.path else ""
        where = f" at byte {self.offsets[key]}" if key in self.offsets else ""
        return ModelFormatError(f"{prefix}{key}{where} {problem}")

    @overload
    def integer(self, key: str, low: int, high: int, default: int) -> int: ...
    @overload
    def integer(self, key: str, low: int, high: int, default: None = None) -> int | None: ...
    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int | None:
        """Return the integer under `key`, or `default` if it is absent.

        Raises:
            ModelFormatError: it is not an integer, or not in low..high.
        """
        if key not in self:
            return default
        value = self[key]
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(key, f"is {type_word(value)}, but it must be an integer")
        if not low <= value <= high:
            raise self.error(key, f"is {value}, but it must be in {low}..{high}")
        return value

    def string(self, key: str, default: str) -> str:
        """Return the string under `key`, or `default` if it is absent; another type is a ModelFormatError."""
        value = self.get(key, default)
        if not isinstance(value, str):
            raise self.error(key, f"is {type_word(value)}, but it must be a string")
        return value


def type_word(value: MetadataValue) -> str:
    """Return a value's type with its article, for error messages: "an integer", "an array of strings"."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype.name}"
    if isinstance(value, list):
        return "an array of strings"
    return {"str": "a string", "int": "an integer"}.get(type(value).__name__, f"a {type(value).__name__}")
