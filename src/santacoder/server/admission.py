"""Who may wait: a request is let in or refused before its prompts are read, however many come at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from santacoder.errors import QueueFullError
from santacoder.model import SantaCoder


class Admission:
    """Counts the samples that were let in and are not in the model's queue yet."""

    def __init__(self) -> None:
        self._coming = 0

    @asynccontextmanager
    async def let_in(self, model: SantaCoder, samples: int) -> AsyncIterator[Callable[[], None]]:
        """Let a request of so many samples in, after all that came at the same time were let in or refused.

        Yields:
            What to call right before the samples are queued.

        Raises:
            QueueFullError: too many samples wait.
        """
        model.check_room()
        if self._coming:
            counters = model.counters()
            unfinished = counters.running + counters.waiting + self._coming
            if not model.limits.has_room(unfinished):
                raise QueueFullError(f"{unfinished} samples run or wait already, as many as may: try again later")
        self._coming += samples
        left = samples

        def leave() -> None:
            nonlocal left
            self._coming -= left
            left = 0

        try:
            await asyncio.sleep(0)
            yield leave
        finally:
            leave()
