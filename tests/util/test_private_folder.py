"""Files that only this user can read."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from santacoder._util.private_folder import (
    Entry,
    entries,
    missing_feature,
    open_private,
    private_folder,
    read_all,
    remove,
    touch,
    write_private,
)
from santacoder.errors import InvalidRequestError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "one" / "two"


def read(path: Path, name: str) -> bytes:
    with private_folder(path) as descriptor, open_private(descriptor, name) as (file, size):
        data = bytearray(size)
        assert read_all(file, memoryview(data))
        assert not read_all(file, memoryview(bytearray(1)))
        return bytes(data)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_modes(folder: Path) -> None:
    before = os.umask(0)
    try:
        with private_folder(folder, make=True) as descriptor:
            write_private(descriptor, "a", [b"one", memoryview(b"two")], 5)
    finally:
        os.umask(before)
    status = (folder / "a").stat()
    assert (stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE(status.st_mode)) == (0o700, 0o600)
    assert (read(folder, "a"), status.st_mtime_ns, names(folder)) == (b"onetwo", 5, ["a"])


def test_a_file_that_is_there_is_replaced(folder: Path) -> None:
    with private_folder(folder, make=True) as descriptor:
        for content in (b"first", b"second"):
            write_private(descriptor, "a", [content])
    assert (read(folder, "a"), names(folder)) == (b"second", ["a"])


def test_what_fails_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with private_folder(folder, make=True) as descriptor:
        write_private(descriptor, "a", [b"old"])
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            write_private(descriptor, "a", [b"new"])
    monkeypatch.undo()
    assert (read(folder, "a"), names(folder)) == (b"old", ["a"])


def test_writes_in_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with private_folder(folder, make=True) as descriptor:
        monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:2]))
        write_private(descriptor, "a", [b"abcdefg"])
        monkeypatch.undo()
    assert read(folder, "a") == b"abcdefg"


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "a").symlink_to(tmp_path / "secret")
    link = tmp_path / "link"
    link.symlink_to(folder)
    with private_folder(folder) as descriptor:
        with pytest.raises(OSError, match="symbolic links"), open_private(descriptor, "a"):
            pass
        assert touch(descriptor, "a", 5)  # the link's own time
        write_private(descriptor, "a", [b"new"])
    assert (tmp_path / "secret").read_bytes() == b"secret"
    assert (tmp_path / "secret").stat().st_mtime_ns != 5
    for make in (False, True):
        with (
            pytest.raises(InvalidRequestError, match=r"^it is a link: name the folder itself$"),
            private_folder(link, make),
        ):
            pass


def test_only_folders_and_files(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidRequestError, match=r"^it is not a folder$"), private_folder(tmp_path / "file", True):
        pass
    with pytest.raises(FileNotFoundError), private_folder(folder):
        pass
    with private_folder(folder, make=True) as descriptor:
        os.mkfifo(folder / "pipe")
        (folder / "folder").mkdir()
        for name in ("pipe", "folder"):
            with (
                pytest.raises(PermissionError, match=f"{name} is not a file of this user"),
                open_private(descriptor, name),
            ):
                pass


def test_only_this_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = os.geteuid()
    with private_folder(folder, make=True) as descriptor:
        write_private(descriptor, "a", [b""])
        monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
        with pytest.raises(PermissionError), open_private(descriptor, "a"):
            pass
    with pytest.raises(InvalidRequestError, match=f"^it belongs to another user, {mine}$"), private_folder(folder):
        pass


def test_entries(folder: Path) -> None:
    with private_folder(folder, make=True) as descriptor:
        write_private(descriptor, "a", [b"one"], 7)
        (folder / "folder").mkdir()
        (folder / "link").symlink_to("a")
        assert list(entries(descriptor)) == [Entry("a", 3, 7)]
        assert (touch(descriptor, "a", 9), touch(descriptor, "b", 9)) == (True, False)
        assert list(entries(descriptor)) == [Entry("a", 3, 9)]
        remove(descriptor, "a")
        remove(descriptor, "a")
        assert list(entries(descriptor)) == []


def test_no_descriptor_is_left_open(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    closed: list[int] = []
    open_file, close_file = os.open, os.close

    def open_noted(*arguments: Any, **keywords: Any) -> int:
        opened.append(open_file(*arguments, **keywords))
        return opened[-1]

    def close_noted(number: int) -> None:
        closed.append(number)
        close_file(number)

    monkeypatch.setattr(os, "open", open_noted)
    monkeypatch.setattr(os, "close", close_noted)
    with private_folder(folder, make=True) as descriptor:
        write_private(descriptor, "a", [b"one"])
        with open_private(descriptor, "a"):
            pass
    with private_folder(folder):
        monkeypatch.setattr(os, "geteuid", lambda: -1)
        with pytest.raises(InvalidRequestError), private_folder(folder):
            pass
    assert sorted(opened) == sorted(closed)
    assert len(opened) == 5


def test_systems_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_feature() is None
    monkeypatch.setattr(os, "supports_dir_fd", {os.open})
    assert missing_feature() == "openat"
    monkeypatch.delattr(os, "O_NOFOLLOW")
    assert missing_feature() == "O_NOFOLLOW"
