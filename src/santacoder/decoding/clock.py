"""The clock of one sequence: its deadlines, and when it began, chose its first token and ended."""

from __future__ import annotations

import math
from time import monotonic, perf_counter

from santacoder.decoding.results import Timings


class Clock:
    """Measures a sequence from the moment that it is queued."""

    def __init__(self, deadlines: tuple[float, float]) -> None:
        """Take the seconds for the prompt, and for prompt and completion together; infinite where there is no limit."""
        self._limits = deadlines
        self._deadlines = (math.inf, math.inf)
        self._begin = self._first = self._last = perf_counter()

    def start(self) -> None:
        """Measure from here."""
        now = monotonic()
        first, total = self._limits
        self._deadlines = now + first, now + total
        self._begin = self._first = self._last = perf_counter()

    def note_first(self) -> None:
        """Note that the first token was chosen now."""
        self._first = perf_counter()

    def note_last(self) -> None:
        """Note that text became final now."""
        self._last = perf_counter()

    @property
    def has_deadline(self) -> bool:
        """Whether the clock may end the sequence."""
        return min(self._deadlines) < math.inf

    def time_left(self, in_prompt: bool) -> float:
        """Return the seconds until the deadline, negative after it."""
        first, total = self._deadlines
        return (min(first, total) if in_prompt else total) - monotonic()

    def timings(self, prompt_tokens: int, chosen: int, cached: int) -> Timings:
        """Return where the time went.

        Args:
            prompt_tokens: tokens of the prompt that were run.
            chosen: tokens that were chosen.
            cached: tokens of the prompt that a cache held.
        """
        reading, generation = self._first - self._begin, self._last - self._first
        return Timings(prompt_tokens, reading, max(chosen - 1, 0), generation, cached)
