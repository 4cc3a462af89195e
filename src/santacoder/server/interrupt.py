"""Ends the work of a task from outside, with an error of the outside's choice."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Interrupt:
    """A block of a task's code that others may end: `end(error)` cancels it, and the block raises the error."""

    def __init__(self) -> None:
        self._task: asyncio.Task[object] | None = None
        self._error: Exception | None = None

    def end(self, error: Exception) -> None:
        """End the block with this error, unless it has ended or another error came first."""
        if self._task is not None and self._error is None:
            self._error = error
            self._task.cancel()

    def __enter__(self) -> Interrupt:
        self._task = asyncio.current_task()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._error is None or task is None:
            return
        if hasattr(task, "uncancel"):  # Python 3.11
            task.uncancel()
        if kind is None or issubclass(kind, asyncio.CancelledError):
            raise self._error from None
