"""Writes shards, and merges them, so that a search has few to look into and removed files leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from santacoder.attribution.postings import Postings, bucket_bits, merge_sorted, pack, unpack
from santacoder.attribution.rows import all_contents
from santacoder.attribution.state import MAX_POSITIONS, Lot, Shard
from santacoder.attribution.writer import Writer

STEP_BITS: Final = 8  # upper bits of the keys that are merged at a time


def write_shard(writer: Writer, postings: Postings, renamed: bool, lots: list[Lot]) -> None:
    """Add a shard with these postings, which get sorted."""
    postings.sort()
    bits = bucket_bits(len(postings))
    shard = _new_shard(writer, renamed, bits, len(postings), lots)
    _insert(writer, shard, pack(postings, bits, 0, 1 << bits))


def _new_shard(writer: Writer, renamed: bool, bits: int, postings: int, lots: list[Lot]) -> Shard:
    shard = Shard(writer.state.next_shard, renamed, bits, postings, lots)
    writer.state.next_shard += 1
    writer.state.shards.append(shard)
    return shard


def _insert(writer: Writer, shard: Shard, buckets: Iterator[tuple[int, bytes]]) -> None:
    base = shard.number << 32
    rows = ((base + bucket, data) for bucket, data in buckets)
    writer.connection.executemany("INSERT INTO posting VALUES (?, ?)", rows)


def merge_shards(writer: Writer, *, whole: bool = False) -> None:
    """Merge small shards into larger ones, so that each is at least twice the size of the next.

    `whole` merges all that may hold postings of removed contents, which disappear. The transaction stays open.
    """
    alive = _Alive.read(writer) if writer.state.removed else None
    for renamed in (False, True):
        for group in _groups(writer.state.of_kind(renamed), whole and alive is not None):
            _merge(writer, group, renamed, alive)
    if whole:
        writer.state.removed = []


def _groups(shards: list[Shard], whole: bool) -> Iterator[list[Shard]]:
    """Yield which shards to merge: from a large one on, all that together have more than half of its postings."""
    left = sorted(shards, key=lambda shard: -shard.postings)
    while left:
        group = [left.pop(0)]
        rest = sum(shard.postings for shard in left)
        if 2 * rest > group[0].postings:
            while left and sum(shard.lots[-1].first + shard.lots[-1].lexemes for shard in (*group, left[0])) < (
                MAX_POSITIONS
            ):
                group.append(left.pop(0))
        if len(group) > 1 or whole:
            yield group


@dataclass
class _Alive:
    """Which positions belong to contents that are still there: ids and numbers of lexemes."""

    ids: NDArray[np.int64]
    lexemes: NDArray[np.int64]

    @classmethod
    def read(cls, writer: Writer) -> _Alive:
        rows = np.array([(each.id, each.lexemes) for each in all_contents(writer.connection)], np.int64).reshape(-1, 2)
        return cls(rows[:, 0].copy(), rows[:, 1].copy())

    def mask(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which positions, counted as ids of contents are, are alive."""
        if len(self.ids) == 0:
            return np.zeros(len(places), np.bool_)
        at = np.searchsorted(self.ids, places, side="right") - 1
        return (at >= 0) & (places - self.ids[at] < self.lexemes[at])


@dataclass
class _Moved:
    """A shard on its way into another.

    Attributes:
        shard: the old one.
        offset: what its positions grow by.
        id_shift: (lots) what turns a new position into the id of a content, by lot.
    """

    shard: Shard
    offset: int
    id_shift: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.id_shift = np.array([(lot.number << 32) - lot.first for lot in self.shard.lots], np.int64)

    def read(self, writer: Writer, begin: int, end: int, alive: _Alive | None) -> Iterator[Postings]:
        """Yield the postings whose keys have upper STEP_BITS in begin..end-1, with their new positions."""
        bits = self.shard.bits
        first, last = (
            (each << (bits - STEP_BITS)) if bits >= STEP_BITS else -(-each >> (STEP_BITS - bits))
            for each in (begin, end)
        )
        base = self.shard.number << 32
        for bucket in range(first, last):
            row = writer.connection.execute("SELECT data FROM posting WHERE id = ?", (base + bucket,)).fetchone()
            postings = unpack(bucket, row[0] if row else None, bits)
            if alive is not None:
                postings = postings[alive.mask(self._places(postings))]
            yield postings + np.uint64(self.offset)

    def _places(self, postings: Postings) -> NDArray[np.int64]:
        positions = (postings & np.uint64(MAX_POSITIONS - 1)).astype(np.int64)
        return positions + self.id_shift[np.searchsorted(self.shard.starts, positions, side="right") - 1]


def _merge(writer: Writer, shards: list[Shard], renamed: bool, alive: _Alive | None) -> None:
    """Replace shards by one."""
    lots: list[Lot] = []
    moved: list[_Moved] = []
    at = 0
    for shard in shards:
        moved.append(_Moved(shard, at))
        lots += [Lot(lot.number, lot.lexemes, at + lot.first) for lot in shard.lots]
        at += sum(lot.lexemes for lot in shard.lots)
    bits = max(bucket_bits(sum(shard.postings for shard in shards)), STEP_BITS)
    merged = _new_shard(writer, renamed, bits, 0, lots)
    # A bucket of a small shard covers several steps: all its postings are read with its first and wait for their own.
    waiting = np.empty(0, np.uint64)
    per_step = 1 << (bits - STEP_BITS)
    for step in range(1 << STEP_BITS):
        ready = merge_sorted([waiting, *(part for each in moved for part in each.read(writer, step, step + 1, alive))])
        split = (
            len(ready)
            if step + 1 == 1 << STEP_BITS
            else int(np.searchsorted(ready, np.uint64((step + 1) << (64 - STEP_BITS))))
        )
        _insert(writer, merged, pack(ready[:split], bits, step * per_step, (step + 1) * per_step))
        waiting = ready[split:].copy()
        merged.postings += split
    for shard in shards:
        writer.connection.execute(
            "DELETE FROM posting WHERE id >= ? AND id < ?", (shard.number << 32, (shard.number + 1) << 32)
        )
        writer.state.shards.remove(shard)
    if not merged.postings:
        writer.connection.execute(
            "DELETE FROM posting WHERE id >= ? AND id < ?", (merged.number << 32, (merged.number + 1) << 32)
        )
        writer.state.shards.remove(merged)
