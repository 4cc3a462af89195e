"""Plans steps for sequences with common prefixes, so that every prefix is computed once.

The longest of the sequences with a common prefix computes it. Each shorter one computes only its unshared
suffix, on a fork of the longer one's cache; a sequence that is a prefix of a longer one computes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple

from santacoder.engine.kv_cache import KV_BLOCK, KVCache
from santacoder.text.token_ids import TokenIds, common_prefix


@dataclass(slots=True, eq=False)
class PrefixSegment:
    """The positions that one sequence computes itself: its tokens from `start` on.

    Attributes:
        place: of the sequence among the sorted ones.
        tokens: (T,) of the whole sequence.
        start: where the segment begins; it ends at T.
        parent: the segment whose cache this one forks; None for start 0.
        children: the segments that fork this one's cache and have not begun, the next one last.
        turn: the order in which segments begin.
        position: the next to compute.
        cache: of the sequence up to `position`; after the end, as much as the next child needs.
    """

    place: int
    tokens: TokenIds
    start: int
    parent: PrefixSegment | None
    children: list[PrefixSegment] = field(default_factory=list)
    turn: int = 0
    position: int = 0
    cache: KVCache | None = None

    @property
    def ended(self) -> bool:
        """Whether all of it ran."""
        return self.position == len(self.tokens)

    @property
    def blocks(self) -> int:
        """Number of kv_blocks that no other segment has; until this one ends, the number that it will have then."""
        reach = len(self.cache) if self.cache is not None and self.ended else len(self.tokens)
        return -(-reach // KV_BLOCK) - self.start // KV_BLOCK


@dataclass(frozen=True, slots=True)
class PrefixPlan:
    """The segments of some sequences.

    Attributes:
        order: indices of the sequences, sorted by their tokens.
        shared: how many tokens each in this order has in common with the one before it; 0 for the first.
        roots: the segments that begin at position 0, by their turn.
    """

    order: list[int]
    shared: list[int]
    roots: list[PrefixSegment]

    def served(self, segment: PrefixSegment, position: int) -> Iterator[int]:
        """Yield the sequences, by index, that have the same tokens as `segment` up to and including `position`."""
        first = last = segment.place
        while self.shared[first] > position:
            first -= 1
        while last + 1 < len(self.order) and self.shared[last + 1] > position:
            last += 1
        return iter(self.order[first : last + 1])


def plan_prefixes(sequences: Sequence[TokenIds]) -> PrefixPlan:
    """Plan the segments of sequences, (T,) int32 each; they may be empty, or equal."""
    keys = [tokens.astype(">i4").tobytes() for tokens in sequences]  # in the order of their tokens
    order = sorted(range(len(sequences)), key=keys.__getitem__)
    ordered = [sequences[index] for index in order]
    shared = [0 if place == 0 else common_prefix(ordered[place - 1], tokens) for place, tokens in enumerate(ordered)]
    ranks = [(len(tokens), -place) for place, tokens in enumerate(ordered)]  # of equals the first counts as longer
    count = len(ordered)
    below = _longer_neighbours(range(count), shared, ranks)
    above = _longer_neighbours(range(count - 1, -1, -1), [*shared[1:], 0], ranks)
    segments: list[PrefixSegment | None] = [None] * count  # by place; or the one that has all of the tokens
    roots: list[PrefixSegment] = []
    for place in sorted(range(count), key=ranks.__getitem__, reverse=True):
        start, neighbour = max(below[place], above[place])
        parent = segments[neighbour] if start else None
        while parent and parent.start >= start:  # its parent has all that is needed, and ends earlier
            parent = parent.parent
        if start == len(ordered[place]):
            segments[place] = parent
            continue
        segment = segments[place] = PrefixSegment(place, ordered[place], start, parent, position=start)
        (roots if parent is None else parent.children).append(segment)
    _set_turns(roots)
    return PrefixPlan(order, shared, roots)


def _longer_neighbours(
    places: Iterable[int], shared: Sequence[int], ranks: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Find the nearest place of higher rank on one side of each, and how many tokens both share.

    Args:
        places: all of them, walking away from that side.
        shared: tokens in common with the place visited before.
        ranks: by place.

    Returns:
        (shared tokens, place found) by place; (0, -1) for none.
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


def _set_turns(roots: Sequence[PrefixSegment]) -> None:
    """Set the turns, depth first: a parent, then each child and what is below it, the latest start first."""
    stack, turn = list(reversed(roots)), 0
    while stack:
        segment = stack.pop()
        segment.turn, turn = turn, turn + 1
        segment.children.sort(key=lambda child: child.start)
        stack += segment.children


class SegmentRows(NamedTuple):
    """Positions of a segment that go into one step."""

    segment: PrefixSegment
    cache: KVCache
    start: int
    stop: int


class Packer:
    """Packs segments into steps of up to a chunk of rows.

    A segment may begin once its parent has ended. It begins in its turn, or earlier if those before it must wait, but
    not if all caches together would then take more than two contexts do. Segments that begin in their turn need one
    context at a time, and a kv_block for each parent among them, so all together hardly exceed three.
    """

    def __init__(
        self, roots: Sequence[PrefixSegment], new_cache: Callable[[], KVCache], chunk: int, context: int
    ) -> None:
        self._new_cache = new_cache
        self._chunk = chunk
        self._limit = 2 * -(-context // KV_BLOCK)
        self._ready = [(segment.turn, segment) for segment in roots]  # a heap, as rising turns are
        self._open: list[PrefixSegment] = []  # those that have a cache

    def next_step(self) -> list[SegmentRows]:
        """Return what to run now; nothing when all is done. Once it ran, `finish_step` must follow."""
        parts: list[SegmentRows] = []
        room = self._chunk
        while self._ready and room:
            segment = self._ready[0][1]
            if (
                segment.cache is None
                and parts
                and segment.blocks + sum(other.blocks for other in self._open) > self._limit
            ):
                break
            heappop(self._ready)
            stop = min(segment.position + room, len(segment.tokens))
            parts.append(
                SegmentRows(
                    segment, self._begin(segment) if segment.cache is None else segment.cache, segment.position, stop
                )
            )
            room -= stop - segment.position
        return parts

    def finish_step(self, parts: Sequence[SegmentRows]) -> None:
        """Advance the segments of parts that ran and are in their caches."""
        for segment, cache, _, stop in parts:
            segment.position = stop
            if segment.ended:
                for child in segment.children:
                    heappush(self._ready, (child.turn, child))
                self._keep(segment, cache)
            else:
                heappush(self._ready, (segment.turn, segment))

    def _begin(self, segment: PrefixSegment) -> KVCache:
        """Make the cache of a segment that starts."""
        parent = segment.parent
        if parent is None or parent.cache is None:
            segment.cache = self._new_cache()
        else:
            segment.cache = parent.cache.fork(segment.start)
            parent.children.pop()
            self._keep(parent, parent.cache)
        self._open.append(segment)
        return segment.cache

    def _keep(self, segment: PrefixSegment, cache: KVCache) -> None:
        """Trim an ended segment's cache to the longest prefix that its children still need."""
        if not segment.children:
            segment.cache = None
            self._open.remove(segment)
        elif segment.children[-1].start < len(cache):
            segment.cache = cache.fork(segment.children[-1].start)
