"""The table of tensor types, against the `gguf` package and against C."""

from __future__ import annotations

import re

import gguf
import numpy as np
import pytest

from santacoder._native import lib
from santacoder.engine.ternary import DEQUANTIZERS
from santacoder.engine.weight_plan import c_formats
from santacoder.gguf.types import BY_NUMBER, FLOAT_DTYPES, MATRIX_TYPES, TYPES, Packing, TensorType
from santacoder.quantize.quantizer import TARGETS
from tests.support.kernel_library import FORMATS
from tests.support.paths import ROOT


def packed(packing: Packing) -> list[TensorType]:
    return [kind for kind in TYPES.values() if kind.packing is packing]


def test_sizes_are_those_of_the_gguf_package() -> None:
    theirs = {int(kind): (kind.name, *gguf.GGML_QUANT_SIZES[kind]) for kind in gguf.GGMLQuantizationType}
    ours = {number: (kind.name, kind.block, kind.block_bytes) for number, kind in BY_NUMBER.items()}
    # A gguf release older or newer than the table may know fewer or more types; what both know has to agree.
    newest = min(max(theirs), max(ours))
    assert {k: v for k, v in ours.items() if k <= newest} == {k: v for k, v in theirs.items() if k <= newest}


def test_names_and_numbers_are_different() -> None:
    assert len(TYPES) == len(BY_NUMBER) == 35
    assert list(BY_NUMBER) == sorted(BY_NUMBER)


def test_formats_of_c() -> None:
    """Each has a type, and the types' formats are those that the kernels' tests take."""
    names = [f"SC_{kind.name}" for kind in packed(Packing.OWN)]
    assert sorted(getattr(lib, name) for name in names) == list(range(lib.SC_FORMATS))
    for kind in packed(Packing.OWN):  # which `Weights.takes_int8` relies on
        assert (c_formats(kind)[1] < lib.SC_Q4_K) == (kind.dtype is not None)
    assert {kind.name: c_formats(kind) for kind in packed(Packing.OWN)} == FORMATS
    assert {c_formats(kind) for kind in packed(Packing.CONVERTED)} == {(lib.SC_F32, lib.SC_Q8_0)}


def test_blocks_of_c() -> None:
    """csrc/gguf_blocks.h asserts its sizes to the compiler; here they are compared with the table."""
    header = (ROOT / "csrc/gguf_blocks.h").read_text("utf-8")
    found = re.findall(r"sizeof\(block_(\w+)\) == (\d+)", header)
    sizes = {re.sub(r"(?<=\d)K", "_K", name.upper()): int(size) for name, size in found}
    blocks = [kind for kind in packed(Packing.OWN) if kind.block > 1]
    assert sizes == {kind.name: kind.block_bytes for kind in blocks}


def test_types_of_matrices_can_be_dequantised() -> None:
    assert {name for name in TYPES if name not in MATRIX_TYPES} == {"Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64"}
    for name in MATRIX_TYPES - DEQUANTIZERS.keys():  # `gguf` may know those by name
        kind = gguf.GGMLQuantizationType[name]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        data = np.zeros((1, size), dtype=np.uint8)
        plain = name in ("F32", "F16")  # gguf wants these in their own dtype
        assert plain or gguf.quants.dequantize(data, kind).shape == (1, block)


def test_ours_to_dequantise() -> None:
    for name, dequantize in DEQUANTIZERS.items():
        assert TYPES[name].packing is Packing.CONVERTED
        assert dequantize(np.zeros((1, TYPES[name].block_bytes), np.uint8)).shape == (1, TYPES[name].block)


def test_floats() -> None:
    assert FLOAT_DTYPES == {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
    for name, dtype in FLOAT_DTYPES.items():
        assert (TYPES[name].block, TYPES[name].block_bytes) == (1, np.dtype(dtype).itemsize)


def test_types_that_are_written() -> None:
    """Types that have kernels; block types say how many of their values share a scale."""
    assert set(TARGETS) < {kind.name for kind in packed(Packing.OWN)}
    for kind in TYPES.values():
        assert (kind.group is not None) == (kind.writable and kind.block > 1)
        assert kind.group is None or kind.block % kind.group == 0


@pytest.mark.parametrize(("name", "size", "n_bytes"), [("F32", 3, 12), ("Q4_0", 64, 36), ("Q6_K", 512, 420)])
def test_bytes(name: str, size: int, n_bytes: int) -> None:
    assert TYPES[name].n_bytes(size) == n_bytes
