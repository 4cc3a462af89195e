"""Keeps all files of a cache within a number of bytes: what was used last stays."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from santacoder._util.private_folder import UNFINISHED, entries, private_folder, remove
from santacoder.errors import InvalidRequestError
from santacoder.prefixes.block_names import LETTERS

#: Letters of a model's fingerprint that name its folder.
_FOLDER_LETTERS: Final = 16
_FOLDER: Final = re.compile(f"[0-9a-f]{{{_FOLDER_LETTERS}}}")
_BLOCK: Final = re.compile(f"[0-9a-f]{{{LETTERS}}}")
#: Seconds after which an unfinished file belongs to a process that was killed.
ABANDONED: Final = 3600
_PAGE: Final = 4096  # file systems give no less to a file
#: Part of the limit that may be written before the files are counted again: other processes write too.
_UNCOUNTED: Final = 8


def folder_name(fingerprint: str) -> str:
    """Return the name of the folder of a model's blocks."""
    return fingerprint[:_FOLDER_LETTERS]


class StoredFile(NamedTuple):
    """A file of the cache: when it was last used, the bytes that it takes of the disk, and where it is."""

    used_ns: int
    disk_bytes: int
    folder: Path
    name: str


def disk_bytes(size: int) -> int:
    """Return how much of the disk a file of `size` bytes takes."""
    return -(-size // _PAGE) * _PAGE


def model_folders(folder: Path) -> list[Path]:
    """Return the folders of all models in a cache; none if it does not exist."""
    try:
        return sorted(path for path in folder.iterdir() if _FOLDER.fullmatch(path.name))
    except OSError:
        return []


def stored_files(folder: Path, now_ns: int) -> Iterator[StoredFile]:
    """Yield the blocks of a model's folder; what killed processes have left is removed, what is foreign is not seen."""
    with suppress(OSError, InvalidRequestError), private_folder(folder) as descriptor:
        for entry in entries(descriptor):
            if _BLOCK.fullmatch(entry.name) or entry.name.startswith(UNFINISHED):
                if entry.name.startswith(UNFINISHED) and entry.used_ns < now_ns - ABANDONED * 10**9:
                    remove(descriptor, entry.name)
                else:
                    yield StoredFile(entry.used_ns, disk_bytes(entry.size), folder, entry.name)


def remove_files(files: list[StoredFile]) -> None:
    """Remove files, as far as that is possible."""
    for folder in {file.folder for file in files}:
        with suppress(OSError, InvalidRequestError), private_folder(folder) as descriptor:
            for file in files:
                if file.folder == folder:
                    remove(descriptor, file.name)


class Room:
    """Makes room for what is written. Nobody is asked and nothing locked: each process counts for itself."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Take the cache's folder, and the most bytes that all models together may take in it."""
        self._folder = folder
        self._limit = limit
        self._left = 0  # bytes that may be written before the files are counted again

    def make(self, size: int) -> None:
        """Make room for a file of `size` bytes: where the files are too many, drop those that were not used longest."""
        size = disk_bytes(size)
        if size > self._left:
            self._left = min(self._limit - self._count(size), max(self._limit // _UNCOUNTED, size))
        self._left -= size

    def _count(self, size: int) -> int:
        """Return the bytes of all files, after the oldest were removed if there is no room for `size` more."""
        now = time.time_ns()
        files = sorted(file for folder in model_folders(self._folder) for file in stored_files(folder, now))
        total = sum(file.disk_bytes for file in files)
        if total + size <= self._limit:
            return total
        wanted = self._limit - max(self._limit // _UNCOUNTED, size)
        dropped = []
        for file in files:
            if total <= wanted:
                break
            dropped.append(file)
            total -= file.disk_bytes
        remove_files(dropped)
        return total
