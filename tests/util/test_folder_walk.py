"""What is found in folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from santacoder._util.folder_walk import open_found, walk


def test_all_in_order(tmp_path: Path) -> None:
    """Sorted, each folder before what it holds; links are found, and not followed."""
    for name in ("b/y/2", "b/1", "a", "c/3", "no/4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "c/up").symlink_to(tmp_path)
    found = [entry for entry in walk(str(tmp_path), lambda entry: entry.name != "no") if isinstance(entry, os.DirEntry)]
    names = [str(Path(entry.path).relative_to(tmp_path)) for entry in found]
    assert names == ["a", "b", "c", "b/1", "b/y", "b/y/2", "c/3", "c/up"]


def test_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").touch()
    found = []
    for entry in walk(str(tmp_path), lambda _: True):
        found.append(entry)
        if len(found) == 2:
            (tmp_path / "a").rmdir()
    *entries, error = found
    assert [entry.name for entry in entries if isinstance(entry, os.DirEntry)] == ["a", "b"]
    assert isinstance(error, FileNotFoundError)
    assert error.filename == str(tmp_path / "a")


def test_what_the_caller_raises_ends_it(tmp_path: Path) -> None:
    (tmp_path / "a").touch()

    def refuse(entry: os.DirEntry[str]) -> bool:
        raise KeyError(entry.name)

    with pytest.raises(KeyError, match="a"):
        [*walk(str(tmp_path), refuse)]


def test_open_found(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"text")
    (tmp_path / "link").symlink_to("a")
    with os.fdopen(open_found(str(tmp_path / "a")), "rb") as file:
        assert file.read() == b"text"
    with pytest.raises(OSError, match="link"):
        open_found(str(tmp_path / "link"))
    os.mkfifo(tmp_path / "pipe")
    os.close(open_found(str(tmp_path / "pipe")))  # at once: nobody writes to it
