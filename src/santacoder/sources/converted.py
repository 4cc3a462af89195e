"""The cache of converted checkpoints: where each one is, which there are, and how to remove them.

A folder for each source (a repository, or a folder of the user's) holds a file for each of its versions and types.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from santacoder._util.atomic_file import atomic_file
from santacoder.sources.model_name import DEFAULT_BRANCH

if TYPE_CHECKING:
    from filelock import BaseFileLock

VARIABLE: Final = "SANTACODER_CACHE"
#: Raised whenever the conversion of the same checkpoint gives other bytes, so that no older file is taken for it.
CONVERTER: Final = 1

_SOURCE, _REVISIONS, _LOCK = "source", "revisions", ".lock"
_DIGITS: Final = 12  # of a hash, in names


@dataclass(frozen=True, slots=True)
class ConvertedModel:
    """A file of the cache.

    Attributes:
        path: the file's.
        source: "owner/name", or the path of the folder that was converted.
        version: the commit, or a hash of the folder's files; of both the beginning.
        type: of its matrices, a name of `mixes.MIXES`.
        file_bytes: its size.
    """

    path: str
    source: str
    version: str
    type: str
    file_bytes: int


def cache_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the cache's folder, which need not exist; with `cache_dir`, the hub's cache, the one within that."""
    if cache_dir is not None:
        return Path(cache_dir) / "santacoder"
    if named := os.environ.get(VARIABLE):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "santacoder"


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of one source in the cache.

    Attributes:
        folder: the folder.
        source: "owner/name", or the absolute path of a folder.
    """

    folder: Path
    source: str

    @classmethod
    def of(cls, source: str, is_folder: bool, cache_dir: str | os.PathLike[str] | None = None) -> Place:
        """Return the place of a source: a repository, or the folder at an absolute path."""
        name = source.replace("/", "--")
        if is_folder:
            last = re.sub(r"[^\w.-]", "_", Path(source).name)[:40]
            name = f"{last}-{sha256(os.fsencode(source)).hexdigest()[:_DIGITS]}"
        return cls(cache_folder(cache_dir) / name, source)

    def path(self, version: str, type: str) -> Path:
        """Return the path of the file of a version of the source and a type, which need not exist."""
        return self.folder / f"{version}-{type}-{CONVERTER}.gguf"

    def lock(self) -> BaseFileLock:
        """Return the lock of whoever changes the folder, which the system takes away from a process that ends."""
        from filelock import FileLock

        return FileLock(self.folder / _LOCK)

    def prepare(self) -> None:
        """Make the folder, and note the source in it.

        Raises:
            OSError: that is not possible.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / _SOURCE).is_file():
            with atomic_file(self.folder / _SOURCE) as file:
                file.write(os.fsencode(self.source))

    def remember(self, revision: str | None, commit: str) -> None:
        """Note which commit a revision of the repository is at, if that can be written."""
        if self.remembered(revision) != commit:
            with suppress(OSError):
                path = self._note_of(revision)
                path.parent.mkdir(exist_ok=True)
                with atomic_file(path) as file:
                    file.write(commit.encode())

    def remembered(self, revision: str | None) -> str:
        """Return what was noted of a revision, or ""."""
        try:
            return self._note_of(revision).read_text("utf-8", "replace")
        except (OSError, ValueError):  # there is none, or no file can have that name
            return ""

    def _note_of(self, revision: str | None) -> Path:
        return self.folder / _REVISIONS / (revision or DEFAULT_BRANCH).replace("/", "--")

    def remove_leftovers(self) -> None:
        """Remove the unfinished files of conversions that were killed; the caller has the lock."""
        for path in self.folder.glob(".*.gguf-*"):
            path.unlink(missing_ok=True)


def short_version(text: str) -> str:
    """Return the beginning of a hash, as names of files have it."""
    return text[:_DIGITS]


def converted_models(cache_dir: str | os.PathLike[str] | None = None) -> Iterator[ConvertedModel]:
    """Yield the files of the cache by source and name."""
    for place in _places(cache_dir):
        for path in sorted(place.folder.glob("*.gguf")):
            version, _, rest = path.stem.rpartition("-")[0].rpartition("-")
            yield ConvertedModel(str(path), place.source, version, rest, path.stat().st_size)


def clear(cache_dir: str | os.PathLike[str] | None = None) -> list[ConvertedModel]:
    """Remove all files of the cache, and return them; a conversion that runs is waited for.

    Raises:
        OSError: a file cannot be removed.
    """
    removed = []
    found = {model.path: model for model in converted_models(cache_dir)}
    for place in _places(cache_dir):
        with place.lock():
            place.remove_leftovers()
            for path in sorted(place.folder.glob("*.gguf")):
                path.unlink(missing_ok=True)
                if str(path) in found:
                    removed.append(found[str(path)])
    return removed


def _places(cache_dir: str | os.PathLike[str] | None) -> Iterator[Place]:
    """Yield the places of all sources, by their folders' names."""
    for note in sorted(cache_folder(cache_dir).glob(f"*/{_SOURCE}")):
        yield Place(note.parent, os.fsdecode(note.read_bytes()))
