"""The methods of a model about its load: what may run and wait, and what does."""

from __future__ import annotations

from santacoder._util.validation import invalid_argument
from santacoder.batching.counters import Counters
from santacoder.batching.limits import Limits
from santacoder.batching.scheduler import Scheduler
from santacoder.engine.transformer import Transformer


class Capacity:
    """What services need to take no more requests than the model can serve, and to show what it does."""

    _scheduler: Scheduler[Transformer]

    @property
    def limits(self) -> Limits:
        """What may run, wait and be kept; a new value holds at once, also for what waits already; what runs goes on.

        Raises:
            InvalidRequestError: the new value is not a `Limits`.
        """
        return self._scheduler.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        if not isinstance(limits, Limits):
            raise invalid_argument("limits", limits, "a Limits")
        self._scheduler.limits = limits

    def check_room(self) -> None:
        """Check, before the prompt of a request is even read, that `limits` let it come now.

        Raises:
            QueueFullError: too many samples wait.
            ModelClosedError: the model is closed.
        """
        self._scheduler.check_room()

    def counters(self) -> Counters:
        """Count what runs, waits and was done so far; this takes microseconds and waits for no step.

        Raises:
            ModelClosedError: the model is closed.
        """
        return self._scheduler.counters()
