"""Another thread that has the engine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import santacoder
from tests.support.waiting import HANG


@contextmanager
def engine_held(model: santacoder.SantaCoder) -> Iterator[threading.Event]:
    """Have another thread use the engine exclusively until the event is set; it has to be set before the block ends."""
    taken, released = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        taken.set()
        released.wait(HANG)

    holder = threading.Thread(target=model._scheduler.exclusive, args=(hold,))
    holder.start()
    taken.wait()
    try:
        yield released
        assert released.is_set()
    finally:
        released.set()
        holder.join()
