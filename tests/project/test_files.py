"""Which files of a project are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from santacoder.errors import InvalidRequestError
from santacoder.project import files
from santacoder.project.files import list_files, read_found


def write(path: Path, text: str | bytes = "a\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def names(*paths: Path) -> list[str]:
    return sorted(Path(path).name for path in list_files(map(str, paths)).files)


def test_files_at_any_depth(tmp_path: Path) -> None:
    for name in ("a.py", "b/c.py", "b/d/e.txt", "Makefile"):
        write(tmp_path / name)
    assert names(tmp_path) == ["Makefile", "a.py", "c.py", "e.txt"]
    assert names(tmp_path / "b", tmp_path / "a.py") == ["a.py", "c.py", "e.txt"]


def test_what_others_wrote_is_passed_over(tmp_path: Path) -> None:
    for name in ("a.py", ".env", ".git/config", "node_modules/x.js", "sub/build/x.py", "venv/lib/x.py", "x/.secret"):
        write(tmp_path / name)
    found = list_files([str(tmp_path)])
    assert [*found.files] == [str(tmp_path / "a.py")]
    assert found.left_out == []


def test_links_are_not_followed(tmp_path: Path) -> None:
    """Neither out of the folder, nor in circles; a link that the caller names is."""
    write(tmp_path / "outside/secret.py", "secret")
    inside = tmp_path / "inside"
    write(inside / "a.py")
    (inside / "file.py").symlink_to(tmp_path / "outside/secret.py")
    (inside / "folder").symlink_to(tmp_path / "outside")
    (inside / "circle").symlink_to(inside)
    found = list_files([str(inside)])
    assert [*found.files] == [str(inside / "a.py")]
    assert sorted(found.left_out) == [f"{inside / name}: a link" for name in ("circle", "file.py", "folder")]
    assert names(inside / "folder") == ["secret.py"]


def test_a_file_that_becomes_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.py").symlink_to(write(tmp_path / "secret.py"))
    with pytest.raises(OSError, match=r"secret|a[.]py"):
        read_found(str(tmp_path / "a.py"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_left_out_and_never_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert list_files([str(tmp_path)]).left_out == [f"{pipe}: neither a file nor a folder"]
    with pytest.raises(InvalidRequestError, match=r"pipe is neither a file nor a folder, but a project "):
        list_files([str(pipe)])
    with pytest.raises(InvalidRequestError, match=r"pipe is not a regular file any more$"):
        read_found(str(pipe))


def test_large_ones_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 10)
    write(tmp_path / "small.py", "x" * 10)
    large = write(tmp_path / "large.py", "x" * 11)
    found = list_files([str(tmp_path)])
    assert [*found.files] == [str(tmp_path / "small.py")]
    assert found.left_out == [f"{large}: 11 bytes, more than 10"]
    with pytest.raises(InvalidRequestError, match=r"has more than 10 bytes, the most that is read of a file$"):
        list_files([str(large)])


def test_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and folders of all paths count, also those that are passed over."""
    monkeypatch.setattr(files, "MOST_ENTRIES", 4)
    for name in ("a.py", "b/c.py", ".d"):
        write(tmp_path / name)
    assert names(tmp_path) == ["a.py", "c.py"]
    write(tmp_path / "b/e.py")
    with pytest.raises(InvalidRequestError, match=r"^the project has more than 4 files and folders, at "):
        list_files([str(tmp_path)])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GGUF\0\0\0\3", r"is binary: character 4 is a NUL$"),
        (b"\xff\xfe\xfa", r"is UTF-16, but it must be UTF-8$"),
        (b"abc\x80", r"is not UTF-8 at byte 3$"),
    ],
)
def test_a_binary_that_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    path = write(tmp_path / "a.bin", data)
    with pytest.raises(InvalidRequestError, match=f"^{path} {message}"):
        list_files([str(path)])
    assert names(tmp_path) == ["a.bin"]  # it is left out when it is read


def test_paths_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list_files([str(tmp_path / "none")])
    with pytest.raises(InvalidRequestError, match=r"holds a NUL character$"):
        list_files(["a\0b"])
