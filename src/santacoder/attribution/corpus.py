"""The files of a corpus: folders, checkouts and archives, as they are. What cannot be taken is skipped."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

from santacoder._util.folder_walk import open_found, walk
from santacoder.attribution.archives import archive_files, is_archive
from santacoder.attribution.checkout import git_origin
from santacoder.attribution.lexemes import MAX_TEXT
from santacoder.attribution.origins import Origin, SourceFile, is_unicode
from santacoder.attribution.package_metadata import MAX_BYTES, read_package

MAX_LINE: Final = 100_000  # bytes of the longest line
BINARY_BYTES: Final = 8192  # in which a NUL says that a file is binary

_STORES: Final = frozenset({".git", ".hg", ".svn", "__pycache__"})
_METADATA: Final = ("PKG-INFO", "package.json", "pom.xml")


@dataclass
class Skipped:
    """What was not taken.

    Attributes:
        report: called with the path and the reason of each, except for files that hold no text.
        counts: by reason.
    """

    report: Callable[[str, str], None] = lambda path, reason: None
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, path: str, reason: str, detail: str = "") -> None:
        """Count a file, and report it."""
        self.counts[reason] += 1
        self.report(path, f"{reason} ({detail})" if detail else reason)

    def add_quietly(self, reason: str) -> None:
        """Count a file that nobody would expect in an index of code."""
        self.counts[reason] += 1


class Entry(NamedTuple):
    """A file or an archive, before it is read; `relative` is its path within its origin."""

    path: str
    relative: str
    origin: Origin


@dataclass(frozen=True)
class Corpus:
    """Paths to index.

    Attributes:
        paths: folders, archives and files.
        repository: what all of them are; None says that by their metadata, or their path.
        licence: of all of them; None takes what their metadata says.
        skipped: told of what is not taken.
        advance: called with the size on the disk of each file that is done with.
    """

    paths: tuple[Path, ...]
    repository: str | None = None
    licence: str | None = None
    skipped: Skipped = field(default_factory=Skipped)
    advance: Callable[[int], object] = lambda size: None

    def size(self) -> int:
        """Return the bytes of all files, for a progress bar."""
        total = 0
        for path in self.paths:
            for entry in _walk(path) if path.is_dir() else ():
                if isinstance(entry, os.DirEntry) and entry.is_file(follow_symlinks=False):
                    total += entry.stat(follow_symlinks=False).st_size
            total += path.stat().st_size if path.is_file() else 0
        return total

    def files(self) -> Iterator[SourceFile]:
        """Yield the files that can be indexed."""
        for entry in self.entries():
            yield from self.read(entry)

    def entries(self) -> Iterator[Entry]:
        """Yield what is there to be read."""
        for path in self.paths:
            if path.is_dir():
                yield from self._folder(path.resolve())
            else:
                yield Entry(str(path), path.name, self.given(Origin(str(path.resolve().parent))))

    def given(self, origin: Origin) -> Origin:
        """Return an origin with what the caller says of it."""
        if self.repository is not None:
            origin = replace(origin, repository=self.repository)
        return origin.with_licence(self.licence, "given") if self.licence is not None else origin

    def _folder(self, top: Path) -> Iterator[Entry]:
        """Yield what is below a folder. Each checkout in it, at whatever depth, has its own origin."""
        origins = {str(top): self.given(_folder_origin(top, git_origin(top) or Origin(str(top))))}
        roots = {str(top): str(top)}
        for entry in _walk(top):
            if isinstance(entry, OSError):
                self.skipped.add(str(entry.filename), "cannot be read", entry.strerror or "")
                continue
            folder = entry.path.rpartition("/")[0] or "/"
            if entry.is_dir(follow_symlinks=False):
                origins[entry.path], roots[entry.path] = origins[folder], roots[folder]
                inner = Path(entry.path)
                if (inner / ".git").exists() and (found := git_origin(inner)):
                    origins[entry.path] = self.given(_folder_origin(inner, found))
                    roots[entry.path] = entry.path
            else:
                relative = entry.path[len(roots[folder].rstrip("/")) + 1 :]
                yield Entry(entry.path, relative, origins[folder])

    def read(self, entry: Entry) -> Iterator[SourceFile]:
        """Yield a file, or what is in it if it is an archive."""
        path, relative, origin = entry
        try:
            descriptor = open_found(path)
        except OSError as error:
            if error.errno == errno.ELOOP:
                self.skipped.add(path, "is a symbolic link")
            else:
                self.skipped.add(path, "cannot be read", error.strerror or "")
            return
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                self.skipped.add(path, "is not a regular file")
            elif not is_unicode(relative):
                self.skipped.add(path, "has a name that is not UTF-8")
            elif is_archive(relative):
                with os.fdopen(descriptor, "rb", closefd=False) as file:
                    yield from archive_files(path, file, self.given, self.skipped, self.usable)
            elif status.st_size > MAX_TEXT:
                self.skipped.add(path, "is too large", f"{status.st_size} bytes, the limit is {MAX_TEXT}")
            elif self.usable(path, data := os.read(descriptor, status.st_size + 1)):
                yield SourceFile(origin.of_file(data), relative, data)
            self.advance(status.st_size)
        finally:
            os.close(descriptor)

    def usable(self, path: str, data: bytes) -> bool:
        """Return whether a file can be indexed; if not, count it."""
        if len(data) > MAX_TEXT:
            self.skipped.add(path, "is too large", f"the limit is {MAX_TEXT} bytes")
        elif b"\0" in data[:BINARY_BYTES]:
            self.skipped.add_quietly("is binary")
        elif len(data) > MAX_LINE and (longest := max(map(len, data.splitlines()))) > MAX_LINE:
            self.skipped.add(path, "has too long a line", f"{longest} bytes, the limit is {MAX_LINE}")
        else:
            return True
        return False


def _walk(top: Path) -> Iterator[os.DirEntry[str] | OSError]:
    """Yield what is in a folder and those below it, but the stores of version control."""
    return walk(str(top), lambda entry: entry.name not in _STORES)


def _folder_origin(folder: Path, origin: Origin) -> Origin:
    """Return the origin of a folder with the licence that its metadata says."""
    for name in _METADATA:
        path = folder / name
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= MAX_BYTES:
            package = read_package(name, path.read_bytes())
            if package is not None:
                return origin.with_licence(package.licence, name)
    return origin
