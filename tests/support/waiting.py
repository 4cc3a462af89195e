"""Waiting for a condition. The limit is only for hangs: no machine is slow or busy enough to reach it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

HANG: Final = 1800.0  # seconds


def wait_for(condition: Callable[[], object]) -> None:
    """Return when the condition holds.

    Raises:
        TimeoutError: it never does.
    """
    end = time.monotonic() + HANG
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("what the test waits for does not come")
        time.sleep(0.001)
