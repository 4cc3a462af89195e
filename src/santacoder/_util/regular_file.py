"""Opens, maps and identifies files at paths that may be anything, without waiting on a pipe or touching a device."""

from __future__ import annotations

import errno
import mmap
import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

from santacoder._util.validation import printable, why_bad_path
from santacoder.errors import ModelFormatError, SantaCoderError


def map_file(descriptor: int, size: int) -> mmap.mmap:
    """Map the first `size` bytes of an open file, read-only.

    Raises:
        ModelFormatError: it is empty, or cannot be mapped.
        MemoryError: there is not enough memory to map it.
    """
    if size == 0:
        raise ModelFormatError("the file is empty: it ends at byte 0")
    try:
        return mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: the file shrank meanwhile
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            raise MemoryError(f"no room to map a file of {size} bytes") from None
        raise ModelFormatError(f"the file cannot be mapped ({error})") from None


def open_model_file(path: str) -> int:
    """Return a descriptor of a model's file, open for reading.

    Raises:
        ModelFormatError: it is not a regular file, or cannot be opened.
        FileNotFoundError, PermissionError: as the operating system says.
    """
    try:
        return open_regular(path, ModelFormatError)
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "there is no such model file", path) from None
    except PermissionError:
        raise PermissionError(errno.EACCES, "this user may not read the model file", path) from None
    except OSError as error:
        raise ModelFormatError(f"{printable(path)}: the file cannot be opened ({error.strerror})") from None


def open_regular(path: str, kind: type[SantaCoderError]) -> int:
    """Return a descriptor of a regular file, open for reading.

    Raises:
        SantaCoderError: a `kind`: it is something else, or `path` holds characters that no path can.
        OSError: it cannot be opened.
    """
    try:
        mode = os.stat(path).st_mode
    except ValueError:
        raise kind(f"{printable(path)}: the path {why_bad_path(path)}") from None
    if not stat.S_ISREG(mode):
        raise kind(f"{printable(path)}: the path is a {_kind_of_file(mode)}, not a file")
    # Without O_NONBLOCK this would wait for a writer if the path became a FIFO since the stat.
    return os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))


#: Whether files can be opened so that no other user has a hand in what is read: see `open_trusted`.
CAN_TRUST: Final = hasattr(os, "O_NOFOLLOW") and hasattr(os, "geteuid")


def open_trusted(path: str | os.PathLike[str]) -> int:
    """Return a descriptor of a file that only root and this user can have written, open for reading.

    Raises:
        FileNotFoundError: there is none.
        PermissionError: another user owns it or may write to it or to its folder, or it is a link or something else
            than a file.
        OSError: it cannot be opened.
    """
    check_trusted(Path(path).parent.stat(), Path(path).parent)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise PermissionError(errno.EPERM, "this is a symbolic link, not a file", os.fspath(path)) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = _kind_of_file(status.st_mode)
            raise PermissionError(errno.EPERM, f"this is a {kind}, not a file", os.fspath(path))
        check_trusted(status, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_trusted(status: os.stat_result, path: str | os.PathLike[str]) -> None:
    """Check that only root and this user can have written what has this status.

    Raises:
        PermissionError: another user owns it or may write to it; the error names `path`.
    """
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(errno.EPERM, "another user owns this or may write to it", os.fspath(path))


class FileIdentity(NamedTuple):
    """What changes when a file is replaced or written to, and no other file has.

    Attributes:
        device: the file system.
        number: the file's there.
        size: bytes.
        modified: nanoseconds since 1970.
    """

    device: int
    number: int
    size: int
    modified: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileIdentity:
        """Return the identity of a file with this status."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def file_identity(path: str | os.PathLike[str]) -> FileIdentity:
    """Return the identity of a file, which may be reached by a link.

    Raises:
        OSError: there is no such file.
    """
    return FileIdentity.of(os.stat(path))


def _kind_of_file(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "directory"
    if stat.S_ISFIFO(mode):
        return "named pipe"
    return "socket" if stat.S_ISSOCK(mode) else "device"
