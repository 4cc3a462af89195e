"""Orderly ends of commands that write files, when they are told to stop."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

#: Signals that end a process at once unless handled: from `kill`, and from a terminal that closes (not on Windows).
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextlib.contextmanager
def orderly() -> Iterator[None]:
    """Turn these signals into SystemExit, as Ctrl-C raises KeyboardInterrupt, so that temporary files are removed."""
    handled = SIGNALS if threading.current_thread() is threading.main_thread() else ()  # others may set no handler
    before = {number: signal.signal(number, _exit) for number in handled if signal.getsignal(number) == signal.SIG_DFL}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def telling_how_to_go_on(place: Path, total: int, count: Callable[[], int]) -> Iterator[None]:
    """Say, when the process is told to stop, how many samples there are in `place`, and how the work goes on."""
    with orderly():
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            message = f"stopped with {count()} of {total} samples in {place}: the same command goes on from there"
            print(f"santacoder: {message}", file=sys.stderr)
            raise


def _exit(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
