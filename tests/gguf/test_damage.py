"""Every way of breaking a GGUF header: counts, keys, values, tensors, and damage at each byte."""

from __future__ import annotations

import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from santacoder.errors import ModelFormatError
from santacoder.gguf.reader import GGUFFile
from tests.support.gguf_builder import (
    ARRAY,
    BOOL,
    STRING,
    U8,
    U32,
    U64,
    GGUFBuilder,
    array,
    small_builder,
    string,
    tiny_builder,
)

Reject = Callable[[bytes], str]


@pytest.fixture
def reject(tmp_path: Path) -> Reject:
    """The message with which a file is refused, without the path in front."""

    def refuse(data: bytes) -> str:
        path = tmp_path / "test.gguf"
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        with pytest.raises(ModelFormatError) as caught:
            GGUFFile.open(path)
        message = str(caught.value)
        assert message.count("test.gguf") == 1
        return message.split("test.gguf: ", 1)[1]

    return refuse


# Counts, keys, values.


@pytest.mark.parametrize("count", [2**32, 2**61, 2**63, 2**64 - 1])
def test_absurd_counts(reject: Reject, count: int) -> None:
    out = small_builder()
    out.n_keys = count
    assert f"the metadata count is {count} at byte 16, but at most" in reject(out.build())
    out.n_keys, out.n_tensors = None, count
    assert f"the tensor count is {count} at byte 8, but at most" in reject(out.build())


@pytest.mark.parametrize("step", [-1, 1])
def test_counts_off_by_one(reject: Reject, step: int) -> None:
    out = small_builder()
    out.n_keys = len(out.metadata) + step
    reject(out.build())
    out.n_keys, out.n_tensors = None, len(out.tensors) + step
    reject(out.build())


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (
            struct.pack("<Q", 0),
            "the length of the key of metadata entry 6 is 0 at byte {at}, not in 1..65535",
        ),
        (struct.pack("<Q", 2**64 - 1), "is 18446744073709551615 at byte {at}, not in 1..65535"),
        (struct.pack("<Q", 2**63), "is 9223372036854775808 at byte {at}, not in 1..65535"),
        (string(b"k" * 100_000), "is 100000 at byte {at}, not in 1..65535"),
        (
            struct.pack("<Q", 60_000),
            "the key of metadata entry 6 needs 60000 bytes at byte {after}, but only",
        ),
        (string(b"a\xffb"), "the key of metadata entry 6 is not UTF-8 at byte {bad}"),
        (string(b"a\0b"), "the key of metadata entry 6 'a\\x00b' at byte {at} holds a NUL character"),
    ],
)
def test_keys(reject: Reject, raw: bytes, problem: str) -> None:
    out = small_builder().set("KEY", 1)
    data = out.build()
    at = out.offsets["key:KEY"]
    data = data[:at] + raw + data[at + len(string("KEY")) :]
    assert problem.format(at=at, after=at + 8, bad=at + 9) in reject(data)


def test_control_characters_do_not_reach_the_terminal(reject: Reject) -> None:
    assert "'a\\x1b[31m\\nb' is 13 at byte" in reject(small_builder().set("a\x1b[31m\nb", (13, b"")).build())
    out = small_builder()
    out.tensors[-1].name, out.tensors[-1].rank = "a\nb", 9
    assert "the rank of 'a\\nb' is 9 at byte" in reject(out.build())


def test_header_of_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "sparse.gguf"
    path.write_bytes(GGUFBuilder().set("x", (ARRAY, array(U8, [], 1 << 39))).build())
    os.truncate(path, 1 << 40)
    with pytest.raises(ModelFormatError, match="the length of x is 549755813888 at byte 41, but at most"):
        GGUFFile.open(path)


def test_duplicate_key(reject: Reject) -> None:
    out = small_builder()
    out.metadata.append(("n", U32, bytes(4)))
    data = out.build()
    assert reject(data) == f"the key n at byte {out.offsets['key:n']} is duplicated"


@pytest.mark.parametrize("kind", [13, 0xFFFFFFFF])
def test_unknown_value_type(reject: Reject, kind: int) -> None:
    out = small_builder().set("x", (kind, bytes(8)))
    data = out.build()
    assert reject(data) == f"the type of x is {kind} at byte {out.offsets['type:x']}, not in 0..12"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ((BOOL, b"\2"), "x is the bool 2 at byte {at}, not 0 or 1"),
        ((ARRAY, array(BOOL, [0, 3])), "x is the bool 3 at byte {item1}, not 0 or 1"),
        ((ARRAY, struct.pack("<IQ", ARRAY, 1)), "the element type of x is 9 at byte {at}: arrays (nested"),
        ((ARRAY, struct.pack("<IQ", ARRAY, 1) * 100_000), "the element type of x is 9 at byte {at}: arrays"),
        ((ARRAY, struct.pack("<IQ", 77, 1)), "the element type of x is 77 at byte {at}: an unknown type"),
        (
            (ARRAY, array(U64, [], 2**61)),
            "the length of x is 2305843009213693952 at byte {count}, but at most",
        ),
        ((ARRAY, array(U8, [], 300)), "the length of x is 300 at byte {count}, but at most"),
        ((ARRAY, array(STRING, [], 2**20)), "the length of x is 1048576 at byte {count}, but at most"),
        ((ARRAY, array(STRING, [b"\xff"])), "x[0] is not UTF-8 at byte {str0}"),
        (
            (STRING, struct.pack("<Q", 2**64 - 8)),
            "the length of x is 18446744073709551608 at byte {at}, not in",
        ),
        ((STRING, struct.pack("<Q", 400)), "x needs 400 bytes at byte {after}, but only"),
        ((STRING, string(b"ok\x80")), "x is not UTF-8 at byte {bad}"),
    ],
)
def test_values(reject: Reject, value: tuple[int, bytes], problem: str) -> None:
    out = small_builder().set("x", value)
    data = out.build()
    at = out.offsets["value:x"]
    places = {"at": at, "count": at + 4, "item1": at + 13, "str0": at + 20, "after": at + 8, "bad": at + 10}
    assert problem.format(**places) in reject(data)


def test_string_inside_an_array_is_too_long(reject: Reject) -> None:
    out = small_builder().set("x", ["ab", "cd"])
    data = bytearray(out.build())
    at = out.offsets["value:x"] + 12 + 10
    data[at : at + 8] = struct.pack("<Q", 2**64 - 1)
    assert f"the length of x[1] is 18446744073709551615 at byte {at}, but only" in reject(bytes(data))


def test_many_empty_strings_take_little_memory(tmp_path: Path) -> None:
    data = small_builder().set("x", (ARRAY, array(STRING, [""] * (1 << 18)))).build()
    path = tmp_path / "test.gguf"
    path.write_bytes(data)
    tracemalloc.start()
    with GGUFFile.open(path) as file:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert file.metadata["x"] == [""] * (1 << 18)
    assert peak < 3 * len(data)


@pytest.mark.parametrize("count", [2**20, 2**32, 2**61])
def test_lying_counts_take_no_memory(reject: Reject, count: int) -> None:
    data = small_builder().set("x", (ARRAY, array(STRING, [], count))).build()
    tracemalloc.start()
    reject(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (0, "is 0, but it must be in 8..65536"),
        (1, "is 1, but it must be in 8..65536"),
        (3, "is 3, but it must be in 8..65536"),
        (24, "is 24 at byte {at}, not a power of two"),
        (2**31, "is 2147483648, but it must be in 8..65536"),
        ("32", "is a string, but it must be an integer"),
        (True, "is a bool, but it must be an integer"),
    ],
)
def test_alignment(reject: Reject, value: Any, problem: str) -> None:
    out = small_builder().set("general.alignment", value)
    data = out.build()
    message = reject(data)
    assert problem.format(at=out.offsets["value:general.alignment"]) in message
    assert "general.alignment" in message
    assert f"at byte {out.offsets['value:general.alignment']}" in message


# Tensors.


def change(**fields: Any) -> Callable[[GGUFBuilder], None]:
    """Set fields of the last tensor."""

    def apply(out: GGUFBuilder) -> None:
        for name, value in fields.items():
            setattr(out.tensors[-1], name, value)

    return apply


TENSOR_CASES: list[tuple[Callable[[GGUFBuilder], None], str]] = [
    (change(name=b""), "the length of the name of tensor 1 is 0 at byte {tensor}, not in 1..63"),
    (change(name="n" * 64), "the length of the name of tensor 1 is 64 at byte {tensor}, not in 1..63"),
    (change(name="n\0n"), "the name of tensor 1 'n\\x00n' at byte {tensor} holds a NUL character"),
    (change(name="one.weight"), "the tensor name one.weight at byte {tensor} is duplicated"),
    (change(rank=0), "the rank of two.weight is 0 at byte {rank}, not in 1..4"),
    (change(rank=5), "the rank of two.weight is 5 at byte {rank}, not in 1..4"),
    (change(rank=2**32 - 1), "the rank of two.weight is 4294967295 at byte {rank}, not in 1..4"),
    (change(dims=(32, 0)), "dimension 1 of two.weight is 0 at byte {dim1}"),
    (change(dims=(2**63, 2)), "takes 19599665578316398592 bytes from offset 32"),
    (change(dims=(2**32, 2**32)), "takes 19599665578316398592 bytes from offset 32"),
    (change(dims=(4194305, 4194305, 211106198978564), kind=0), "bytes from offset 32, but the data section"),
    (change(dims=(2**62,), kind=0), "takes 18446744073709551616 bytes from offset 32"),
    (change(dims=(2**64 - 4,), kind=24), "takes 18446744073709551612 bytes from offset 32"),
    (change(kind=4), "the type of two.weight is 4 at byte {kind}, not a ggml type in use"),
    (change(kind=5), "the type of two.weight is 5 at byte {kind}"),
    (change(kind=1000), "the type of two.weight is 1000 at byte {kind}"),
    (change(kind=12), "a row of two.weight has 32 values at byte {dims}, but Q4_K needs a multiple of 256"),
    (
        change(offset=33),
        "the offset of two.weight is 33 at byte {offset}, not a multiple of the alignment 32",
    ),
    (change(offset=2**64 - 32), "bytes from offset 18446744073709551584, but the data section"),
    (change(offset=1 << 20), "bytes from offset 1048576, but the data section, from byte {data}, has 128"),
    (change(offset=0), "tensor two.weight at byte {tensor} has the offset 0, not 32: it overlaps"),
]


@pytest.mark.parametrize(("break_it", "problem"), TENSOR_CASES)
def test_tensors(reject: Reject, break_it: Callable[[GGUFBuilder], None], problem: str) -> None:
    out = small_builder()
    break_it(out)
    data = out.build()
    name = out.tensors[-1].name
    label = name if isinstance(name, str) else name.decode()
    places = {field: out.offsets[f"{field}:{label}"] for field in ("tensor", "rank", "dims", "kind", "offset")}
    assert problem.format(**places, dim1=places["dims"] + 8, data=out.offsets["data"]) in reject(data)


def test_last_tensor_one_byte_short(reject: Reject) -> None:
    out = small_builder()
    out.pad_end = False
    data = out.build()
    message = reject(data[:-1])
    assert f"tensor two.weight at byte {out.offsets['tensor:two.weight']} takes 68 bytes from offset 32" in message
    assert f"from byte {out.offsets['data']}, has 99: the file is truncated or damaged" in message


def test_hole_between_tensors(reject: Reject) -> None:
    out = small_builder()
    out.tensors[0].data += bytes(32)
    assert "has the offset 64, not 32: it leaves a hole before it" in reject(out.build())


@pytest.mark.parametrize("n", [1, 32, 1000])
def test_trailing_garbage(reject: Reject, n: int) -> None:
    out = small_builder()
    out.trailing = bytes(n)
    data = out.build()
    assert reject(data) == f"trailing garbage: {n} bytes follow the last tensor at byte {len(data) - n}"


# Damage at every place.


def test_truncation_at_every_byte(tmp_path: Path) -> None:
    out = small_builder()
    out.pad_end = False
    data = out.build()
    path = tmp_path / "t.gguf"
    path.write_bytes(data)
    GGUFFile.open(path).close()
    for size in reversed(range(len(data))):
        os.truncate(path, size)
        with pytest.raises(ModelFormatError, match=r"byte \d+"):
            GGUFFile.open(path)


def test_truncation_of_a_model_at_every_header_byte(tmp_path: Path) -> None:
    out = tiny_builder(symbols="abcdefrt Ġ".replace(" ", ""))
    data = out.build()
    path = tmp_path / "t.gguf"
    path.write_bytes(data)
    for size in reversed(range(out.offsets["data"])):
        os.truncate(path, size)
        with pytest.raises(ModelFormatError, match=r"byte \d+"):
            GGUFFile.open(path)


def read_all(path: Path) -> None:
    """Open, touch every byte, close."""
    with GGUFFile.open(path) as file:
        for info in file.tensors.values():
            file.data(info).sum()


@pytest.mark.parametrize("flip", [lambda _: 0, lambda _: 0xFF, lambda b: b ^ 1, lambda b: b ^ 0x80])
def test_flipped_bytes_load_or_are_rejected(tmp_path: Path, flip: Callable[[int], int]) -> None:
    out = small_builder()
    data = out.build()
    path = tmp_path / "t.gguf"
    for at in range(out.offsets["data"]):
        damaged = bytearray(data)
        damaged[at] = flip(data[at])
        path.unlink(missing_ok=True)
        path.write_bytes(damaged)
        try:
            read_all(path)
        except ModelFormatError as error:
            assert "byte" in str(error)  # noqa: PT017 (either outcome is right)


@settings(max_examples=150)
@given(
    edits=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from([1, 4, 8]), st.integers(0, 2**64 - 1)),
        min_size=1,
        max_size=4,
    ),
    cut=st.floats(0, 1),
)
def test_random_damage(tmp_path: Path, edits: list[tuple[float, int, int]], cut: float) -> None:
    data = bytearray(small_builder().build())
    for place, width, value in edits:
        at = int(place * len(data))
        data[at : at + width] = value.to_bytes(8, "little")[:width]
    path = tmp_path / "t.gguf"
    path.unlink(missing_ok=True)
    path.write_bytes(data[: int(cut * len(data))] if cut < 0.5 else data)
    try:
        read_all(path)
    except ModelFormatError as error:
        assert "byte" in str(error)  # noqa: PT017 (either outcome is right)
