"""A progress bar on standard error, drawn when that is a terminal and gone when the work ends."""

from __future__ import annotations

import sys
from time import monotonic
from types import TracebackType

WIDTH = 30
INTERVAL = 0.1  # seconds between drawings


class Progress:
    """Counts up to a total: `with Progress(total) as progress: progress.advance(n)`."""

    def __init__(self, total: int, unit: str = "tokens") -> None:
        self._total = total
        self._unit = unit
        self._done = 0
        self._begin = self._drawn = monotonic()
        self._visible = sys.stderr is not None and sys.stderr.isatty()

    def advance(self, count: int) -> None:
        """Count `count` more."""
        self._done += count
        now = monotonic()
        if self._visible and now - self._drawn >= INTERVAL:
            self._drawn = now
            sys.stderr.write(f"\r{self.line(now - self._begin)}\x1b[K")
            sys.stderr.flush()

    def line(self, seconds: float) -> str:
        """The bar after so many seconds."""
        part = self._done / max(self._total, 1)
        filled = int(WIDTH * part)
        rest = round(seconds / part - seconds) if part else 0
        bar = "#" * filled + "-" * (WIDTH - filled)
        return f"[{bar}] {part:4.0%} of {self._total} {self._unit}, {rest // 60}:{rest % 60:02} left"

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._visible:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
