"""A progress bar on standard error or in a notebook, or lines of text where standard error is a log.

tqdm's own bars share a lock with all processes forked from this one and start a thread that watches them. A worker that
is killed while it holds that lock would stop all others forever, so ours have a lock of their own, within the process.
Where no bar is drawn, nothing is created: no lock, no thread, and tqdm is not imported.
"""

from __future__ import annotations

import functools
import sys
import threading
import warnings
import weakref
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Any, ClassVar, Final, Protocol

from santacoder._util.fork import watch_forks

LINE_SECONDS: Final = 60.0  # between lines in a log


class ProgressBar(Protocol):
    """The methods of a bar that callers use."""

    def update(self, n: int, /) -> None:
        """Count `n` more of the total."""
        ...

    def set_postfix_str(self, s: str, refresh: bool = ...) -> None:
        """Show a text after the figures."""
        ...

    def __enter__(self) -> ProgressBar: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> object: ...


class _NoBar:
    """A bar that is not drawn."""

    def update(self, n: int, /) -> None:
        pass

    def set_postfix_str(self, s: str, refresh: bool = True) -> None:
        pass

    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Lines(_NoBar):
    """Lines of text, one a minute: how much is done, and how long the rest may take."""

    def __init__(self, total: int, unit: str, done: int) -> None:
        self._total, self._unit, self._before, self._done = total, unit, done, done
        self._begun = self._last = monotonic()
        self._note = ""

    def update(self, n: int, /) -> None:
        self._done += n
        now = monotonic()
        if now - self._last < LINE_SECONDS:
            return
        self._last = now
        seconds = (now - self._begun) * (self._total - self._done) / max(self._done - self._before, 1)
        left = f"{seconds / 60:.0f} min left"
        line = ", ".join(filter(None, (f"{self._done} of {self._total} {self._unit}", self._note, left)))
        with suppress(AttributeError, ValueError, OSError):  # no standard error, or nobody reads it
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    def set_postfix_str(self, s: str, refresh: bool = True) -> None:
        self._note = s


def progress_bar(
    total: int, unit: str, shown: bool | None = None, done: int = 0, *, lines: bool = False
) -> ProgressBar:
    """Return a bar that disappears when the work ends.

    Args:
        total: what `update` counts up to.
        unit: what is counted; "bytes" are shown with prefixes: 1.2 G bytes.
        shown: whether to draw it; None draws it only on a terminal or in a notebook, and only for work of a second or
            more.
        done: how much of the total was done before; it does not count toward the rate.
        lines: whether to print a line a minute where `shown` is None and there is no terminal.
    """
    if not (_on_terminal() or _in_notebook() if shown is None else shown):
        return _Lines(total, unit, done) if lines and shown is None else _NoBar()
    bar: ProgressBar = _bar_class()(
        total=total, unit=f" {unit}", unit_scale=unit == "bytes", leave=False, delay=0.0 if shown else 1.0,
        smoothing=0.05, initial=done,
    )  # fmt: skip
    return bar


def _on_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # None under pythonw, or closed
        return False


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return "IPKernelApp" in getattr(shell, "config", ())


@functools.cache
def _bar_class() -> Any:
    if _in_notebook():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # without ipywidgets the bar is text, which needs no warning
            from tqdm.auto import tqdm
    else:
        from tqdm import tqdm  # comes with gguf

    class Bar(tqdm):  # type: ignore[misc]
        monitor_interval = 0  # no thread
        _instances: ClassVar[Any] = weakref.WeakSet()  # guarded by our lock, so without other people's bars

        @classmethod
        def after_fork(cls) -> None:  # a thread that holds the lock does not exist in the child
            cls.set_lock(threading.RLock())

    Bar.after_fork()
    watch_forks(Bar)
    return Bar
