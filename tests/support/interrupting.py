"""Ctrl-C at every place: CPython checks for signals when a function begins and after a call."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import santacoder

PLACES = (str(Path(santacoder.__file__).parent), threading.__file__)


def interrupt(work: Callable[[], object], at: int) -> bool:
    """Run `work` until functions of the package and of `threading` began or ended `at` times; return whether they did.

    Yields of generators do not count: raising there would leave one neither running nor suspended.
    """
    left = at

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(PLACES):
            return None
        if event == "call" or (event == "return" and not frame.f_code.co_flags & inspect.CO_GENERATOR):
            left -= 1
            if left == -1:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return left < 0
