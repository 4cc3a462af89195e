"""Files that are written whole: what was in their place."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from santacoder._util.atomic_file import atomic_file
from tests.support.needs import needs_links, needs_modes


def write(path: Path, content: bytes) -> None:
    with atomic_file(path) as file:
        file.write(content)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
@needs_modes
def test_permissions_stay(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(mode)
    with atomic_file(path) as file:
        [temporary] = [other for other in tmp_path.iterdir() if other != path]
        assert stat.S_IMODE(temporary.stat().st_mode) == mode  # meanwhile no other user can read it
        file.write(b"new")
    assert (stat.S_IMODE(path.stat().st_mode), path.read_bytes()) == (mode, b"new")


@pytest.mark.parametrize("exists", [True, False])
@needs_links
def test_links_stay(tmp_path: Path, exists: bool) -> None:
    (tmp_path / "there").mkdir()
    real = tmp_path / "there" / "a"
    if exists:
        real.write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to("there/a")
    write(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "there"]
    assert sorted(path.name for path in real.parent.iterdir()) == ["a"]


def test_an_exception_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(TypeError):
        write(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [other.name for other in tmp_path.iterdir()] == ["a"]


def test_the_temporary_file_is_closed_before_it_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows removes no open file."""
    removed: list[bool] = []
    remove = Path.unlink

    def unlink(self: Path, missing_ok: bool = False) -> None:
        removed.append(file.closed)
        remove(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(KeyError), atomic_file(tmp_path / "a") as file:
        raise KeyError
    assert removed == [True]
    assert [*tmp_path.iterdir()] == []
