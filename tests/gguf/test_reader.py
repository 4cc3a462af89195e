"""The GGUF reader against whole files, foreign files, and every way of breaking a header."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from santacoder.errors import ModelClosedError, ModelFormatError
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
    GGUFBuilder,
    array,
    scalar,
    small_builder,
    tiny_model,
)
from tests.support.needs import needs_any_names, needs_links, needs_modes, needs_named_pipes, needs_open_files
from tests.support.paths import DATA, distributed

FIXTURES = ["mqa-q4_k_m.gguf", "mha-q4_k_m.gguf", "mqa-q8_0.gguf", "ggml-vocab-starcoder.gguf"]

Load = Callable[[bytes], GGUFFile]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Write bytes to a file and open it; all are closed at the end."""
    opened: list[GGUFFile] = []

    def write(data: bytes) -> GGUFFile:
        path = tmp_path / "test.gguf"
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        opened.append(GGUFFile.open(path))
        return opened[-1]

    yield write
    for file in opened:
        file.close()


@pytest.fixture
def reject(load: Load) -> Callable[[bytes], str]:
    """The message with which a file is refused, without the path in front."""

    def refuse(data: bytes) -> str:
        with pytest.raises(ModelFormatError) as caught:
            load(data)
        return str(caught.value).split("test.gguf: ", 1)[1]

    return refuse


Reject = Callable[[bytes], str]


# Whole files.


@pytest.mark.parametrize("name", FIXTURES)
def test_agrees_with_the_gguf_package(name: str) -> None:
    theirs = gguf.GGUFReader(distributed(DATA / name))
    with GGUFFile.open(DATA / name) as ours:
        assert ours.version == 3
        assert ours.size == (DATA / name).stat().st_size
        fields = {key: field for key, field in theirs.fields.items() if not key.startswith("GGUF.")}
        assert list(ours.metadata) == list(fields)
        for key, field in fields.items():
            value = ours.metadata[key]
            assert (value.tolist() if isinstance(value, np.ndarray) else value) == field.contents()
        assert list(ours.tensors) == [tensor.name for tensor in theirs.tensors]
        for tensor in theirs.tensors:
            info = ours.tensors[tensor.name]
            assert (info.type, info.type_name) == (tensor.tensor_type, tensor.tensor_type.name)
            assert info.shape == tuple(reversed(tensor.shape.tolist()))
            assert (info.offset, info.n_bytes) == (tensor.data_offset, tensor.n_bytes)
            assert ours.data(info).tobytes() == tensor.data.tobytes()


def test_import_does_not_load_the_gguf_package() -> None:
    code = "import sys, santacoder.gguf.reader; sys.exit('gguf' in sys.modules)"
    paths = os.pathsep.join(path for path in sys.path if path)
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": paths})


SCALARS = [
    (U8, 255), (I8, -128), (U16, 65535), (I16, -32768), (U32, 2**32 - 1), (I32, -(2**31)), (F32, 0.5),
    (BOOL, 1), (U64, 2**64 - 1), (I64, -(2**63)), (F64, 0.1),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), SCALARS)
def test_scalars_and_arrays_of_each_type(load: Load, kind: int, value: float) -> None:
    out = small_builder().set("x", scalar(kind, value)).set("xs", (ARRAY, array(kind, [value, 0])))
    metadata = load(out.build()).metadata
    assert metadata["x"] == value
    assert type(metadata["x"]) is (bool if kind == BOOL else type(value))
    xs = metadata["xs"]
    assert isinstance(xs, np.ndarray)
    assert xs.tolist() == [value, 0]


@pytest.mark.parametrize("version", [2, 3])
def test_both_versions_load(load: Load, version: int) -> None:
    out = small_builder()
    out.version = version
    assert load(out.build()).version == version


def test_valid_oddities_load(load: Load) -> None:
    out = small_builder().set("general.alignment", 64).set("empty", (ARRAY, array(STRING, []))).set("", "x").drop("")
    out.set("none", (ARRAY, array(I32, []))).set("ключ", "значение").set("nul", ["a\0b", "c"])
    out.alignment = 64
    out.tensors.reverse()
    file = load(out.build())
    assert file.alignment == 64
    assert file.metadata["empty"] == []
    assert file.metadata["ключ"] == "значение"
    assert file.metadata["nul"] == ["a\0b", "c"]
    assert list(file.tensors) == ["two.weight", "one.weight"]
    assert file.data(file.tensors["one.weight"]).tobytes() == bytes(range(32))


def test_directory_order_may_differ_from_data_order(load: Load) -> None:
    out = small_builder()
    out.build()
    first, second = out.tensors
    first.offset, second.offset = 96, 0
    first.data, second.data = bytes(68) + bytes(28), bytes(range(32))  # what lies first, what lies second
    file = load(out.build()[: out.offsets["data"]] + bytes(96) + bytes(range(32)))
    assert file.data(file.tensors["one.weight"]).tobytes() == bytes(range(32))


@pytest.mark.parametrize("pad", [True, False])
def test_padding_after_the_last_tensor_is_optional(load: Load, pad: bool) -> None:
    out = small_builder()
    out.pad_end = pad
    data = out.build()
    assert load(data).size == len(data) == out.offsets["data"] + 32 + (96 if pad else 68)


def test_no_tensors(load: Load) -> None:
    out = small_builder()
    out.tensors.clear()
    assert load(out.build()).tensors == {}


# Lifetime of the mapping.


def test_data_outlives_close(load: Load) -> None:
    file = load(small_builder().build())
    view = file.data(file.tensors["one.weight"])
    assert not view.flags.writeable
    file.close()
    file.close()
    assert view.tobytes() == bytes(range(32))
    with pytest.raises(ModelClosedError, match="is closed"):
        file.data(file.tensors["one.weight"])
    with pytest.raises(ModelClosedError, match="is closed"):
        file.release(64)


def test_released_pages_read_the_same_again() -> None:
    with GGUFFile.open(DATA / "mqa-q4_k_m.gguf") as file:
        for info in file.tensors.values():
            before = file.data(info).tobytes()
            file.release(info.offset + info.n_bytes)
            assert file.data(info).tobytes() == before


def test_a_change_is_noticed_before_the_bytes_are_touched(tmp_path: Path) -> None:
    path, data = tmp_path / "t.gguf", small_builder().build()
    for change in (
        lambda: os.truncate(path, 0),
        lambda: os.truncate(path, len(data) - 1),
        lambda: path.write_bytes(data + b"x"),
        lambda: os.utime(path, ns=(1, 1)),  # as written in place
    ):
        path.write_bytes(data)
        with GGUFFile.open(path) as file:
            change()
            for use in (partial(file.data, file.tensors["one.weight"]), partial(file.release, 64)):
                with pytest.raises(
                    ModelFormatError, match=r"t\.gguf: the file was changed while it was read: try again$"
                ):
                    use()


def test_what_takes_its_name_does_not_matter(tmp_path: Path) -> None:
    path, data = tmp_path / "t.gguf", small_builder().build()
    path.write_bytes(data)
    with GGUFFile.open(path) as file:
        (tmp_path / "new").write_bytes(b"nothing")
        (tmp_path / "new").replace(path)
        assert file.data(file.tensors["one.weight"]).tobytes() == bytes(range(32))


@needs_open_files
def test_every_descriptor_is_closed(tmp_path: Path) -> None:
    path, data = tmp_path / "t.gguf", small_builder().build()
    count = len(list(Path("/dev/fd").iterdir()))
    for content in (data, data[:-90], data[:100], b"", b"GGML"):
        path.write_bytes(content)
        try:
            GGUFFile.open(path).close()
        except ModelFormatError:
            assert content != data
        assert len(list(Path("/dev/fd").iterdir())) == count


# Paths.


@needs_named_pipes
@needs_links
def test_paths_that_are_no_regular_file(tmp_path: Path) -> None:
    fifo, loop = tmp_path / "fifo", tmp_path / "loop"
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    for path, problem in [
        (tmp_path, "is a directory"),
        (fifo, "is a named pipe"),
        (Path("/dev/zero"), "is a device"),
        (loop, "cannot be opened"),
    ]:
        with pytest.raises(ModelFormatError, match=problem):
            GGUFFile.open(path)
    with pytest.raises(ModelFormatError, match="holds a NUL character"):
        GGUFFile.open("a\0b")


@needs_modes
def test_missing_and_unreadable(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no such model file"):
        GGUFFile.open(tmp_path / "none.gguf")
    secret = tmp_path / "secret.gguf"
    secret.write_bytes(small_builder().build())
    secret.chmod(0)
    if os.geteuid() != 0:
        with pytest.raises(PermissionError, match="may not read"):
            GGUFFile.open(secret)


@needs_any_names
def test_path_that_is_not_utf8(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.gguf"
    Path(os.fsdecode(path)).write_bytes(b"nothing")
    with pytest.raises(ModelFormatError, match=r"\\udcff\.gguf': the file is too short"):
        GGUFFile.open(os.fsdecode(path))


def test_sparse_terabyte(tmp_path: Path) -> None:
    path = tmp_path / "sparse.gguf"
    path.write_bytes(small_builder().build())
    os.truncate(path, 1 << 40)
    with pytest.raises(ModelFormatError, match="trailing garbage"):
        GGUFFile.open(path)


# Foreign files.


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "the file is empty: it ends at byte 0"),
        (b"G", "the file is too short for GGUF: it ends at byte 1 of 24"),
        (b"GGUF" + bytes(19), "the file ends at byte 23, inside the 24-byte GGUF header"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a git-LFS pointer"),
        (b"\n<!DOCTYPE html><html></html>", "is a web page"),
        (b"<html><body>404</body></html>", "is a web page"),
        (b"PK\x03\x04" + bytes(30), "is a zip archive"),
        (b"\x80\x02}q\x00" + bytes(30), "is a Python pickle"),
        (struct.pack("<Q", 20) + b'{"a":{"dtype":"F32"}', "is in the safetensors format"),
        (b"lmgg" + bytes(30), "is in the old GGML format"),
        (b"GGML" + bytes(30), "is in the old GGML format"),
        (b"tjgg" + bytes(30), "is in the old GGJT format"),
        (b"ggjt" + bytes(30), "is in the old GGJT format"),
        (b"FUGG" + bytes(30), "is not GGUF: it starts with b'FUGG' at byte 0"),
    ],
)
def test_foreign_files(reject: Reject, data: bytes, problem: str) -> None:
    assert problem in reject(data)


@pytest.mark.parametrize("version", [0, 1, 4, 0xFFFFFFFF])
def test_versions(reject: Reject, version: int) -> None:
    out = small_builder()
    out.version = version
    assert reject(out.build()) == f"the version is {version} at byte 4, but only 2 and 3 are read"


def test_big_endian(reject: Reject) -> None:
    out = small_builder()
    out.version = 0x03000000
    assert "is big-endian (version at byte 4)" in reject(out.build())


def test_tiny_models_load(load: Load) -> None:
    for kind in ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL"]:
        assert load(tiny_model(weight_type=kind)).tensors["blk.0.ffn_up.weight"].type_name == kind
    for kind in ["Q4_K", "Q5_K", "Q6_K", "Q2_K", "Q3_K", "IQ4_XS"]:
        assert load(tiny_model(weight_type=kind, width=256)).tensors["token_embd.weight"].type_name == kind


VALUES = st.one_of(
    st.booleans(),
    st.integers(0, 2**32 - 1),
    st.text(max_size=20),
    st.lists(st.text(max_size=8), min_size=1, max_size=8),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=8),
)
KEYS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30)

#: What the reader itself looks at, and so may refuse; hypothesis tries strings that stand in the code.
UNDERSTOOD = ("general.alignment", "split.no", "split.count", "split.tensors.count")


@settings(max_examples=100)
@given(metadata=st.dictionaries(KEYS.filter(lambda key: key not in UNDERSTOOD), VALUES, max_size=8))
def test_any_valid_metadata_loads(tmp_path: Path, metadata: dict[str, Any]) -> None:
    out = GGUFBuilder()
    for key, value in metadata.items():
        out.set(key, value)
    path = tmp_path / "t.gguf"
    path.unlink(missing_ok=True)
    path.write_bytes(out.build())
    with GGUFFile.open(path) as file:
        found = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in file.metadata.items()}
    assert found == metadata
