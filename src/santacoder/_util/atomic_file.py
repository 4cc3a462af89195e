"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from santacoder._util.validation import why_bad_path
from santacoder.errors import InvalidRequestError

#: Letters of the target's name that the temporary name keeps: names have at most 255 bytes, letters up to four.
_NAME_LETTERS = 40


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file to write that takes its name when the block ends; an exception leaves what was there before.

    The new file keeps the permissions of the old one. A symbolic link stays, and the file it points to is replaced.

    Raises:
        OSError: it cannot be written, or is not a regular file; the error names `path`, not the temporary file. In the
            block, `with_path_in_errors` does the same for errors.
        InvalidRequestError: `path` holds characters that no path can.
    """
    named = Path(path)
    mode = stat.S_IMODE(named.stat().st_mode) if is_file(named) else None
    target = Path(os.path.realpath(named))
    temporary = target.with_name(f".{target.name[:_NAME_LETTERS]}-{secrets.token_hex(4)}")
    file: IO[bytes] | None = None
    try:
        with with_path_in_errors(named):
            file = temporary.open("xb")
            if mode is not None:
                temporary.chmod(mode)
        yield file
        with with_path_in_errors(named):
            file.flush()
            os.fsync(file.fileno())
            file.close()
            temporary.replace(target)
    except BaseException:
        if file is not None:  # before it is removed: Windows removes no open file
            with contextlib.suppress(OSError):  # what did not fit on the disk still does not
                file.close()
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(target.parent)


def is_file(target: Path) -> bool:
    """Return whether there is a file to replace; refuse a device or a pipe, which a rename by root would replace too.

    Raises:
        OSError: the path is something other than a file, or its folder does not exist.
        InvalidRequestError: it holds characters that no path can.
    """
    with with_path_in_errors(target):
        try:
            mode = target.stat().st_mode
        except FileNotFoundError:
            target.resolve().parent.stat()  # the folder must exist
            return False
        except ValueError:
            raise InvalidRequestError(f"{str(target)!r} {why_bad_path(target)}") from None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "this is a folder, not a file to write", str(target))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "this is a device or a pipe, not a file to write", str(target))
    return True


def check_not_read(target: Path, reads: Iterable[str | os.PathLike[str]]) -> None:
    """Check that `target` is not one of the files that are read to write it, under whatever name.

    Raises:
        InvalidRequestError: it is one of them.
    """
    for path in reads:
        same = False
        with contextlib.suppress(OSError, ValueError):  # a path that does not exist, or is invalid, is not replaced
            same = target.samefile(path)
        if same:
            raise InvalidRequestError(f"{target} is a file that is read ({os.fspath(path)}): name another to write")


@contextlib.contextmanager
def with_path_in_errors(path: Path) -> Iterator[None]:
    """Make errors of the operating system name `path`; without this they name no file, or the temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def _sync_folder(folder: Path) -> None:
    """Flush the new name to the disk too, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
