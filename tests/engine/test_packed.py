"""Packed weights in a file: the same bits, one copy for all processes, and no trust in what the file says."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256, shake_256
from pathlib import Path

import numpy as np
import pytest

import santacoder
from santacoder._native import ffi, lib
from santacoder.engine import packed_file, packed_weights
from santacoder.engine.isa import available
from santacoder.engine.loading import open_transformer
from santacoder.engine.threads import new_team
from santacoder.engine.weight_plan import PADDING, c_formats
from santacoder.gguf.types import TYPES, Packing
from santacoder.sources.packed import PackedCache, packed_cache
from tests.support.gguf_builder import tiny_builder
from tests.support.malformed_split import split, write_parts
from tests.support.needs import needs_populate, needs_proc, needs_trusted_files
from tests.support.paths import DATA, FILE
from tests.support.programs import run

pytestmark = needs_trusted_files

PROMPT = "def fib(n):"
FILES = ("mha-q4_k_m", "mqa-q4_k_m", "mqa-q8_0")
#: By the layout's number, the SHA-256 of the panels of FILES and of bytes of each type. If they have changed, raise
#: SC_LAYOUT in csrc/santacoder.h, and put its number and the new hash here: files of packed weights outlive a version.
PANELS = {3: "44e8ec49715338a61494b767891d61234ae98645553bc19009b400071b0b0307"}
NAMES = tuple(kind.name for kind in TYPES.values() if kind.packing is Packing.OWN)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackedCache:
    """The cache of one test."""
    monkeypatch.setenv("SANTACODER_CACHE", str(tmp_path / "cache"))
    return PackedCache.within()


def logits(path: Path = FILE, packed: bool = True) -> bytes:
    with santacoder.load(path, threads=2, packed=packed) as model:
        assert (model.packed_file is not None) == packed
        return model.logits(PROMPT).tobytes()


def packed_path(path: Path = FILE) -> Path:
    return PackedCache.within().path(sha256(path.read_bytes()).hexdigest(), lib.SC_LAYOUT)


def names(cache: PackedCache) -> list[str]:
    """The files of a cache but for its lock."""
    return sorted(path.name for path in cache.folder.iterdir() if path.name != ".lock")


def panels(path: Path, packed: PackedCache | None) -> bytes:
    """A model's packed matrices, and the beginnings of its vectors."""
    weights = open_transformer(path, threads=2, packed=packed)[0].weights
    vectors = b"".join(bytes(ffi.buffer(vector, 4 * PADDING)) for _, vector in sorted(weights.vectors.items()))
    return bytes(ffi.buffer(weights.panels, weights.n_bytes)) + vectors


def models(folder: Path) -> Iterator[Path]:
    """FILES, and a tiny model of each type."""
    yield from (DATA / f"{name}.gguf" for name in FILES)
    for name in NAMES:
        path = folder / f"{name}.gguf"
        path.write_bytes(tiny_builder(width=256, weight_type=name).build())
        yield path


def packed_bytes(source: int, packed_format: int, blocks: bytes, columns: int) -> bytes:
    """The panels of 33 rows, so that the last pair is not full."""
    panels = np.zeros(lib.sc_matrix_bytes(packed_format, 33, columns), np.uint8)
    team = new_team(1)
    to = ffi.from_buffer(panels)
    lib.sc_pack(team, source, ffi.from_buffer(np.frombuffer(blocks, np.uint8)), 33, columns, packed_format, to)
    return panels.tobytes()


def test_the_layout_has_the_number_of_its_bytes() -> None:
    digest = sha256()
    for name in FILES:
        digest.update(panels(DATA / f"{name}.gguf", None))
    columns = 512
    for kind in map(TYPES.__getitem__, NAMES):
        blocks = shake_256(kind.name.encode()).digest(kind.n_bytes(33 * columns))
        digest.update(packed_bytes(*c_formats(kind), blocks, columns))
    values = (np.arange(33 * columns, dtype=np.float32) % 1009 - 504) / 64  # exact; what is converted comes like this
    digest.update(packed_bytes(lib.SC_F32, lib.SC_Q8_0, values.tobytes(), columns))
    assert PANELS.get(lib.SC_LAYOUT) == digest.hexdigest()


def test_the_same_bytes_in_memory_and_in_a_file(tmp_path: Path, cache: PackedCache) -> None:
    for path in models(tmp_path):
        expected = panels(path, None)
        assert panels(path, cache) == expected  # packed
        assert panels(path, cache) == expected  # found


@pytest.mark.parametrize("isa", available())
def test_the_same_logits_on_every_instruction_set(
    cache: PackedCache, monkeypatch: pytest.MonkeyPatch, isa: str
) -> None:
    expected = logits(packed=False)
    assert logits() == expected  # packed by the best one
    monkeypatch.setenv("SANTACODER_ISA", isa)
    assert logits() == expected


def test_a_split_model(tmp_path: Path, cache: PackedCache) -> None:
    parts = write_parts(tmp_path, split(tiny_builder(layers=2)))
    expected = logits(parts[0], packed=False)
    assert [logits(parts[0]), logits(parts[0])] == [expected, expected]
    assert len([*cache.files()]) == 1


def test_rounded_types_are_warned_of_each_time(tmp_path: Path, cache: PackedCache) -> None:
    builder = tiny_builder(weight_type="Q8_0")
    for tensor in builder.tensors:
        if tensor.kind == 8:  # MXFP4 has 17 bytes where Q8_0 has 34
            tensor.kind, tensor.data = 39, bytes(len(tensor.data) // 2)
    path = tmp_path / "m.gguf"
    path.write_bytes(builder.build())
    for packed in (False, True, True):
        with pytest.warns(UserWarning, match="MXFP4 has no kernel of its own and was rounded to Q8_0$"):
            logits(path, packed)


def test_a_start_reads_only_headers(cache: PackedCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the GGUF file's bytes nor its tensors; `file_identity` tells whether it is the same."""
    expected = logits()

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(packed_weights, "open_sha256", never)
    monkeypatch.setattr(packed_weights, "write_packed", never)
    assert logits() == expected


def test_a_copy_shares_the_file_and_another_one_does_not(tmp_path: Path, cache: PackedCache) -> None:
    path = tmp_path / "m.gguf"
    shutil.copy(FILE, path)
    expected = logits()
    assert logits(path) == expected
    assert len([*cache.files()]) == 1
    os.utime(path, ns=(0, 0))
    assert logits(path) == expected
    shutil.copy(DATA / "mqa-q8_0.gguf", path)
    assert logits(path) == logits(path, packed=False) != expected
    assert len([*cache.files()]) == 2


def test_what_is_written(cache: PackedCache) -> None:
    logits()
    path = packed_path()
    assert len(names(cache)) == 2  # the file, and the note that leads to it
    assert path.name in names(cache)
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert path.stat().st_size % 65536 == 0
    [entry] = cache.files()
    assert (entry.path, entry.source, entry.type) == (str(path), str(FILE), "packed")


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half a header": lambda data: data[:100],
    "no weights": lambda data: data[:65536],
    "truncated": lambda data: data[:-65536],
    "longer": lambda data: data + bytes(65536),
    "the magic": lambda data: flipped(data, 0),
    "the format": lambda data: flipped(data, 8),
    "the length": lambda data: flipped(data, 12),
    "the checksum": lambda data: flipped(data, 16),
    "the text": lambda data: flipped(data, 60),
    "the padding of the header": lambda data: flipped(data, 65535),
    "zeros": lambda data: bytes(len(data)),
}


def rewrite(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    path.chmod(0o444)


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_packed_anew(cache: PackedCache, name: str) -> None:
    expected = logits()
    path = packed_path()
    whole = path.read_bytes()
    rewrite(path, DAMAGES[name](whole))
    with pytest.raises(packed_file.PackedFileError, match=re.escape(str(path))):
        packed_weights.verify_model(FILE, cache)
    assert logits() == expected
    assert path.read_bytes() == whole


@pytest.mark.parametrize("at", [65536, -65537, -1])
def test_verify_notices_a_changed_bit(cache: PackedCache, at: int) -> None:
    logits()
    path = packed_path()
    assert packed_weights.verify_model(FILE, cache) == path
    data = path.read_bytes()
    rewrite(path, flipped(data, at % len(data)))
    with pytest.raises(packed_file.PackedFileError, match="the weights do not have the checksum that the header says"):
        packed_weights.verify_model(FILE, cache)


def of_layout(data: bytes, layout: int) -> bytes:
    """The file as a version with another layout writes it, but for the weights."""
    magic, version, size, _ = packed_file._HEAD.unpack_from(data)
    text = data[packed_file._HEAD.size :][:size].replace(b'"layout": %d' % lib.SC_LAYOUT, b'"layout": %d' % layout)
    head = packed_file._HEAD.pack(magic, version, len(text), sha256(text).digest())
    return head + text + data[len(head) + len(text) :]


@pytest.mark.parametrize("other", ["another model", "another model of the same shape", "another layout"])
def test_weights_of_another_file(tmp_path: Path, cache: PackedCache, other: str) -> None:
    first, second = tmp_path / "first.gguf", tmp_path / "second.gguf"
    first.write_bytes(tiny_builder().build())
    second.write_bytes(tiny_builder(seed=2, layers=2 if other == "another model" else 1).build())
    expected = logits(first)
    foreign = packed_path(first)
    if other == "another layout":
        rewrite(foreign, of_layout(foreign.read_bytes(), lib.SC_LAYOUT + 1))
    else:
        logits(second)
        rewrite(foreign, packed_path(second).read_bytes())
    with pytest.raises(packed_file.PackedFileError, match="holds the weights of another model, or in another layout"):
        packed_weights.verify_model(first, cache)
    assert logits(first) == expected
    packed_weights.verify_model(first, cache)


@pytest.mark.parametrize("danger", ["a link", "writable", "another user's", "a folder", "a pipe"])
def test_a_file_that_others_may_have_written(
    tmp_path: Path, cache: PackedCache, monkeypatch: pytest.MonkeyPatch, danger: str
) -> None:
    """It is not opened but packed anew; a link's target stays."""
    expected = logits()
    path = packed_path()
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    data = elsewhere.read_bytes()
    if danger == "a link":
        path.symlink_to(elsewhere)
    elif danger == "a folder":
        path.mkdir()
    elif danger == "a pipe":
        os.mkfifo(path)
    else:
        rewrite(path, flipped(data, 65536))
        path.chmod(0o666 if danger == "writable" else 0o444)
    if danger == "another user's":
        os.utime(path, ns=(7, 7))
        fstat = os.fstat

        def of_another(descriptor: int) -> os.stat_result:
            status = fstat(descriptor)
            return os.stat_result([*status[:4], 12345, *status[5:]]) if status.st_mtime_ns == 7 else status

        monkeypatch.setattr(os, "fstat", of_another)
    with pytest.raises(OSError, match=r"."):
        packed_weights.verify_model(FILE, cache)
    if danger == "a folder":
        with pytest.warns(UserWarning, match="not shared with other processes"):
            santacoder.load(FILE, threads=1, packed=True).close()
        return
    assert logits() == expected
    assert path.is_file()
    assert not path.is_symlink()
    assert path.read_bytes() == data == elsewhere.read_bytes()


@pytest.mark.parametrize("when", ["before", "found"])
def test_a_folder_that_others_may_write_to(cache: PackedCache, when: str) -> None:
    if when == "found":
        logits()
    cache.folder.mkdir(parents=True, exist_ok=True)
    cache.folder.chmod(0o777)
    with pytest.warns(UserWarning, match="not shared with other processes: .*another user owns this or may write"):
        santacoder.load(FILE, threads=1, packed=True).close()
    with pytest.raises(PermissionError):
        packed_weights.pack_model(FILE, cache)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"sha256": 1, "source": ""}', '{"sha256": "../x", "source": ""}']
)
def test_a_damaged_note(cache: PackedCache, text: str) -> None:
    expected = logits()
    [note] = cache.folder.glob("*.json")
    whole = note.read_bytes()
    rewrite(note, text.encode())
    assert logits() == expected
    assert note.read_bytes() == whole


def test_a_note_of_another_model_of_the_same_shape(tmp_path: Path, cache: PackedCache) -> None:
    """The user's own notes are believed; what they say is checked by --verify."""
    first, second = tmp_path / "first.gguf", tmp_path / "second.gguf"
    first.write_bytes(tiny_builder().build())
    second.write_bytes(tiny_builder(seed=2).build())
    expected = logits(first)
    logits(second)
    for note in cache.folder.glob("*.json"):
        content = json.loads(note.read_text())
        content["sha256"] = sha256(second.read_bytes()).hexdigest()
        rewrite(note, json.dumps(content).encode())
    packed_weights.verify_model(first, cache)
    assert logits(first) == expected


def test_an_interrupted_writer(cache: PackedCache, monkeypatch: pytest.MonkeyPatch) -> None:
    put, calls = packed_file._Writer.put, 0

    def interrupt(self: packed_file._Writer, data: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        put(self, data)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(packed_file._Writer, "put", interrupt)
        with pytest.raises(KeyboardInterrupt):
            packed_weights.pack_model(FILE, cache)
    assert names(cache) == []
    assert logits() == logits(packed=False)


def test_a_killed_writer(cache: PackedCache) -> None:
    """What it left is removed by the next one."""
    run(
        """
        from santacoder.engine import packed_file
        put, calls = packed_file._Writer.put, 0

        def die(self, data):
            global calls
            calls += 1
            if calls == 5:
                os.kill(os.getpid(), signal.SIGKILL)
            put(self, data)

        packed_file._Writer.put = die
        santacoder.load(FILE, packed=True)
        """,
        status=-9,
    )
    [leftover] = names(cache)
    assert leftover.startswith(".")
    assert logits() == logits(packed=False)
    assert leftover not in names(cache)


def test_a_full_disk(cache: PackedCache) -> None:
    """A limit of the size of files stands for it. Nothing is left, and the model runs."""
    done = run(
        """
        with santacoder.load(FILE, threads=2) as model:
            expected = answer(model)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with santacoder.load(FILE, threads=2, packed=True) as model:
                assert answer(model) == expected
                assert model.packed_file is None
        [warning] = caught
        print(warning.message)
        """
    )
    assert done.stdout == (
        f"{FILE}: the weights are not shared with other processes: {packed_path()}: File too large\n"
    )
    assert names(cache) == []


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SANTACODER_CACHE", str(tmp_path / "file"))
    expected = logits(packed=False)
    with pytest.warns(UserWarning, match="the weights are not shared with other processes: .*Not a directory"):
        model = santacoder.load(FILE, threads=2, packed=True)
    with model:
        assert model.packed_file is None
        assert model.logits(PROMPT).tobytes() == expected


def test_a_file_system_without_locks(cache: PackedCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def lock(_: PackedCache) -> None:
        raise NotImplementedError("no flock here")

    monkeypatch.setattr(PackedCache, "lock", lock)
    with pytest.warns(UserWarning, match="not shared with other processes: no flock here"):
        santacoder.load(FILE, threads=1, packed=True).close()


def test_many_at_once_pack_once(cache: PackedCache, monkeypatch: pytest.MonkeyPatch) -> None:
    write, written, results = packed_file.write_packed, [], []
    expected = logits(packed=False)

    def count(*arguments: object) -> None:
        written.append(1)
        write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(packed_weights, "write_packed", count)
    threads = [threading.Thread(target=lambda: results.append(logits())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 6
    assert written == [1]


def test_the_file_may_be_removed_while_it_is_mapped(cache: PackedCache) -> None:
    with santacoder.load(FILE, threads=2, packed=True) as model:
        expected = model.logits(PROMPT).tobytes()
        assert [file.path for file in cache.clear()] == [model.packed_file]
        assert names(cache) == []
        assert model.logits(PROMPT).tobytes() == expected


def test_bad_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (1, "yes", [True]):
        with pytest.raises(santacoder.InvalidRequestError, match=r"packed is .*, but it must be True or False"):
            santacoder.load(FILE, packed=value)  # type: ignore[arg-type]
    assert packed_cache(None) is None
    monkeypatch.setattr("santacoder.sources.packed.CAN_TRUST", False)
    with pytest.raises(
        santacoder.InvalidRequestError, match="packed weights need mmap, O_NOFOLLOW and owners of files"
    ):
        santacoder.load(FILE, packed=True)


def test_a_file_of_packed_weights_is_no_model(cache: PackedCache) -> None:
    logits()
    with pytest.raises(santacoder.ModelFormatError, match="holds packed weights, not a model: name the GGUF file"):
        santacoder.load(packed_path())


@needs_populate
def test_a_truncation_between_check_and_mapping(cache: PackedCache, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = logits()
    check = packed_file._open_checked

    def truncate(*arguments: object) -> tuple[int, int, bytes]:
        found = check(*arguments)  # type: ignore[arg-type]
        packed_path().chmod(0o644)
        os.truncate(packed_path(), 65536)
        return found

    monkeypatch.setattr(packed_file, "_open_checked", truncate)
    with pytest.warns(UserWarning, match="the file cannot be mapped"):
        model = santacoder.load(FILE, threads=2, packed=True)
    with model:
        assert model.logits(PROMPT).tobytes() == expected


@needs_proc
def test_processes_share_one_mapping(cache: PackedCache) -> None:
    """The mapping is shared and only read, and a child of a fork computes with the parent's, as under a web server
    that loads before it forks its workers."""
    done = run(
        """
        expected = once()
        model = santacoder.load(FILE, threads=2, packed=True)
        [line] = [line for line in open("/proc/self/maps") if model.packed_file in line]
        print(line.split()[1])
        child = os.fork()
        if child == 0:
            os._exit(answer(model) != expected)
        join(child)
        children = [os.fork() for _ in range(3)]
        if 0 in children:
            os._exit(answer(model) != expected)
        for child in children:
            join(child)
        assert answer(model) == expected
        """
    )
    assert done.stdout == "r--s\n"
