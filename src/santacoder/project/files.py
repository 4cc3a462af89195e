"""Which files of a project are read, and their texts. Links are not followed, so nothing outside of it is read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import Final, NamedTuple

from santacoder._util.text_file import decode_text
from santacoder._util.validation import printable, why_bad_path
from santacoder.errors import InvalidRequestError

MOST_ENTRIES: Final = 100_000  # files and folders of all paths together
MOST_BYTES: Final = 1 << 20  # of a file

#: Folders of what others wrote or programs made; and all whose names begin with a dot.
PASSED_OVER: Final = frozenset({"__pycache__", "build", "dist", "node_modules", "site-packages", "target", "venv"})


class FileState(NamedTuple):
    """What changes when a file does."""

    device: int
    number: int
    size: int
    modified: int


class Listing(NamedTuple):
    """The files of a project with their states, and a line for each that is left out."""

    files: dict[str, FileState]
    left_out: list[str]


def list_files(paths: Iterable[str]) -> Listing:
    """Return the regular files at paths, and in folders below them.

    Raises:
        InvalidRequestError: there are too many, or a path is neither a file nor a folder.
        OSError: a path cannot be read.
    """
    listing, folders, entries = Listing({}, []), list[str](), 0
    for path in paths:
        try:
            status = os.stat(path)
        except ValueError:
            raise InvalidRequestError(f"{printable(path)}: the path {why_bad_path(path)}") from None
        if stat.S_ISDIR(status.st_mode):
            os.scandir(path).close()  # it can be read
            folders.append(path)
        elif stat.S_ISREG(status.st_mode):
            read_text(path, follow=True)
            listing.files[os.path.realpath(path)] = _state(status)
        else:
            raise InvalidRequestError(f"{printable(path)} is neither a file nor a folder, but a project has only these")
    while folders:
        folder = folders.pop()
        try:
            found = os.scandir(folder)
        except OSError as error:
            listing.left_out.append(f"{printable(folder)}: {error.strerror}")
            continue
        with found:
            for entry in found:
                entries += 1
                if entries > MOST_ENTRIES:
                    raise InvalidRequestError(
                        f"the project has more than {MOST_ENTRIES} files and folders, at {printable(folder)} at the "
                        "latest: name those of its folders that hold its sources"
                    )
                _sort(entry, listing, folders)
    return listing


def _sort(entry: os.DirEntry[str], listing: Listing, folders: list[str]) -> None:
    """Enter what is found in a folder."""
    if entry.name.startswith("."):
        return
    if entry.is_symlink():
        listing.left_out.append(f"{printable(entry.path)}: a link")
    elif entry.is_dir(follow_symlinks=False):
        if entry.name not in PASSED_OVER:
            folders.append(entry.path)
    elif entry.is_file(follow_symlinks=False):
        try:
            state = _state(entry.stat(follow_symlinks=False))
        except OSError as error:
            listing.left_out.append(f"{printable(entry.path)}: {error.strerror}")
            return
        if state.size > MOST_BYTES:
            listing.left_out.append(f"{printable(entry.path)}: {state.size} bytes, more than {MOST_BYTES}")
        else:
            listing.files[entry.path] = state
    else:
        listing.left_out.append(f"{printable(entry.path)}: neither a file nor a folder")


def _state(status: os.stat_result) -> FileState:
    return FileState(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def read_text(path: str, follow: bool = False) -> str:
    """Return the text of a regular file; with `follow`, it may be reached by a link.

    Raises:
        InvalidRequestError: it is too large, binary, not UTF-8, or no regular file.
        OSError: it cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(path, "rb", opener=lambda name, _: os.open(name, flags | (0 if follow else _NO_LINKS))) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise InvalidRequestError(f"{printable(path)} is not a regular file any more")
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise InvalidRequestError(
            f"{printable(path)} has more than {MOST_BYTES} bytes, the most that is read of a file"
        )
    text = decode_text(data, printable(path))
    if (place := text.find("\0")) >= 0:
        raise InvalidRequestError(f"{printable(path)} is binary: character {place} is a NUL")
    return text


_NO_LINKS: Final = getattr(os, "O_NOFOLLOW", 0)
