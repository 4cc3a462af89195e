"""A tensor in a weights file."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from santacoder._util.validation import printable
from santacoder.errors import ModelFormatError

_BF16_EXPONENT: Final = 0x7F80  # all ones in an infinity or a NaN
_CHUNK: Final = 1 << 20  # values checked at a time


@dataclass(frozen=True)
class StoredTensor:
    """A stored tensor, and how to read its values.

    Attributes:
        name: as in the file.
        file: the file's name.
        dtype: "F32", "F16" or "BF16", spelt as in safetensors and GGUF; or a type that no weight may have.
        shape: as in the file.
        fetch: reads the values start..stop-1 in row-major order, (stop - start,), in the array type of FLOAT_DTYPES.
    """

    name: str
    file: str
    dtype: str
    shape: tuple[int, ...]
    fetch: Callable[[int, int], NDArray[Any]]

    @property
    def size(self) -> int:
        """The number of values."""
        return math.prod(self.shape)

    def error(self, problem: str) -> ModelFormatError:
        """Return the error "FILE: tensor NAME PROBLEM", for the caller to raise."""
        return ModelFormatError(f"{self.file}: tensor {printable(self.name)} {problem}")

    def read(self) -> NDArray[Any]:
        """Return the values in `shape`, C-contiguous.

        Raises:
            ModelFormatError: a value is infinite or not a number.
        """
        values = self.fetch(0, self.size)
        for start in range(0, self.size, _CHUNK):
            part = values[start : start + _CHUNK]
            fine = (part & _BF16_EXPONENT) != _BF16_EXPONENT if self.dtype == "BF16" else np.isfinite(part)
            if not fine.all():
                place = np.unravel_index(start + int(np.argmin(fine)), self.shape)
                raise self.error(f"holds a value that is infinite or not a number, at {[int(i) for i in place]}")
        return values.reshape(self.shape)

    def equals(self, other: StoredTensor) -> bool:
        """Return whether type, shape and values are equal, in bounded memory; NaN equals nothing."""
        if (self.dtype, self.shape) != (other.dtype, other.shape):
            return False
        pieces = ((start, min(start + _CHUNK, self.size)) for start in range(0, self.size, _CHUNK))
        return all(np.array_equal(self.fetch(*piece), other.fetch(*piece)) for piece in pieces)
