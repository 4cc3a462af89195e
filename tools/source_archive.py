"""Packs a folder into a .tar.gz whose bytes depend on the files' names and contents only; setup.py uses it.

setuptools writes the times of the files and of the build, and who the user is (pypa/setuptools#2133).
"""

from __future__ import annotations

import gzip
import os
import tarfile
from pathlib import Path


def write_archive(folder: Path, target: Path) -> None:
    """Write `folder`, under its own name, to `target`. Times are SOURCE_DATE_EPOCH, or the beginning of 1980."""
    time = int(os.environ.get("SOURCE_DATE_EPOCH") or 315532800)

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = time, 0, 0, "", ""
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        target.open("wb") as file,
        gzip.GzipFile("", "wb", compresslevel=9, fileobj=file, mtime=time) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT, dereference=True) as archive,
    ):
        for path in sorted([folder, *folder.rglob("*")]):
            archive.add(path, path.relative_to(folder.parent).as_posix(), recursive=False, filter=plain)
