"""Property tests over a grammar of GGUF files: well-formed files are read back, others are refused."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from santacoder.errors import ModelFormatError
from santacoder.gguf.reader import GGUFFile
from tests.support.gguf_builder import (
    ARRAY,
    BOOL,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    STRING,
    U8,
    U16,
    U32,
    U64,
    WEIGHT_TYPES,
    GGUFBuilder,
    array,
    scalar,
    string,
)

INTEGERS = {U8: (0, 8), I8: (1, 8), U16: (0, 16), I16: (1, 16), U32: (0, 32), I32: (1, 32), U64: (0, 64), I64: (1, 64)}
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=15)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SETTINGS = settings(max_examples=150)


def numbers(kind: int) -> st.SearchStrategy[Any]:
    """Any value of a scalar type."""
    if kind in INTEGERS:
        signed, bits = INTEGERS[kind]
        return st.integers(-signed << (bits - 1) if signed else 0, (1 << (bits - signed)) - 1)
    return st.booleans() if kind == BOOL else st.floats(width=32 if kind == F32 else 64, allow_nan=False)


SCALARS = [*INTEGERS, F32, F64, BOOL]


@st.composite
def values(draw: st.DrawFn) -> tuple[int, bytes, Any]:
    """The type of a value, its bytes, and what it should read as."""
    form = draw(st.sampled_from(["scalar", "string", "array", "strings"]))
    if form == "string":
        text = draw(TEXTS)
        return STRING, string(text), text
    if form == "strings":
        texts = draw(st.lists(TEXTS, max_size=6))
        return ARRAY, array(STRING, texts), texts
    kind = draw(st.sampled_from(SCALARS))
    if form == "scalar":
        value = draw(numbers(kind))
        return *scalar(kind, value), value
    items = draw(st.lists(numbers(kind), max_size=6))
    return ARRAY, array(kind, items), items


@st.composite
def files(draw: st.DrawFn) -> tuple[GGUFBuilder, dict[str, Any]]:
    """A well-formed file and its metadata."""
    alignment = 1 << draw(st.integers(3, 9))
    out = GGUFBuilder(version=draw(st.sampled_from([2, 3])), alignment=alignment, pad_end=draw(st.booleans()))
    found: dict[str, Any] = {}
    for key, (kind, data, value) in draw(st.dictionaries(NAMES, values(), max_size=6)).items():
        out.set(key, (kind, data))
        found[key] = value
    out.set("general.alignment", alignment)
    found["general.alignment"] = alignment
    for number, name in enumerate(draw(st.lists(NAMES, max_size=5, unique=True))):
        kind, block, size = WEIGHT_TYPES[draw(st.sampled_from(sorted(WEIGHT_TYPES)))]
        dims = (block * draw(st.integers(1, 3)), *draw(st.lists(st.integers(1, 4), max_size=3)))
        n_bytes = int(np.prod(dims)) // block * size
        out.add(name, dims, bytes((number + i) % 256 for i in range(n_bytes)), kind)
    return out, found


@SETTINGS
@given(made=files())
def test_what_is_well_formed_is_read_back(tmp_path: Path, made: tuple[GGUFBuilder, dict[str, Any]]) -> None:
    out, metadata = made
    path = tmp_path / "t.gguf"
    path.unlink(missing_ok=True)
    path.write_bytes(out.build())
    with GGUFFile.open(path) as file:
        assert file.alignment == out.alignment
        found = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in file.metadata.items()}
        assert found == metadata
        assert list(file.tensors) == [tensor.name for tensor in out.tensors]
        for tensor in out.tensors:
            info = file.tensors[str(tensor.name)]
            assert (info.shape, info.type) == (tensor.dims[::-1], tensor.kind)
            assert info.offset % out.alignment == 0 or out.offsets["data"] % out.alignment == 0
            assert file.data(info).tobytes() == tensor.data


#: For each field of a file, changes that make it contradict the file's contents.
LENGTHS = ["key", "string", "array", "item"]
LIES = ["n_keys", "n_tensors", "dims", "rank", "offset", "kind", "cut", "trailing", *LENGTHS]


@SETTINGS
@given(made=files(), lie=st.sampled_from(LIES), number=st.integers(0, 2**64 - 1), pick=st.integers(0, 4))
def test_what_lies_is_refused(
    tmp_path: Path, made: tuple[GGUFBuilder, dict[str, Any]], lie: str, number: int, pick: int
) -> None:
    out, _ = made
    data = told(out, lie, number, pick)
    if data == made[0].build():
        return  # true by chance
    path = tmp_path / "t.gguf"
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    with pytest.raises(ModelFormatError, match=r"byte \d+"):
        GGUFFile.open(path)


@SETTINGS
@given(made=files(), lie=st.sampled_from(LENGTHS), step=st.integers(-9, 9).filter(bool), pick=st.integers(0, 4))
def test_a_length_that_is_a_little_wrong_is_survived(
    tmp_path: Path, made: tuple[GGUFBuilder, dict[str, Any]], lie: str, step: int, pick: int
) -> None:
    """The bytes that follow may make sense by chance, so the file may load."""
    out, _ = made
    at, _ = length_field(out, lie, pick)
    whole = out.build()
    length = struct.unpack_from("<Q", whole, at)[0] + step
    path = tmp_path / "t.gguf"
    path.unlink(missing_ok=True)
    path.write_bytes(whole[:at] + struct.pack("<Q", length % 2**64) + whole[at + 8 :])
    try:
        GGUFFile.open(path).close()
    except ModelFormatError as error:
        assert "byte " in str(error)  # noqa: PT017 (either outcome is right)


def length_field(out: GGUFBuilder, lie: str, pick: int) -> tuple[int, int]:
    """Find the length of a key, a string, an array or an array's first string: its offset, and the bytes of an item."""
    held: dict[str, tuple[int, bytes]] = {
        "string": (STRING, string("text")),
        "array": (ARRAY, array(U32, [1, 2])),
        "item": (ARRAY, array(STRING, ["one", "two"])),
    }
    kind, example = held.get(lie, (None, b""))
    found = [entry for entry in out.metadata if kind in (None, entry[1])]
    if lie == "item":
        found = [entry for entry in found if entry[2][:4] == example[:4] and len(entry[2]) > 12]
    if kind is not None and not found:
        out.set("held", (kind, example))
        found = out.metadata[-1:]
    key, _, data = found[pick % len(found)]
    out.build()
    label = key if isinstance(key, str) else key.decode()
    value = out.offsets[f"value:{label}"]
    if lie == "array":
        item_kind = struct.unpack_from("<I", data)[0]
        return value + 4, 8 if item_kind == STRING else len(scalar(item_kind, 0)[1])
    return {"key": out.offsets[f"key:{label}"], "string": value, "item": value + 12}[lie], 1


def told_length(out: GGUFBuilder, lie: str, number: int, pick: int) -> bytes:
    """The file with a length that exceeds the rest of the file, by up to `number`."""
    at, item_bytes = length_field(out, lie, pick)
    whole = out.build()
    room = (len(whole) - at - 8) // item_bytes
    length = min(room + 1 + number, 2**64 - 1) if lie != "key" or number else 0
    return whole[:at] + struct.pack("<Q", length) + whole[at + 8 :]


def told(out: GGUFBuilder, lie: str, number: int, pick: int) -> bytes:
    """The file with one field replaced by `number`, or cut or lengthened by that much."""
    if lie in LENGTHS:
        return told_length(out, lie, number, pick)
    whole = out.build()
    if lie == "n_keys":
        return whole[:16] + struct.pack("<Q", number + (number == len(out.metadata))) + whole[24:]
    if lie == "trailing":
        # More than padding may add, since that much could be valid.
        return whole + bytes(out.alignment + number % 1000)
    if lie == "cut" or not out.tensors:
        end = out.offsets["data"] if not out.tensors else len(whole) - (out.alignment if out.pad_end else 0)
        return whole[: number % max(end, 1)]
    tensor = out.tensors[pick % len(out.tensors)]
    if lie == "n_tensors":
        return whole[:8] + struct.pack("<Q", number + (number == len(out.tensors))) + whole[16:]
    if lie == "dims":
        changed = replace(tensor, dims=(tensor.dims[0] + number, *tensor.dims[1:]))
        changed.dims = (changed.dims[0] % 2**64 or 1, *changed.dims[1:])
        if changed.dims == tensor.dims or _same_size(changed.dims, tensor.dims, out.alignment, tensor.kind):
            return whole
    elif lie == "rank":
        rank = number % 2**32
        changed = replace(tensor, rank=rank if not 1 <= rank <= 4 else 5)
    elif lie == "offset":
        at = out.offsets[f"offset:{tensor.name!s}"]
        true = struct.unpack_from("<Q", whole, at)[0]
        changed = replace(tensor, offset=number if number != true else number + 1)
    else:
        changed = replace(tensor, kind=31 + number % 3)  # removed from ggml
    lying = replace(out, tensors=[changed if entry is tensor else entry for entry in out.tensors], offsets={})
    return lying.build()


def _same_size(a: tuple[int, ...], b: tuple[int, ...], alignment: int, kind: int) -> bool:
    """Whether both take the same number of aligned bytes, so that a file with either can be well formed."""
    _, block, size = next(entry for entry in WEIGHT_TYPES.values() if entry[0] == kind)
    n_bytes = [int(np.prod([int(n) for n in dims], dtype=object)) // block * size for dims in (a, b)]
    return a[0] % block == 0 and -(-n_bytes[0] // alignment) == -(-n_bytes[1] // alignment)
