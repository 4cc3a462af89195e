"""The table of GGUF's tensor types, one row each: how its blocks are stored, and what this library does with them.

All other tables of types are made from this one. What a new type needs besides its row depends on its `packing`:

    CONVERTED   nothing, or a function in engine/ternary.py where the `gguf` package cannot dequantize it
    OWN         SC_* in santacoder.h, its block, its pack, its panels in layout.h, their unpack in body/linear*.h
                and rows.c. Types of 32 columns with a scale share all of these (sc_is_small); with many
                tokens a type may be unpacked to the form of another (body/linear_carried.h)

If `quantize` is to write it, it also needs its case in quantize.c and a mix in quantize/mixes.py.

The block formats, K-quants among them, are those of ggml (llama.cpp).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Packing(Enum):
    """How loading packs a matrix of some type."""

    OWN = "panels of its own format, SC_<name> in C, for which there are kernels"
    CONVERTED = "panels of Q8_0, rounded from what Python dequantizes"
    REFUSED = "no matrix may have this type"


@dataclass(frozen=True, slots=True)
class TensorType:
    """One tensor type.

    Attributes:
        number: ggml's number for it.
        name: ggml's name for it.
        block: values per block, which must divide a row; 1 where there are no blocks.
        block_bytes: bytes per block.
        packing: how loading packs it.
        dtype: NumPy's type for its values, for types of floats: bfloat16 as its bits. None for all others.
        writable: whether `quantize` and `convert` write it; C knows it by SC_<name>.
        group: values that share a scale, for writable types with blocks.
        file_type: llama.cpp's number for a file whose matrices all have this type, where such files are written.
    """

    number: int
    name: str
    block: int
    block_bytes: int
    packing: Packing
    dtype: str | None = None
    writable: bool = False
    group: int | None = None
    file_type: int | None = None

    def n_bytes(self, size: int) -> int:
        """Return the bytes of `size` values, which fill whole blocks."""
        return size // self.block * self.block_bytes


_OWN, _CONVERTED, _REFUSED = Packing

#: Name -> type, in the order of ggml's numbers.
TYPES: Final[dict[str, TensorType]] = {
    kind.name: kind
    for kind in (
        TensorType(0, "F32", 1, 4, _OWN, dtype="<f4", writable=True, file_type=0),
        TensorType(1, "F16", 1, 2, _OWN, dtype="<f2", writable=True, file_type=1),
        TensorType(2, "Q4_0", 32, 18, _OWN, writable=True, group=32),
        TensorType(3, "Q4_1", 32, 20, _OWN),
        TensorType(6, "Q5_0", 32, 22, _OWN),
        TensorType(7, "Q5_1", 32, 24, _OWN),
        TensorType(8, "Q8_0", 32, 34, _OWN, writable=True, group=32, file_type=7),
        TensorType(9, "Q8_1", 32, 40, _REFUSED),
        TensorType(10, "Q2_K", 256, 84, _OWN),
        TensorType(11, "Q3_K", 256, 110, _OWN, writable=True, group=16),
        TensorType(12, "Q4_K", 256, 144, _OWN, writable=True, group=32),
        TensorType(13, "Q5_K", 256, 176, _OWN, writable=True, group=32),
        TensorType(14, "Q6_K", 256, 210, _OWN, writable=True, group=16, file_type=18),
        TensorType(15, "Q8_K", 256, 292, _REFUSED),
        TensorType(16, "IQ2_XXS", 256, 66, _CONVERTED),
        TensorType(17, "IQ2_XS", 256, 74, _CONVERTED),
        TensorType(18, "IQ3_XXS", 256, 98, _CONVERTED),
        TensorType(19, "IQ1_S", 256, 50, _CONVERTED),
        TensorType(20, "IQ4_NL", 32, 18, _OWN),
        TensorType(21, "IQ3_S", 256, 110, _CONVERTED),
        TensorType(22, "IQ2_S", 256, 82, _CONVERTED),
        TensorType(23, "IQ4_XS", 256, 136, _OWN),
        TensorType(24, "I8", 1, 1, _REFUSED),
        TensorType(25, "I16", 1, 2, _REFUSED),
        TensorType(26, "I32", 1, 4, _REFUSED),
        TensorType(27, "I64", 1, 8, _REFUSED),
        TensorType(28, "F64", 1, 8, _REFUSED),
        TensorType(29, "IQ1_M", 256, 56, _CONVERTED),
        TensorType(30, "BF16", 1, 2, _OWN, dtype="<u2", writable=True, file_type=32),
        TensorType(34, "TQ1_0", 256, 54, _CONVERTED),
        TensorType(35, "TQ2_0", 256, 66, _CONVERTED),
        TensorType(39, "MXFP4", 32, 17, _CONVERTED),
        TensorType(40, "NVFP4", 64, 36, _CONVERTED),
        TensorType(41, "Q1_0", 128, 18, _CONVERTED),
        TensorType(42, "Q2_0", 64, 18, _CONVERTED),
    )
}
#: ggml's number -> type.
BY_NUMBER: Final = {kind.number: kind for kind in TYPES.values()}
#: Types of floats -> NumPy's type for their values, bfloat16 as its bits. Vectors (biases, norms) have no other type.
FLOAT_DTYPES: Final = {kind.name: kind.dtype for kind in TYPES.values() if kind.dtype is not None}
#: Types that a matrix may have.
MATRIX_TYPES: Final = frozenset(kind.name for kind in TYPES.values() if kind.packing is not Packing.REFUSED)
