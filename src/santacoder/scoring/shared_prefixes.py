"""Which sequences begin alike, and in which steps to run them so that every common beginning runs once.

Of the sequences with a common beginning the longest runs it. Every other one runs only what it shares with none that is
longer, behind a fork of the cache that has the rest; a sequence that is the beginning of a longer one runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple

from santacoder.engine.kv_cache import BLOCK, KVCache


@dataclass(slots=True, eq=False)
class Run:
    """The positions of one sequence that it runs itself.

    Attributes:
        place: of the sequence among the sorted ones.
        tokens: (T,) of the whole sequence.
        start: where the run begins; it ends at T.
        parent: the run whose cache this one forks; None for start 0.
        children: the runs that fork this one's cache and have not begun, the next one last.
        turn: the order in which runs begin.
        position: the next to run.
        cache: of the sequence up to `position`; after the end, as much as the next child needs.
    """

    place: int
    tokens: Sequence[int]
    start: int
    parent: Run | None
    children: list[Run] = field(default_factory=list)
    turn: int = 0
    position: int = 0
    cache: KVCache | None = None

    @property
    def ended(self) -> bool:
        """Whether all of it ran."""
        return self.position == len(self.tokens)

    @property
    def blocks(self) -> int:
        """Blocks of the cache that no other run has: until the run ends, those that it will have then."""
        reach = len(self.cache) if self.cache is not None and self.ended else len(self.tokens)
        return -(-reach // BLOCK) - self.start // BLOCK


@dataclass(frozen=True, slots=True)
class Plan:
    """All runs for some sequences.

    Attributes:
        order: indices of the sequences, sorted by their tokens.
        shared: how many tokens each in this order has in common with the one before it; 0 for the first.
        roots: the runs that begin at position 0, by their turn.
    """

    order: list[int]
    shared: list[int]
    roots: list[Run]

    def served(self, run: Run, position: int) -> Iterator[int]:
        """Indices of the sequences that have the same tokens as `run` up to `position`, that one included."""
        first = last = run.place
        while self.shared[first] > position:
            first -= 1
        while last + 1 < len(self.order) and self.shared[last + 1] > position:
            last += 1
        return iter(self.order[first : last + 1])


def plan_runs(sequences: Sequence[list[int]]) -> Plan:
    """Finds what to run; sequences may be empty, or equal."""
    order = sorted(range(len(sequences)), key=sequences.__getitem__)
    ordered = [sequences[index] for index in order]
    shared = [0 if place == 0 else _common(ordered[place - 1], tokens) for place, tokens in enumerate(ordered)]
    ranks = [(len(tokens), -place) for place, tokens in enumerate(ordered)]  # of equals the first counts as longer
    count = len(ordered)
    below = _longer_neighbours(range(count), shared, ranks)
    above = _longer_neighbours(range(count - 1, -1, -1), [*shared[1:], 0], ranks)
    runs: list[Run | None] = [None] * count  # by place; of a sequence that runs nothing, the run with all of its tokens
    roots: list[Run] = []
    for place in sorted(range(count), key=ranks.__getitem__, reverse=True):
        start, neighbour = max(below[place], above[place])
        parent = runs[neighbour] if start else None
        while parent and parent.start >= start:  # its parent has all that is needed, and ends earlier
            parent = parent.parent
        if start == len(ordered[place]):
            runs[place] = parent
            continue
        run = runs[place] = Run(place, ordered[place], start, parent, position=start)
        (roots if parent is None else parent.children).append(run)
    _set_turns(roots)
    return Plan(order, shared, roots)


def _longer_neighbours(
    places: Iterable[int], shared: Sequence[int], ranks: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """For each place, what it shares with the nearest one of higher rank on one side, and that place; (0, -1) for none.

    Args:
        places: all of them, walking away from that side.
        shared: tokens in common with the place visited before.
        ranks: by place.
    """
    found = [(0, -1)] * len(ranks)
    higher: list[tuple[int, int]] = []  # places of falling rank, each with what it shares with the one under it
    for place in places:
        common = shared[place]
        while higher and ranks[higher[-1][0]] < ranks[place]:
            common = min(common, higher.pop()[1])
        if higher:
            found[place] = (common, higher[-1][0])
        higher.append((place, common))
    return found


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences have in common at their beginning."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _set_turns(roots: Sequence[Run]) -> None:
    """Numbers the runs: a parent, then its children from the latest start to the earliest, each with its own first."""
    stack, turn = list(reversed(roots)), 0
    while stack:
        run = stack.pop()
        run.turn, turn = turn, turn + 1
        run.children.sort(key=lambda child: child.start)
        stack += run.children


class Part(NamedTuple):
    """Positions of a run that go into one step."""

    run: Run
    cache: KVCache
    start: int
    stop: int


class Packer:
    """Packs runs into steps of up to a chunk of rows.

    A run may begin once its parent has ended, and does so in its turn, or earlier where those before it must wait. But
    none begins before its turn if all caches together would then take more than two contexts do. Runs that begin in
    their turn need one context at a time, and a block for each parent among them, so all together hardly exceed three.
    """

    def __init__(self, roots: Sequence[Run], new_cache: Callable[[], KVCache], chunk: int, context: int) -> None:
        self._new_cache = new_cache
        self._chunk = chunk
        self._limit = 2 * -(-context // BLOCK)
        self._ready = [(run.turn, run) for run in roots]  # a heap, as rising turns are
        self._open: list[Run] = []  # those that have a cache

    def next_step(self) -> list[Part]:
        """What to run now; nothing when all is done. Once it ran, `finish_step` must follow."""
        parts: list[Part] = []
        room = self._chunk
        while self._ready and room:
            run = self._ready[0][1]
            if run.cache is None and parts and run.blocks + sum(other.blocks for other in self._open) > self._limit:
                break
            heappop(self._ready)
            stop = min(run.position + room, len(run.tokens))
            parts.append(Part(run, self._begin(run) if run.cache is None else run.cache, run.position, stop))
            room -= stop - run.position
        return parts

    def finish_step(self, parts: Sequence[Part]) -> None:
        """Go on from parts that ran and are in their caches."""
        for run, cache, _, stop in parts:
            run.position = stop
            if run.ended:
                for child in run.children:
                    heappush(self._ready, (child.turn, child))
                self._keep(run, cache)
            else:
                heappush(self._ready, (run.turn, run))

    def _begin(self, run: Run) -> KVCache:
        """The cache of a run that starts."""
        parent = run.parent
        if parent is None or parent.cache is None:
            run.cache = self._new_cache()
        else:
            run.cache = parent.cache.fork(run.start)
            parent.children.pop()
            self._keep(parent, parent.cache)
        self._open.append(run)
        return run.cache

    def _keep(self, run: Run, cache: KVCache) -> None:
        """Of the cache of a run that has ended, what its next child needs: no less than what later ones do."""
        if not run.children:
            run.cache = None
            self._open.remove(run)
        elif run.children[-1].start < len(cache):
            run.cache = cache.fork(run.children[-1].start)
