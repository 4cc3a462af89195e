"""Files are written whole or not at all, one tensor at a time, and our own reader takes them."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGUFValueType
from numpy.typing import NDArray

from santacoder.cli import describe
from santacoder.cli.stopping import SIGNALS
from santacoder.errors import InvalidRequestError, ModelFormatError
from santacoder.gguf.reader import GGUFFile
from santacoder.gguf.writer import Field, TensorSource, write_model
from tests.support.needs import needs_fork, needs_limits, needs_named_pipes
from tests.support.paths import ROOT
from tests.support.small_fields import FIELDS, encode
from tests.support.waiting import HANG


def source(name: str, shape: tuple[int, ...], type_name: str = "F32", seed: int = 0) -> TensorSource:
    return TensorSource(name, shape, type_name, lambda: values(shape, seed))


def values(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


TENSORS = [source("a", (3,)), source("b", (5, 64), "Q8_0", 1), source("c", (2, 3), "F16", 2), source("d", (1,))]


def only(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    told: list[int] = []
    write_model(path, FIELDS, TENSORS, encode, progress=told.append)
    assert only(tmp_path) == ["m.gguf"]
    assert sum(told) == path.stat().st_size
    assert len(told) == 1 + len(TENSORS)
    with GGUFFile.open(path) as file:
        assert [(info.name, info.shape, info.type_name) for info in file.tensors.values()] == [
            ("a", (3,), "F32"),
            ("b", (5, 64), "Q8_0"),
            ("c", (2, 3), "F16"),
            ("d", (1,), "F32"),
        ]
        assert file.metadata["names"] == ["a", "é"]
        np.testing.assert_array_equal(np.asarray(file.metadata["numbers"]), [1, -2])
        assert [file.metadata[key] for key in ("text", "number", "flag")] == ["", 7, True]
        assert file.data(file.tensors["a"]).tobytes() == values((3,)).tobytes()
        assert file.data(file.tensors["c"]).tobytes() == values((2, 3), 2).astype(np.float16).tobytes()
    reader = gguf.GGUFReader(path)
    assert [tensor.name for tensor in reader.tensors] == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(
        reader.tensors[1].data.reshape(-1), encode("b", values((5, 64), 1), "Q8_0").reshape(-1)
    )


@pytest.mark.parametrize("alignment", [8, 64])
def test_alignment(tmp_path: Path, alignment: int) -> None:
    path = tmp_path / "m.gguf"
    fields = [*FIELDS, ("general.alignment", alignment, GGUFValueType.UINT32, None)]
    write_model(path, fields, TENSORS, encode)
    with GGUFFile.open(path) as file:
        assert file.alignment == alignment
        assert file.data(file.tensors["d"]).tobytes() == values((1,)).tobytes()


def test_memory_of_one_tensor(tmp_path: Path) -> None:
    """An array is gone before the next is asked for, and no second copy of it was made."""
    alive: list[weakref.ref[Any]] = []
    shape = (1024, 1024)  # 4 MiB

    def load() -> NDArray[np.float32]:
        gc.collect()
        assert all(reference() is None for reference in alive)
        array = np.zeros(shape, np.float32)
        alive.append(weakref.ref(array))
        return array

    tensors = [TensorSource(f"t{i}", shape, "F32", load) for i in range(8)]
    tracemalloc.start()
    write_model(tmp_path / "m.gguf", FIELDS, tensors, encode)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(alive) == 8
    assert 4 << 20 <= peak < 6 << 20


def test_no_overwriting_without_force(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_text("precious")
    with pytest.raises(FileExistsError) as caught:
        write_model(path, FIELDS, TENSORS, encode)
    assert describe(caught.value) == f"{path}: the file exists; --force (force=True) overwrites it"
    assert path.read_text() == "precious"
    write_model(path, FIELDS, TENSORS, encode, force=True)
    assert path.read_bytes()[:4] == b"GGUF"
    assert only(tmp_path) == ["m.gguf"]


def test_a_file_that_came_into_being_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"

    def load() -> NDArray[np.float32]:
        path.write_text("precious")
        return values((3,))

    with pytest.raises(FileExistsError):
        write_model(path, FIELDS, [TensorSource("a", (3,), "F32", load)], encode)
    assert path.read_text() == "precious"
    assert only(tmp_path) == ["m.gguf"]


@needs_named_pipes
def test_what_is_no_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    cases = {
        tmp_path: "this is a folder, not a file to write",
        pipe: "this is a device or a pipe, not a file to write",
        Path("/dev/null"): "this is a device or a pipe, not a file to write",
        tmp_path / "none" / "m.gguf": "No such file or directory",
    }
    for path, message in cases.items():
        with pytest.raises(OSError, match=message) as caught:
            write_model(path, FIELDS, TENSORS, encode, force=True)
        assert describe(caught.value) == f"{path}: {message}"
    assert only(tmp_path) == ["pipe"]


def failing(*_: Any) -> Any:
    raise ModelFormatError("tensor b holds a NaN")


@pytest.mark.parametrize(
    ("tensors", "encoder", "error", "message"),
    [
        ([TENSORS[0], TensorSource("b", (2, 2), "F32", failing)], encode, ModelFormatError, "tensor b holds a NaN"),
        (TENSORS, failing, ModelFormatError, "tensor b holds a NaN"),
        ([source("a", (4, 33), "Q8_0")], encode, ModelFormatError, "33 values, but Q8_0 needs a multiple of 32"),
        ([TensorSource("a", (4, 4), "F32", lambda: values((4,)))], encode, ValueError, r"shape \(4,\), not \(4, 4\)"),
        (TENSORS, lambda *_: np.zeros(3, np.uint8), ValueError, "tensor a was encoded in 3 uint8, not 12 bytes"),
    ],
)  # fmt: skip
def test_failures_leave_nothing(
    tmp_path: Path, tensors: list[TensorSource], encoder: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        write_model(tmp_path / "m.gguf", FIELDS, tensors, encoder)
    assert only(tmp_path) == []


def test_an_array_without_items(tmp_path: Path) -> None:
    fields: list[Field] = [*FIELDS, ("none", [], GGUFValueType.ARRAY, GGUFValueType.STRING)]
    with pytest.raises(InvalidRequestError, match=r"^none is an array without items, which cannot be written$"):
        write_model(tmp_path / "m.gguf", fields, TENSORS, encode)
    assert only(tmp_path) == []


SCRIPT = """
import sys, time
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
from tests.support.small_fields import FIELDS, encode
from santacoder.cli import describe
from santacoder.cli.stopping import orderly
from santacoder.gguf.writer import TensorSource, write_model

def load():
    if sys.argv[3] == "wait":
        print("ready", flush=True)
        while True:  # a signal just before a sleep is noticed after it
            time.sleep(0.01)
    return np.zeros((256, 1024), np.float32)

if sys.argv[3] == "limit":
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with orderly():
        write_model(sys.argv[2], FIELDS, [TensorSource("a", (256, 1024), "F32", load)], encode)
except OSError as error:
    sys.exit(describe(error))
"""


def command(folder: Path, mode: str) -> list[str]:
    return [sys.executable, "-c", SCRIPT, str(ROOT), str(folder / "m.gguf"), mode]


@pytest.mark.parametrize("number", [signal.SIGINT, *SIGNALS])
@needs_fork
def test_signals_leave_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        command(tmp_path, "wait"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a shell's background job, or nohup's, ignores some
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        [temporary] = only(tmp_path)
        assert temporary.startswith(".m.gguf-")
        process.send_signal(number)
        status = process.wait(HANG)
    assert status == (-signal.SIGINT if number == signal.SIGINT else 128 + number)
    assert only(tmp_path) == []


@needs_limits
def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    done = subprocess.run(command(tmp_path, "limit"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"{tmp_path / 'm.gguf'}: File too large\n")
    assert only(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "problem"), [("size=500k", "No space left on device"), ("ro", "Read-only file system")]
)
def test_a_disk_that_is_full_or_read_only(tmp_path: Path, options: str, problem: str) -> None:
    mount = f"mount -t tmpfs -o {options} none '{tmp_path}'"
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*unshare, mount], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    script = f"{mount} && \"$@\"; status=$?; ls -A '{tmp_path}'; exit $status"
    done = subprocess.run([*unshare, script, "-", *command(tmp_path, "")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{tmp_path / 'm.gguf'}: {problem}\n"
