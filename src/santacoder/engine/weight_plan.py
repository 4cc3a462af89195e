"""Where each tensor of a model lies once it is packed: the same in memory and in a file of packed weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from santacoder._native import lib
from santacoder.gguf.config import Config, expected_tensors
from santacoder.gguf.reader import GGUFFile, TensorInfo
from santacoder.gguf.types import TYPES, Packing, TensorType

PADDING: Final = 32  # vectors are read in steps of a panel pair, and matrices are packed in them


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of a tensor.

    Attributes:
        info: the tensor in its GGUF file.
        format: of a matrix's panels, a number of C; SC_F32 for a vector.
        offset: bytes from the beginning of the packed weights, a multiple of 64.
        n_bytes: of the panels, or of a vector's floats, padded with zeros to a multiple of PADDING.
    """

    info: TensorInfo
    format: int
    offset: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class WeightPlan:
    """The places of all tensors, one after the other.

    Attributes:
        matrices: in the order of the GGUF file.
        vectors: the norms and biases, behind the matrices, likewise.
    """

    matrices: tuple[Slot, ...]
    vectors: tuple[Slot, ...]

    @property
    def panel_bytes(self) -> int:
        """Bytes of all matrices."""
        return sum(slot.n_bytes for slot in self.matrices)

    @property
    def n_bytes(self) -> int:
        """Bytes of everything."""
        return self.panel_bytes + sum(slot.n_bytes for slot in self.vectors)

    def in_file_order(self) -> list[Slot]:
        """Return all slots in the order in which the GGUF file has their tensors."""
        return sorted((*self.matrices, *self.vectors), key=lambda slot: (slot.info.part, slot.info.offset))


def plan_weights(file: GGUFFile, config: Config) -> WeightPlan:
    """Place the tensors of a checked file."""
    infos = [file.tensors[name] for name in expected_tensors(config)]
    infos.sort(key=lambda info: (info.part, info.offset))
    matrices, end = _place([info for info in infos if len(info.shape) == 2], 0)
    vectors, _ = _place([info for info in infos if len(info.shape) == 1], end)
    return WeightPlan(matrices, vectors)


def _place(infos: list[TensorInfo], start: int) -> tuple[tuple[Slot, ...], int]:
    """Return the slots of tensors from byte `start` on, and where they end."""
    slots = []
    for info in infos:
        if len(info.shape) == 2:
            kind = c_formats(TYPES[info.type_name])[1]
            n_bytes = lib.sc_matrix_bytes(kind, *info.shape)
        else:
            kind, n_bytes = lib.SC_F32, -(-info.shape[0] // PADDING) * PADDING * 4
        slots.append(Slot(info, kind, start, n_bytes))
        start += n_bytes
    return tuple(slots), start


def c_formats(kind: TensorType) -> tuple[int, int]:
    """Return the format that `sc_pack` reads for a type of matrix, and that of the panels that it writes."""
    if kind.packing is Packing.CONVERTED:
        return lib.SC_F32, lib.SC_Q8_0
    number: int = getattr(lib, f"SC_{kind.name}")
    return number, number
