"""How many requests run and wait at a time, for how long they wait, and how much memory they take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from santacoder._util.validation import check_integer, check_number
from santacoder.batching.policy import ALIKE, MAX_RUNNING
from santacoder.batching.prefix_cache import ENTRIES

MAX_CACHE_BYTES: Final = 1 << 30
MAX_SECONDS: Final = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the requests of a model may take; set them with `SantaCoder.limits`.

    Attributes:
        max_running: most samples in a step, at least 1. Samples of one prompt count as one while their tokens are the
            same; up to four times as many may take turns.
        max_waiting: samples that may wait for a place in the batch. A call that comes when so many wait is refused with
            `QueueFullError`; a call that comes before may bring any number. None sets no limit.
        queue_timeout: seconds after which a call none of whose samples has begun ends with `QueueTimeoutError`. None
            sets no limit.
        prefixes: ended requests whose keys and values are kept for those to come that begin alike.
        cache_bytes: most memory for the keys and values of the batch and of kept requests; a sample that needs more
            runs alone.
    """

    max_running: int = MAX_RUNNING
    max_waiting: int | None = None
    queue_timeout: float | None = None
    prefixes: int = ENTRIES
    cache_bytes: int = MAX_CACHE_BYTES

    def __post_init__(self) -> None:
        """Check all values.

        Raises:
            InvalidRequestError: a value is of a wrong type or out of range.
        """
        least = {"max_running": 1, "max_waiting": 0, "prefixes": 0, "cache_bytes": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None or name != "max_waiting":
                object.__setattr__(self, name, check_integer(name, value, low, None))
        seconds = self.queue_timeout
        if seconds is not None:
            object.__setattr__(self, "queue_timeout", check_number("queue_timeout", seconds, 0, MAX_SECONDS))

    @property
    def max_samples(self) -> int:
        """Most samples in the batch."""
        return ALIKE * self.max_running

    def has_room(self, unfinished: int) -> bool:
        """Return whether a call may come when so many samples run or wait."""
        return self.max_waiting is None or unfinished < self.max_running + self.max_waiting
