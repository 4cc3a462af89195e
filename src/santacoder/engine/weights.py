"""Packs a checked file's tensors into panels, which the kernels read. The file is not needed afterwards."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from santacoder._native import ffi, lib
from santacoder.engine.ternary import DEQUANTIZERS
from santacoder.gguf.config import Config, expected_tensors
from santacoder.gguf.reader import GGUFFile, TensorInfo
from santacoder.gguf.types import FLOAT_DTYPES, TYPES, Packing, TensorType

if TYPE_CHECKING:
    from santacoder._native import CData, Chars, Floats, Matrix, Team

PADDING: Final = 32  # vectors are read in steps of a panel pair, and matrices are packed in them
#: Bytes of the file that are packed at a time: the memory that loading needs beside the weights.
PIECE: Final = 8 << 20


@dataclass(frozen=True)
class Weights:
    """A model's weights in the kernels' layout, in one allocation that dies with this object."""

    matrices: Mapping[str, Matrix]
    vectors: Mapping[str, Floats]  # padded with zeros to a multiple of 32
    tensor_types: Mapping[str, int]  # how many tensors the file holds of each type
    n_bytes: int
    panels: CData = field(repr=False)  # of all matrices, one after the other
    _memory: list[object] = field(repr=False)

    def takes_int8(self, name: str) -> bool:
        """Return whether a matrix is multiplied with inputs rounded to int8, and not with floats."""
        return self.matrices[name].format >= lib.SC_Q4_K  # C lists the formats of floats first


def load_weights(file: GGUFFile, config: Config, team: Team) -> Weights:
    """Pack every tensor, on all threads of the team; pages of the file are given back as they are consumed.

    Raises:
        ModelFormatError: a weight or a block's scale is infinite or not a number.
        MemoryError: the panels do not fit.
    """
    infos = {name: file.tensors[name] for name in expected_tensors(config)}
    matrices = {name: info for name, info in infos.items() if len(info.shape) == 2}
    sizes = {name: _packed_bytes(info) for name, info in matrices.items()}
    total = sum(sizes.values())
    arena = lib.sc_allocate(total)
    if arena == ffi.NULL:
        raise MemoryError(f"no memory for {total} bytes of weights")
    arena = ffi.gc(arena, _releaser(total), total)
    _warn_converted(file, matrices)
    used = 0
    packed, vectors = {}, {}
    for name, info in sorted(infos.items(), key=lambda item: (item[1].part, item[1].offset)):
        if name in matrices:
            packed[name] = _pack(file, info, ffi.cast("char *", arena) + used, team)
            used += sizes[name]
        else:
            vectors[name] = _vector(file, info)
        file.release(info.offset + info.n_bytes, info.part)
    return Weights(
        matrices=packed,
        vectors={name: ffi.from_buffer("float *", values) for name, values in vectors.items()},
        tensor_types=Counter(info.type_name for info in infos.values()),
        n_bytes=total,
        panels=arena,
        _memory=[vectors],
    )


def _releaser(n_bytes: int) -> Callable[[CData], None]:
    """Make a function that frees `n_bytes`. It needs no global: at exit, these may be gone before the weights."""
    release = lib.sc_release
    return lambda memory: release(memory, n_bytes)


def c_formats(kind: TensorType) -> tuple[int, int]:
    """Return the format that `sc_pack` reads for a type of matrix, and that of the panels that it writes."""
    if kind.packing is Packing.CONVERTED:
        return lib.SC_F32, lib.SC_Q8_0
    if kind.packing is Packing.AS_Q8_0:
        return getattr(lib, f"SC_SOURCE_{kind.name}"), lib.SC_Q8_0
    number: int = getattr(lib, f"SC_{kind.name}")
    return number, number


def _is_converted(info: TensorInfo) -> bool:
    return TYPES[info.type_name].packing is Packing.CONVERTED


def _packed_bytes(info: TensorInfo) -> int:
    rows, columns = info.shape
    return lib.sc_matrix_bytes(c_formats(TYPES[info.type_name])[1], rows, columns)


def _warn_converted(file: GGUFFile, matrices: Mapping[str, TensorInfo]) -> None:
    foreign = sorted({info.type_name for info in matrices.values() if _is_converted(info)})
    if foreign:
        message = f"{file.path}: {', '.join(foreign)} has no kernel of its own and was rounded to Q8_0"
        warnings.warn(message, stacklevel=4)


def _pack(file: GGUFFile, info: TensorInfo, panels: Chars, team: Team) -> Matrix:
    rows, columns = info.shape
    source, packed_format = c_formats(TYPES[info.type_name])
    blocks = file.data(info)
    if _is_converted(info):
        blocks = _dequantize(blocks, info)
    row_bytes, panel_bytes = blocks.size // rows, lib.sc_matrix_bytes(packed_format, PADDING, columns) // PADDING
    piece = max(PIECE // row_bytes // PADDING, 1) * PADDING  # rows, in whole pairs of panels
    for first in range(0, rows, piece):
        last = min(first + piece, rows)
        part = ffi.from_buffer(blocks[first * row_bytes : last * row_bytes])
        status = lib.sc_pack(team, source, part, last - first, columns, packed_format, panels + first * panel_bytes)
        if status == lib.SC_NOT_FINITE:
            raise file.error(info.name, "holds a weight or scale that is infinite or not a number")
        if not _is_converted(info):
            file.release(info.offset + last * row_bytes, info.part)
    return ffi.new("sc_matrix *", (packed_format, rows, columns, panels))


def _dequantize(blocks: NDArray[np.uint8], info: TensorInfo) -> NDArray[np.uint8]:
    """Return the float32 values of a type without a kernel, as bytes."""
    if info.type_name in DEQUANTIZERS:
        values = DEQUANTIZERS[info.type_name](blocks.reshape(-1, TYPES[info.type_name].block_bytes))
    else:
        from gguf import GGMLQuantizationType, quants  # slow to import, and seldom needed

        values = quants.dequantize(blocks.reshape(info.shape[0], -1), GGMLQuantizationType(info.type))
    return np.ascontiguousarray(values, dtype=np.float32).view(np.uint8).reshape(-1)


def widen_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the float32 values of bfloat16 bits, in the same shape."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _vector(file: GGUFFile, info: TensorInfo) -> NDArray[np.float32]:
    """Return a bias or a norm as float32, padded with zeros."""
    stored = file.data(info).view(FLOAT_DTYPES[info.type_name])
    values = widen_bfloat16(stored) if info.type_name == "BF16" else stored.astype(np.float32)
    if not np.isfinite(values).all():
        raise file.error(info.name, "holds a value that is infinite or not a number")
    padded = np.zeros(-(-values.size // PADDING) * PADDING, dtype=np.float32)
    padded[: values.size] = values
    return padded
