"""A progress bar on standard error.

tqdm's own bars share a lock with all processes forked from this one and start a thread that watches them. A worker that
is killed while it holds that lock would stop all others forever, so ours have a lock of their own, within the process.
Where no bar is drawn, nothing is created: no lock, no thread, and tqdm is not imported.
"""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from types import TracebackType
from typing import Any, ClassVar, Protocol

from santacoder._util.fork import watch_forks


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


def progress_bar(total: int, unit: str, shown: bool | None = None, done: int = 0) -> ProgressBar:
    """Return a bar that disappears when the work ends.

    Args:
        total: what `update` counts up to.
        unit: what is counted; "bytes" are shown with prefixes: 1.2 G bytes.
        shown: whether to draw it; None draws it only on a terminal, and only for work of a second or more.
        done: how much of the total was done before; it does not count toward the rate.
    """
    if not (_on_terminal() if shown is None else shown):
        return _NoBar()
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


@functools.cache
def _bar_class() -> Any:
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
