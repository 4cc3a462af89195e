"""Damage to the files of a prefix cache, and where they are."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Final

DAMAGES: Final = ("truncate", "flip", "remove", "swap", "lengthen", "empty", "link", "folder")


def block_paths(folder: Path) -> list[Path]:
    """Return the files of all blocks of a prefix cache, by name."""
    return sorted(path for path in folder.glob("*/*") if len(path.name) == 40)


def damage(folder: Path, kind: str, random: Random) -> None:
    """Do this to one of the blocks, if there are any."""
    paths = block_paths(folder)
    if not paths:
        return
    path, other = random.choice(paths), random.choice(paths)
    if kind == "swap":
        aside = path.with_name("aside")
        path.rename(aside)
        if path != other:
            other.rename(path)
        aside.rename(other)
        return
    data = bytearray(path.read_bytes()) if path.is_file() else bytearray(1)
    if kind == "truncate":
        data = data[: random.randrange(len(data) or 1)]
    elif kind == "flip" and data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    elif kind == "lengthen":
        data += b"\0"
    elif kind == "empty":
        data.clear()
    _clear(path)
    if kind == "link":
        path.symlink_to(other if other != path else "nowhere")
    elif kind == "folder":
        path.mkdir()
    elif kind != "remove":
        path.write_bytes(data)


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink()
