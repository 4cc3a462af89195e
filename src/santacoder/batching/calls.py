"""A call of the library on its way through the scheduler: the samples it waits for."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from santacoder.batching.engine_lock import Waiter

if TYPE_CHECKING:
    from santacoder.decoding.sequence import Sample


class Call(Waiter):
    """A thread that waits for samples of its own.

    Attributes:
        queue: those that have not begun, the next one first.
        has_deadlines: whether the clock may end one of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.queue: deque[Sample] = deque()
        self._left: dict[int, Sample] = {}  # by identity: those that were not taken as ended
        self._ended: deque[Sample] = deque()  # twice, perhaps, where an interruption came
        self.has_deadlines = False

    def __len__(self) -> int:
        """Samples that were not taken as ended."""
        return len(self._left)

    def add(self, samples: Sequence[Sample]) -> None:
        """Take over samples, which begin behind those of before."""
        for sample in samples:
            sample.call = self
            self._left[id(sample)] = sample
            self.has_deadlines |= sample.has_deadline
        self.queue.extend(samples)

    def drop(self, gone: set[int], most: int) -> None:
        """Take samples, by identity, out of the first `most` of the queue."""
        kept = [sample for sample in islice(self.queue, most) if id(sample) not in gone]
        self.queue = deque((*kept, *islice(self.queue, most, None)))

    def unfinished(self) -> list[Sample]:
        """The samples that go on or have not begun."""
        return [sample for sample in self._left.values() if not sample.finished]

    @property
    def has_ended(self) -> bool:
        """Whether `take_ended` has something to take."""
        return bool(self._ended)

    def end(self, sample: Sample) -> None:
        """Note that a sample is finished, and that the scheduler has no use for it."""
        self._ended.append(sample)
        sample.call = None  # no cycle, which would keep its memory for the garbage collector

    def take_ended(self) -> list[Sample]:
        """Take the samples that ended since the last time, in that order."""
        taken = []
        while self._ended:
            sample = self._left.pop(id(self._ended.popleft()), None)
            if sample is not None:
                taken.append(sample)
        return taken
