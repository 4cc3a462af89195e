"""Files that only this user can read: folders of mode 0700 and files of 0600, opened without following links.

Everything is relative to the descriptor of an open folder, so that nobody can put a link in its place meanwhile.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from santacoder.errors import InvalidRequestError

#: Files that are being written begin with it; a process that was killed leaves them behind.
UNFINISHED: Final = "."


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a folder.

    Attributes:
        name: its name.
        size: its bytes.
        used_ns: when it was last written or touched, in nanoseconds since 1970.
    """

    name: str
    size: int
    used_ns: int


def missing_feature() -> str | None:
    """Return what this system lacks of what private folders need; None if it has all of it."""
    for name in ("O_NOFOLLOW", "O_DIRECTORY", "geteuid"):
        if not hasattr(os, name):
            return name
    lacking = {os.open, os.mkdir, os.rename, os.unlink, os.utime} - os.supports_dir_fd
    return "openat" if lacking else None


@contextmanager
def private_folder(path: Path, make: bool = False) -> Iterator[int]:
    """Open a folder of this user and yield its descriptor; with `make`, it is made if it does not exist.

    Raises:
        InvalidRequestError: it is a link, something other than a folder, or another user's.
        OSError: it does not exist, or cannot be made or opened.
    """
    if make:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None
        with suppress(FileExistsError):
            path.mkdir(0o700)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        if path.is_symlink():
            raise InvalidRequestError("it is a link: name the folder itself") from None
        if path.exists() and not path.is_dir():
            raise InvalidRequestError("it is not a folder") from None
        raise
    try:
        owner = os.fstat(descriptor).st_uid
        if owner != os.geteuid():
            raise InvalidRequestError(f"it belongs to another user, {owner}")
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def open_private(folder: int, name: str) -> Iterator[tuple[int, int]]:
    """Open a file of this user to read, and yield its descriptor and size.

    Raises:
        OSError: there is no such file, or it is a link, not a regular file, or another user's.
    """
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise PermissionError(f"{name} is not a file of this user")
        yield descriptor, status.st_size
    finally:
        os.close(descriptor)


def write_private(folder: int, name: str, parts: Sequence[bytes | memoryview], used_ns: int | None = None) -> None:
    """Write a file that takes its name when all of it is there, and the time of its last use if that is given.

    It is not flushed to the disk: after a power failure it may be damaged, so whoever reads it has to check it.

    Raises:
        OSError: it cannot be written; nothing of it is left.
    """
    aside = f"{UNFINISHED}{name[:40]}-{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(aside, flags, 0o600, dir_fd=folder)
    try:
        try:
            for part in parts:
                _write_all(descriptor, memoryview(part))
            if used_ns is not None:
                os.utime(descriptor, ns=(used_ns, used_ns))
        finally:
            os.close(descriptor)
        os.rename(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        remove(folder, aside)
        raise


def read_all(descriptor: int, into: memoryview) -> bool:
    """Fill `into` from an open file; return False if that ends too early."""
    while into.nbytes:
        count = os.readv(descriptor, [into])
        if not count:
            return False
        into = into[count:]
    return True


def _write_all(descriptor: int, data: memoryview) -> None:
    while data.nbytes:
        data = data[os.write(descriptor, data) :]


def touch(folder: int, name: str, used_ns: int) -> bool:
    """Set the time at which a file was last used; return False if there is none."""
    try:
        os.utime(name, ns=(used_ns, used_ns), dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return True


def remove(folder: int, name: str) -> None:
    """Remove a file, if that is possible."""
    with suppress(OSError):
        os.unlink(name, dir_fd=folder)


def entries(folder: int) -> Iterator[Entry]:
    """Yield the regular files of a folder; those that vanish meanwhile are left out."""
    with os.scandir(folder) as found:
        for each in found:
            with suppress(OSError):
                status = each.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield Entry(each.name, status.st_size, status.st_mtime_ns)
