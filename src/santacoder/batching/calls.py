"""A call of the library on its way through the scheduler: the sequences that it waits for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from time import monotonic

from santacoder.batching.engine_lock import Waiter
from santacoder.batching.policy import in_turn
from santacoder.decoding.sequence import Owner, Sequence


class Call(Waiter):
    """A thread that waits for sequences of its own.

    Attributes:
        queue: those that have not begun, the next one first.
        has_deadlines: whether the clock may end one of them.
        single: the only sequence of a thread that asks its hooks itself; else threads of the scheduler ask them.
        begun: whether one of them has begun.
        since: when it began to wait for its turn, by `time.monotonic`.
    """

    def __init__(self, single: Sequence | None = None) -> None:
        super().__init__()
        self.single = single
        self.queue: deque[Sequence] = deque()
        self._left: dict[int, Sequence] = {}  # by identity: those that `take_ended` has not returned
        self._ended: deque[Sequence] = deque()  # an interruption may enter one twice
        self.has_deadlines = False
        self.begun = False
        self.since = monotonic()

    def __len__(self) -> int:
        """Count the sequences that `take_ended` has not returned."""
        return len(self._left)

    def until(self, done: Callable[[], bool]) -> Call:
        """Note that this thread waits until `done()`, or has to ask hooks; return the call itself."""
        self.owner, self.done = threading.get_ident(), lambda: self.has_to_ask or done()
        return self

    def add(self, sequences: list[Sequence]) -> None:
        """Take over sequences, which begin after those added before."""
        self.since = monotonic()
        for sequence in sequences:
            sequence.call = self
            self._left[id(sequence)] = sequence
            self.has_deadlines |= sequence.has_deadline
        self.queue.extend(sequences)

    def drop(self, gone: set[int], most: int) -> None:
        """Take sequences, by identity, out of the first `most` of the queue."""
        kept = [sequence for sequence in islice(self.queue, most) if id(sequence) not in gone]
        self.queue = deque((*kept, *islice(self.queue, most, None)))

    def advanced(self, sequence: Sequence) -> None:
        """Note that a step has chosen tokens of a sequence, or found none."""

    @property
    def has_to_ask(self) -> bool:
        """Whether hooks have to be asked by the thread that waits."""
        return self.single is not None and self.single.held is not None and not self.single.ended

    def unfinished(self) -> list[Sequence]:
        """Return the sequences that are running or have not begun."""
        return [sequence for sequence in self._left.values() if not sequence.ended]

    @property
    def has_ended(self) -> bool:
        """Whether `take_ended` has something to take."""
        return bool(self._ended)

    def end(self, sequence: Sequence) -> None:
        """Note that a sequence has ended, and that the scheduler has no use for it."""
        self._ended.append(sequence)
        sequence.call = None  # no cycle, which would keep its memory for the garbage collector

    def take_ended(self) -> list[Sequence]:
        """Take the sequences that ended since the last time, in that order."""
        taken = []
        while self._ended:
            sequence = self._left.pop(id(self._ended.popleft()), None)
            if sequence is not None:
                taken.append(sequence)
        return taken


def by_turns(batch: Iterable[Sequence]) -> list[Sequence]:
    """Return the first sequence of each call, then the second of each, and so on."""
    calls: dict[Owner | None, list[Sequence]] = {}
    for sequence in batch:
        calls.setdefault(sequence.call, []).append(sequence)
    return [*in_turn(map(iter, calls.values()))]


def queued_by_turns(calls: Iterable[Call], most: int) -> Iterator[tuple[Call, Sequence]]:
    """Yield the first sequence in each call's queue, then the second of each, and so on, at most `most` of each."""
    return in_turn(_head(call, most) for call in tuple(calls))


def _head(call: Call, most: int) -> Iterator[tuple[Call, Sequence]]:
    return ((call, sequence) for sequence in islice(call.queue, most))
