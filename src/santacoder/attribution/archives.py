"""The files in archives: wheels, source distributions, npm packages, jars. Nothing is unpacked to the disk."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, Protocol, cast

from santacoder.attribution.lexemes import MAX_TEXT
from santacoder.attribution.origins import Origin, SourceFile, is_unicode
from santacoder.attribution.package_metadata import MAX_BYTES, is_metadata, read_package

_ZIPS: Final = (".zip", ".whl", ".jar", ".egg")
_TARS: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_ARCHIVES: Final = _ZIPS + _TARS

#: An archive that grows beyond this many times its size, and beyond LEAST_LIMIT, is a bomb.
MAX_GROWTH: Final = 60
LEAST_LIMIT: Final = 64 << 20

_OPENERS: Final = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))
_BROKEN: Final = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError,
    NotImplementedError, OverflowError, MemoryError, KeyError, IndexError, AssertionError,
)  # fmt: skip


class SkipCounter(Protocol):
    """What is told of files that are not taken: see `corpus.Skipped`."""

    def add(self, path: str, reason: str, detail: str = "") -> None:
        """Count a file, and report it."""
        ...


class BombError(Exception):
    """An archive holds far more than its size."""


class _Bounded(io.RawIOBase):
    """A stream that may be read only so far."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file, self._left = file, limit

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(min(size, 1 << 20) if size >= 0 else 1 << 20)
        self._left -= len(data)
        if self._left < 0:
            raise BombError
        return data


class _Header(tarfile.TarInfo):
    """A header that does not make tarfile read a name of gigabytes into memory."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type not in (*tarfile.SUPPORTED_TYPES, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE):
            raise tarfile.ReadError(f"a header of type {self.type!r}")
        if not self.isreg() and self.size > MAX_BYTES:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return cast("tarfile.TarInfo", super()._proc_member(archive))  # type: ignore[misc]


#: Yields path, size and a reader of each regular file; others have no reader, but the reason.
_Members = Iterator[tuple[str, int, Callable[[], bytes] | str]]


def is_archive(name: str) -> bool:
    """Return whether a file of this name is opened as an archive."""
    return name.lower().endswith(_ARCHIVES)


def archive_files(
    path: str,
    file: IO[bytes],
    given: Callable[[Origin], Origin],
    skipped: SkipCounter,
    usable: Callable[[str, bytes], bool],
) -> Iterator[SourceFile]:
    """Yield the files of an archive.

    Args:
        path: of the archive, to name it.
        file: the archive, open for reading.
        given: adds to an origin what the caller says of it.
        skipped: told of what is not taken.
        usable: whether a file of this path and contents can be indexed.
    """
    name = Path(path).name
    limit = max(LEAST_LIMIT, os.fstat(file.fileno()).st_size * MAX_GROWTH)
    members = _zip_members if name.lower().endswith(_ZIPS) else _tar_members
    try:
        origin = given(_package_origin(members(file, limit)) or Origin(name))
        file.seek(0)
        left = limit
        for member, size, read in members(file, limit):
            where = f"{path}: {member}"
            if isinstance(read, str):
                skipped.add(where, read)
            elif not is_unicode(member):
                skipped.add(where, "has a name that is not UTF-8")
            elif size > MAX_TEXT:
                skipped.add(where, "is too large", f"{size} bytes, the limit is {MAX_TEXT}")
            else:
                data = read()
                left -= len(data)
                if left < 0:
                    raise BombError
                if usable(where, data):
                    yield SourceFile(origin.of_file(data), member, data)
    except BombError:
        skipped.add(path, "expands to too much", f"over {limit} bytes")
    except _BROKEN as error:
        skipped.add(path, "is a damaged archive", " ".join(str(error).split())[:100])


def _package_origin(members: _Members) -> Origin | None:
    """Return the origin that the package's own metadata describes: of the file nearest to the top."""
    found: list[tuple[int, str, Origin]] = []
    for member, size, read in members:
        if not isinstance(read, str) and size <= MAX_BYTES and is_metadata(member):
            package = read_package(member, read())
            if package is not None:
                found.append((member.count("/"), member, package.origin(member.rpartition("/")[2])))
                if member.endswith(("METADATA", "PKG-INFO")) and member.count("/") <= 1:
                    break
    return min(found)[2] if found else None


def _zip_members(file: IO[bytes], limit: int) -> _Members:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            kind = info.external_attr >> 16 & 0o170000
            if kind not in (0, 0o100000):
                yield info.filename, 0, "is not a regular file"
            elif info.flag_bits & 1:
                yield info.filename, 0, "is encrypted"
            else:
                yield info.filename, info.file_size, lambda info=info: _read_zip(archive, info)  # type: ignore[misc]


def _read_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as member:
        return member.read(MAX_TEXT + 1)


def _tar_members(file: IO[bytes], limit: int) -> _Members:
    magic = file.read(6)
    file.seek(0)
    opener = next((opener for start, opener in _OPENERS if magic.startswith(start)), None)
    plain = file if opener is None else cast("IO[bytes]", opener(file))
    with tarfile.open(fileobj=cast("IO[bytes]", _Bounded(plain, limit)), mode="r|", tarinfo=_Header) as archive:
        for info in archive:
            archive.members = []  # type: ignore[attr-defined]  # else it keeps them all
            if info.isfile():
                yield info.name, info.size, lambda info=info: _read_tar(archive, info)  # type: ignore[misc]
            elif not info.isdir():
                yield info.name, 0, "is not a regular file"


def _read_tar(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    member = archive.extractfile(info)
    return b"" if member is None else member.read(MAX_TEXT + 1)
