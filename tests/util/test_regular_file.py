"""Which paths may be opened as files, and what tells files apart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from santacoder._util.regular_file import file_identity, open_regular
from santacoder.errors import ModelFormatError, SantaCoderError, SessionFormatError
from tests.support.needs import needs_links, needs_named_pipes


@pytest.mark.parametrize("kind", [ModelFormatError, SessionFormatError])
@needs_named_pipes
def test_what_is_no_file(tmp_path: Path, kind: type[SantaCoderError]) -> None:
    os.mkfifo(tmp_path / "pipe")
    expected = {
        str(tmp_path): "the path is a directory, not a file",
        str(tmp_path / "pipe"): "the path is a named pipe, not a file",
        "/dev/null": "the path is a device, not a file",
    }
    for path, problem in expected.items():
        with pytest.raises(kind) as caught:
            open_regular(path, kind)
        assert str(caught.value) == f"{path}: {problem}"
    with pytest.raises(kind) as caught:
        open_regular("a\0b", kind)
    assert str(caught.value) == r"'a\x00b': the path holds a NUL character"
    with pytest.raises(FileNotFoundError):
        open_regular(str(tmp_path / "none"), kind)


@needs_links
def test_a_link_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to("file")
    with os.fdopen(open_regular(str(tmp_path / "link"), SessionFormatError), "rb") as file:
        assert file.read() == b"text"
    assert file_identity(tmp_path / "link") == file_identity(str(tmp_path / "file"))


def test_a_file_that_is_replaced_or_written_to(tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    for name in (path, other):
        name.write_bytes(b"text")
        os.utime(name, ns=(0, 0))
    before = file_identity(path)
    assert file_identity(other) != before
    path.write_bytes(b"texts")
    os.utime(path, ns=(0, 0))
    longer = file_identity(path)
    os.utime(path, ns=(0, 1))
    later = file_identity(path)
    other.replace(path)
    assert len({before, longer, later, file_identity(path)}) == 4
