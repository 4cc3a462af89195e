"""A model's weights in the kernels' layout, and the packing of a checked file's tensors into it."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from santacoder._native import ffi, lib
from santacoder.engine.ternary import DEQUANTIZERS
from santacoder.engine.weight_plan import PADDING, Slot, WeightPlan, c_formats
from santacoder.gguf.reader import GGUFFile, TensorInfo
from santacoder.gguf.types import FLOAT_DTYPES, TYPES, Packing

if TYPE_CHECKING:
    from santacoder._native import CData, Floats, Matrix, Team

#: Bytes of the file that are packed at a time: the memory that loading needs beside the weights.
PIECE: Final = 8 << 20


@dataclass(frozen=True)
class Weights:
    """A model's weights in the kernels' layout, in memory that is released with this object.

    Attributes:
        matrices: by name.
        vectors: by name, padded with zeros to a multiple of 32.
        vector_bytes: by name, the padding included.
        tensor_types: how many tensors the file holds of each type.
        n_bytes: of all matrices.
        panels: of all matrices, one after the other.
        packed_file: the path of the file that is mapped; None where this process holds the weights by itself.
    """

    matrices: Mapping[str, Matrix]
    vectors: Mapping[str, Floats]
    vector_bytes: Mapping[str, int]
    tensor_types: Mapping[str, int]
    n_bytes: int
    panels: CData = field(repr=False)
    _memory: object = field(repr=False)
    packed_file: str | None = None

    def takes_int8(self, name: str) -> bool:
        """Return whether a matrix is multiplied with inputs rounded to int8, and not with floats."""
        return self.matrices[name].format >= lib.SC_Q4_K  # C lists the formats of floats first


def view_weights(plan: WeightPlan, memory: CData, start: int = 0, packed_file: str | None = None) -> Weights:
    """Return the weights that lie in `memory` as the plan says, from byte `start` on; they keep it."""
    base = ffi.cast("char *", memory) + start
    matrices = {
        slot.info.name: ffi.new("sc_matrix *", (slot.format, *slot.info.shape, base + slot.offset))
        for slot in plan.matrices
    }
    vectors = {slot.info.name: ffi.cast("float *", base + slot.offset) for slot in plan.vectors}
    vector_bytes = {slot.info.name: slot.n_bytes for slot in plan.vectors}
    types = Counter(slot.info.type_name for slot in (*plan.matrices, *plan.vectors))
    return Weights(matrices, vectors, vector_bytes, types, plan.panel_bytes, base, memory, packed_file)


class Sink(Protocol):
    """Where packed weights go, from front to back."""

    def room(self, n_bytes: int) -> NDArray[np.uint8]:
        """Return zeroed memory for the next bytes, (n_bytes,)."""

    def put(self, data: NDArray[np.uint8]) -> None:
        """Take what was written to that memory."""


class _Memory:
    """A sink that is memory of this process, (n_bytes,), zeroed."""

    def __init__(self, memory: NDArray[np.uint8]) -> None:
        self._left = memory

    def room(self, n_bytes: int) -> NDArray[np.uint8]:
        return self._left[:n_bytes]

    def put(self, data: NDArray[np.uint8]) -> None:
        self._left = self._left[data.size :]


def load_weights(file: GGUFFile, plan: WeightPlan, team: Team) -> Weights:
    """Pack every tensor into memory of this process.

    Raises:
        ModelFormatError: a weight or a block's scale is infinite or not a number.
        MemoryError: the panels do not fit.
    """
    total = plan.n_bytes
    arena = lib.sc_allocate(total)
    if arena == ffi.NULL:
        raise MemoryError(f"no memory for {total} bytes of weights")
    arena = ffi.gc(arena, releaser(lib.sc_release, total), total)
    pack_tensors(file, plan, team, _Memory(np.frombuffer(ffi.buffer(arena, total), dtype=np.uint8)))
    return view_weights(plan, arena)


def pack_tensors(file: GGUFFile, plan: WeightPlan, team: Team, sink: Sink) -> None:
    """Pack every tensor, on all threads of the team; pages of the file are given back as they are consumed.

    Raises:
        ModelFormatError: a weight or a block's scale is infinite or not a number.
    """
    vectors = []
    for slot in plan.in_file_order():
        if len(slot.info.shape) == 2:
            _pack(file, slot, team, sink)
        else:
            vectors.append(_vector(file, slot))
        file.release(slot.info.offset + slot.info.n_bytes, slot.info.part)
    for vector in vectors:
        room = sink.room(vector.nbytes)
        room[:] = vector.view(np.uint8)
        sink.put(room)


def releaser(release: Callable[[CData, int], None], n_bytes: int) -> Callable[[CData], None]:
    """Make a function that frees `n_bytes`. It needs no global: at exit, these may be gone before the weights."""
    return lambda memory: release(memory, n_bytes)


def _is_converted(info: TensorInfo) -> bool:
    return TYPES[info.type_name].packing is Packing.CONVERTED


def warn_converted(file: GGUFFile, plan: WeightPlan) -> None:
    """Warn of matrices that are rounded, because there is no kernel for their type."""
    foreign = sorted({slot.info.type_name for slot in plan.matrices if _is_converted(slot.info)})
    if foreign:
        message = f"{file.path}: {', '.join(foreign)} has no kernel of its own and was rounded to Q8_0"
        warnings.warn(message, stacklevel=4)


def _pack(file: GGUFFile, slot: Slot, team: Team, sink: Sink) -> None:
    info = slot.info
    rows, columns = info.shape
    source, packed_format = c_formats(TYPES[info.type_name])
    blocks = file.data(info)
    if _is_converted(info):
        blocks = _dequantize(blocks, info)
    row_bytes = blocks.size // rows
    piece = max(PIECE // row_bytes // PADDING, 1) * PADDING  # rows, in whole pairs of panels
    for first in range(0, rows, piece):
        last = min(first + piece, rows)
        part = ffi.from_buffer(blocks[first * row_bytes : last * row_bytes])
        room = sink.room(lib.sc_matrix_bytes(packed_format, last - first, columns))
        to = ffi.from_buffer(room)
        status = lib.sc_pack(team, source, part, last - first, columns, packed_format, to)
        if status == lib.SC_NOT_FINITE:
            raise file.error(info.name, "holds a weight or scale that is infinite or not a number")
        sink.put(room)
        if not _is_converted(info):
            file.release(info.offset + last * row_bytes, info.part)


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


def _vector(file: GGUFFile, slot: Slot) -> NDArray[np.float32]:
    """Return a bias or a norm as float32, padded with zeros."""
    info = slot.info
    stored = file.data(info).view(FLOAT_DTYPES[info.type_name])
    values = widen_bfloat16(stored) if info.type_name == "BF16" else stored.astype(np.float32)
    if not np.isfinite(values).all():
        raise file.error(info.name, "holds a value that is infinite or not a number")
    padded = np.zeros(slot.n_bytes // 4, dtype=np.float32)
    padded[: values.size] = values
    return padded
