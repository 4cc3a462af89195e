"""Notes of fingerprints: a model that did not change is not hashed again, and one that did is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from santacoder.prefixes import model_notes
from santacoder.prefixes.model_notes import NOTE, fingerprint_of, note_name, note_of, noted_name
from tests.support.paths import FILE

FIRST, SECOND = "1" * 64, "2" * 64


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model's file that counts as old."""
    monkeypatch.setattr(model_notes, "RACY", -1.0)
    return str(shutil.copy(FILE, tmp_path / "m.gguf"))


def known(folder: Path, path: str, computed: str) -> str:
    return fingerprint_of(folder, path, note_of(path), lambda: computed)


def test_it_is_computed_once(folder: Path, path: str) -> None:
    assert known(folder, path, FIRST) == FIRST
    assert known(folder, path, SECOND) == FIRST
    [note] = folder.iterdir()
    assert NOTE.fullmatch(note.name)
    assert note.stat().st_mode & 0o777 == 0o600


def test_a_file_that_changes(folder: Path, path: str, tmp_path: Path) -> None:
    """Also one whose times are set back, and one that takes its place."""
    known(folder, path, FIRST)
    before = os.stat(path)
    with Path(path).open("r+b") as file:
        file.write(b"G")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(path).st_mtime_ns == before.st_mtime_ns
    assert known(folder, path, SECOND) == SECOND
    other = shutil.copy2(path, tmp_path / "other.gguf")
    Path(other).replace(path)
    assert known(folder, path, "3" * 64) == "3" * 64


def test_a_file_that_changes_while_it_is_loaded(folder: Path, path: str) -> None:
    note = note_of(path)
    os.utime(path)
    assert fingerprint_of(folder, path, note, lambda: FIRST) == FIRST
    assert not folder.exists()


def test_a_file_that_was_just_written_is_not_noted(folder: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_notes, "RACY", 1e6)
    assert note_of(path) is None
    assert (known(folder, path, FIRST), known(folder, path, SECOND)) == (FIRST, SECOND)
    assert not folder.exists()


def test_files_that_have_no_identity(path: str) -> None:
    assert note_of("nowhere.gguf") is None
    split = path.replace("m.gguf", "m-00001-of-00002.gguf")
    Path(path).rename(split)
    assert note_of(split) is None


@pytest.mark.parametrize("damage", ["cut", "flip", "other", "empty"])
def test_damaged_notes(folder: Path, path: str, damage: str) -> None:
    known(folder, path, FIRST)
    [note] = folder.iterdir()
    data = note.read_bytes()
    changed = {"cut": data[:-1], "flip": b"3" + data[1:], "other": data.replace(b"1" * 64, b"2" * 64), "empty": b""}
    note.write_bytes(changed[damage])
    assert known(folder, path, "4" * 64) == "4" * 64
    assert known(folder, path, FIRST) == "4" * 64


def test_names(folder: Path) -> None:
    assert noted_name(folder) == ""
    for name in ("santacoder.gguf", "é\udcff.gguf", "x" * 300):
        note_name(folder, name)
        assert noted_name(folder) == name[:255]
