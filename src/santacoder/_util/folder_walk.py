"""Walks folders that may hold anything, and opens what is found there: no link is followed, no pipe waited for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator


def walk(top: str, wanted: Callable[[os.DirEntry[str]], bool]) -> Iterator[os.DirEntry[str] | OSError]:
    """Yield what is in a folder and those below it, sorted, each folder before what it holds; and folders' errors.

    `wanted` is asked about each entry of a folder, in any order, before the first is yielded. What it refuses is left
    out, folders with all that they hold.
    """
    waiting = [top]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                entries = sorted(filter(wanted, found), key=lambda entry: entry.name)
                folders = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError as error:
            yield error
            continue
        yield from entries
        waiting += reversed(folders)


def open_found(path: str) -> int:
    """Return a descriptor of what was found in a folder, open for reading; it may have become something else.

    Raises:
        OSError: it cannot be opened; ELOOP for a link.
    """
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    return os.open(path, os.O_RDONLY | flags)
