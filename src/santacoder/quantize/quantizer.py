"""Quantizes tensors to the types of GGUF files.

The formats are llama.cpp's; the numbers within a block are chosen by a method of our own: see csrc/body/fit.h and
docs/explanation/quantization.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from santacoder._native import ffi, lib
from santacoder.engine.isa import active
from santacoder.engine.threads import new_team, thread_count
from santacoder.errors import ModelFormatError
from santacoder.gguf.types import FLOAT_DTYPES, TYPES

if TYPE_CHECKING:
    from santacoder._native import Floats, Null

#: Types that `Quantizer` writes -> their number in C.
TARGETS: Final[dict[str, int]] = {
    kind.name: getattr(lib, f"SC_{kind.name}") for kind in TYPES.values() if kind.writable
}
#: Types of the arrays to quantize -> their number in C.
_SOURCES: Final[dict[np.dtype[Any], int]] = {np.dtype(dtype): TARGETS[name] for name, dtype in FLOAT_DTYPES.items()}


@dataclass(frozen=True)
class Quantized:
    """A quantized tensor.

    Attributes:
        blocks: its bytes, (n_bytes,).
        error: the sum of the squared errors of its values.
        squares: the sum of the squares of its values.
        shift: (rows,) the sum over each row of (value - rounded value) x mean input; None if the mean is not known.
    """

    blocks: NDArray[np.uint8]
    error: float
    squares: float
    shift: NDArray[np.float64] | None


class Quantizer:
    """Quantizes tensors on a team of threads. The bits do not depend on their number or on the instruction set."""

    def __init__(self, threads: int | None = None) -> None:
        """Make a team; `threads` None is as many as the machine allows.

        Raises:
            InvalidRequestError: `threads` is not an integer in 1..MAX_THREADS.
            UnsupportedISAError: SANTACODER_ISA names an instruction set that this CPU lacks.
        """
        self._isa = active()
        self._team = new_team(thread_count(threads))

    def encode(self, name: str, values: NDArray[Any], type_name: str) -> NDArray[np.uint8]:
        """Return the bytes of a tensor in a file: `quantize` without statistics of its inputs."""
        return self.quantize(name, values, type_name).blocks

    def quantize(
        self,
        name: str,
        values: NDArray[Any],
        type_name: str,
        importance: NDArray[np.float32] | None = None,
        mean: NDArray[np.float32] | None = None,
    ) -> Quantized:
        """Quantize a tensor so that its squared error is small.

        Args:
            name: for errors.
            values: (rows, columns) or (n,), C-contiguous: float32, float16, or uint16 with the bits of bfloat16.
            type_name: one of `TARGETS`, whose blocks divide a row.
            importance: (columns,), 0 or more: the weight of a column's squared errors.
            mean: (columns,): the mean input of a column.

        Raises:
            ModelFormatError: a value is infinite or not a number, or too large for the type.
            ValueError: blocks do not divide a row, or `importance` or `mean` is of another size.
        """
        kind = TYPES[type_name]
        columns = values.shape[-1]
        known = [array for array in (importance, mean) if array is not None]
        if columns % kind.block or any(array.shape != (columns,) or array.dtype != np.float32 for array in known):
            raise ValueError(f"tensor {name}: {columns} columns do not fit {type_name}, or what is known of them")
        rows = values.size // columns
        blocks = np.empty(kind.n_bytes(values.size), dtype=np.uint8)
        sums = np.empty((-(-values.size // lib.SC_QUANTIZE_UNIT), 2))
        shifts = None
        if mean is not None and kind.group is not None:
            shifts = np.empty((rows, columns // kind.group), dtype=np.float32)
        request = ffi.new(
            "sc_quantization *",
            {
                "source": _SOURCES[values.dtype],
                "target": TARGETS[type_name],
                "rows": rows,
                "columns": columns,
                "values": ffi.from_buffer(values),
                "importance": _floats(importance),
                "mean": _floats(mean),
                "blocks": ffi.from_buffer(blocks),
                "sums": ffi.from_buffer("double *", sums),
                "shifts": _floats(shifts),
            },
        )
        status = lib.sc_quantize(self._team, self._isa, request)
        if status == lib.SC_NOT_FINITE:
            raise ModelFormatError(f"tensor {name} holds a value that is infinite or not a number")
        if status == lib.SC_TOO_LARGE:
            raise ModelFormatError(f"tensor {name} holds a value that is too large for {type_name}")
        # Added in order: NumPy's own sums depend on the CPU.
        shift = None if shifts is None else np.cumsum(shifts, axis=1, dtype=np.float64)[:, -1]
        return Quantized(blocks, math.fsum(sums[:, 0]), math.fsum(sums[:, 1]), shift)


def _floats(values: NDArray[np.float32] | None) -> Floats | Null:
    return ffi.NULL if values is None else ffi.from_buffer("float *", values)
