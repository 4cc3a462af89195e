"""Which files of a project are read, and their texts. Links are not followed, so nothing outside of it is read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

from santacoder._util.folder_walk import open_found, walk
from santacoder._util.regular_file import FileIdentity, open_regular
from santacoder._util.text_file import decode_text
from santacoder._util.validation import printable, why_bad_path
from santacoder.errors import InvalidRequestError

MOST_ENTRIES: Final = 100_000  # files and folders of all paths together
MOST_BYTES: Final = 1 << 20  # of a file

#: Folders of what others wrote or programs made; and all whose names begin with a dot.
PASSED_OVER: Final = frozenset({"__pycache__", "build", "dist", "node_modules", "site-packages", "target", "venv"})


class Listing(NamedTuple):
    """The files of a project with their states, and a line for each that is left out."""

    files: dict[str, FileIdentity]
    left_out: list[str]


def list_files(paths: Iterable[str]) -> Listing:
    """Return the regular files at paths, and in folders below them.

    Raises:
        InvalidRequestError: there are too many, or a path is neither a file nor a folder.
        OSError: a path cannot be read.
    """
    listing, folders = Listing({}, []), list[str]()
    for path in paths:
        try:
            status = os.stat(path)
        except ValueError:
            raise InvalidRequestError(f"{printable(path)}: the path {why_bad_path(path)}") from None
        if stat.S_ISDIR(status.st_mode):
            os.scandir(path).close()  # it can be read
            folders.append(path)
        elif stat.S_ISREG(status.st_mode):
            read_named(path)
            listing.files[os.path.realpath(path)] = FileIdentity.of(status)
        else:
            raise InvalidRequestError(f"{printable(path)} is neither a file nor a folder, but a project has only these")
    wanted = partial(_is_wanted, count())
    for folder in folders:
        for entry in walk(folder, wanted):
            if isinstance(entry, OSError):
                listing.left_out.append(f"{printable(str(entry.filename))}: {entry.strerror}")
            else:
                _enter(entry, listing)
    return listing


def _is_wanted(entries: Iterator[int], entry: os.DirEntry[str]) -> bool:
    """Return whether something in a folder belongs to the project.

    Raises:
        InvalidRequestError: there are too many.
    """
    if next(entries) >= MOST_ENTRIES:
        raise InvalidRequestError(
            f"the project has more than {MOST_ENTRIES} files and folders, at {printable(str(Path(entry.path).parent))} "
            "at the latest: name those of its folders that hold its sources"
        )
    passed_over = entry.name in PASSED_OVER and entry.is_dir(follow_symlinks=False)
    return not (passed_over or entry.name.startswith("."))


def _enter(entry: os.DirEntry[str], listing: Listing) -> None:
    """Enter a file that was found, or why it is left out."""
    if entry.is_symlink():
        listing.left_out.append(f"{printable(entry.path)}: a link")
    elif entry.is_file(follow_symlinks=False):
        try:
            identity = FileIdentity.of(entry.stat(follow_symlinks=False))
        except OSError as error:
            listing.left_out.append(f"{printable(entry.path)}: {error.strerror}")
            return
        if identity.size > MOST_BYTES:
            listing.left_out.append(f"{printable(entry.path)}: {identity.size} bytes, more than {MOST_BYTES}")
        else:
            listing.files[entry.path] = identity
    elif not entry.is_dir(follow_symlinks=False):
        listing.left_out.append(f"{printable(entry.path)}: neither a file nor a folder")


def read_found(path: str) -> str:
    """Return the text of a file that was found in a folder, unless it is a link by now.

    Raises:
        InvalidRequestError: it is too large, binary, not UTF-8, or no regular file.
        OSError: it cannot be read.
    """
    return _read(path, open_found(path))


def read_named(path: str) -> str:
    """Return the text of a file that the caller names, perhaps by a link.

    Raises:
        InvalidRequestError, OSError: as `read_found`.
    """
    return _read(path, open_regular(path, InvalidRequestError))


def _read(path: str, descriptor: int) -> str:
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
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
