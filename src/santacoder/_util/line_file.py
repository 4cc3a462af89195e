"""Files of lines that grow while work goes on, and that a later process continues.

A process that is killed loses no line that was written; at most the last one is torn, and is cut off when the work goes
on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import IO, Any, Final

from santacoder._util.file_lock import check_locks, lock_file
from santacoder._util.validation import format_value
from santacoder.errors import InvalidRequestError

SYNC_SECONDS: Final = 2.0  # the most work that a power failure may cost


class LineFile:
    """An open file of lines.

    Attributes:
        lines: those that were there when it was opened, each with its line break.
    """

    def __init__(self, file: IO[bytes], lines: list[bytes]) -> None:
        self.lines: Final = lines
        self._file = file
        self._synced = monotonic()

    def add(self, line: bytes) -> None:
        """Append a line; the process may be killed at any moment."""
        self._file.write(line)
        self._file.flush()
        if monotonic() - self._synced > SYNC_SECONDS:
            os.fsync(self._file.fileno())
            self._synced = monotonic()


def json_line(value: Mapping[str, Any]) -> bytes:
    """Encode one line of a JSONL file."""
    return (json.dumps(value) + "\n").encode()


@contextmanager
def open_lines(path: Path, valid: Callable[[bytes], bool], place: Path) -> Iterator[LineFile]:
    """Open a file of lines, exclusively; create it if need be, and cut off a last line that is torn.

    Args:
        path: the file.
        valid: whether a line is whole.
        place: what the error names.

    Raises:
        OSError: it cannot be read or written.
        InvalidRequestError: another process has it open, or the system has no locks on files.
    """
    check_locks(f"a run that another process can go on with, in {place},")
    with path.open("ab+") as file:
        if not lock_file(file.fileno()):
            raise InvalidRequestError(f"another process is at work in {place}")
        file.seek(0)
        lines = file.read().splitlines(keepends=True)
        if lines and (not lines[-1].endswith(b"\n") or not valid(lines[-1])):
            lines.pop()
            file.truncate(sum(map(len, lines)))
        file.seek(0, os.SEEK_END)
        yield LineFile(file, lines)


def check_same_settings(
    place: Path, before: Mapping[str, Any], wanted: Mapping[str, Any], *, growing: Collection[str] = (),
    ignored: Collection[str] = (),
) -> bool:  # fmt: skip
    """Check that work goes on with the settings with which it began; a difference in `task` is named before others.

    Args:
        place: what the error names.
        before: the settings with which it began.
        wanted: those with which it is to go on.
        growing: numbers that may be larger than before.
        ignored: settings that may differ.

    Returns:
        Whether one of `growing` is larger.

    Raises:
        InvalidRequestError: another setting differs.
    """
    grew = False
    for name in sorted({*before, *wanted} - {*ignored}, key=lambda name: (name != "task", name)):
        was, now = before.get(name), wanted.get(name)
        if was == now:
            continue
        if name in growing and isinstance(was, int) and isinstance(now, int) and was < now:
            grew = True
            continue
        raise InvalidRequestError(
            f"{place} holds a run with {name} {format_value(was)}, not {format_value(now)}: go on with the same "
            f"settings, or choose another {'file' if place.is_file() else 'folder'}"
        )
    return grew
