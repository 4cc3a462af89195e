"""A simulation of the thread team on cores that need not exist: a step's phases, and which thread runs which unit.

Times are microseconds of a core of speed 1. Units come from the C side's own rule (csrc/linear_units.h); what one costs
was measured with the AVX-512 kernels on a core of a Zen 4 server.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from tests.support.kernel_library import Array, Kernels

MACS: Final = 4096 / 0.0124  # multiply-adds in a microsecond, many rows: 4096 take 12.4 ns
CORE_BANDWIDTH: Final = 13e3  # bytes in a microsecond: what a core reads of weights, or unpacks of them
ALL_BANDWIDTH: Final = 200e3  # of all cores, a server with eight channels of memory
ATTEND: Final = 2.4  # 16 queries, 64 positions, head_dim 128
MERGE: Final = 0.5  # the sums of two such blocks, from another core's cache
ROW: Final = 1.0  # an embedding's row, or a norm's, quantised

HAND_OVER: Final = 2.0  # from the end of a phase until the others begin with the next
CLAIM: Final = 0.1  # a compare-and-swap on a line that others write to
SLICE: Final = 1500.0  # after which a thread releases what it holds and yields
YIELD: Final = 1.0

# SantaCoder in Q4_K.
LAYERS: Final = 24
WIDTH: Final = 2048
HIDDEN: Final = 8192
QKV: Final = WIDTH + 2 * 128
VOCABULARY: Final = 49280
PAIR: Final = 32  # outputs
PAIR_BLOCK: Final = 4608  # bytes of 256 columns
CACHE_BLOCK: Final = 64  # positions

# csrc/engine.c, csrc/linear.c and csrc/attention.c.
MANY_ROWS: Final = 128
OWN_NORM: Final = 4
ROW_UNIT: Final = 2
FINE_ROWS: Final = 16
FINE_TEAM: Final = 4
SPLIT_TILES: Final = 4
STRIP: Final = 8
MERGE_TEAM: Final = 4


@dataclass(frozen=True)
class Phase:
    """Units that any thread may do, once the phase before is over.

    Attributes:
        units: the time of each.
        ahead: for each, the fraction that is left when its thread claims the next one.
        own: whether unit i is first offered to thread i.
        setup: time of every thread before its first unit.
        last: time of the thread that finished the last unit.
        spare: the most by which a unit speeds up when other threads leave memory bandwidth to it.
    """

    name: str
    units: Sequence[float]
    ahead: Sequence[float] = ()
    own: bool = False
    setup: float = 0.0
    last: float = 0.0
    spare: float = 1.0

    @property
    def work(self) -> float:
        return sum(self.units) + self.setup + self.last


def shares(kernels: Kernels, pairs: int, unit: int, rows: int, threads: int, columns: int, pair_bytes: int) -> Array:
    """The units of a linear layer: (count, 4), first and last pair, first and last row."""
    arguments = (pairs, unit, rows, threads, columns, pair_bytes)
    found = np.zeros((kernels.plain("shares", *arguments, np.zeros((0, 4), np.uint32), 0), 4), np.uint32)
    assert kernels.plain("shares", *arguments, found, len(found)) == len(found)
    return found.astype(np.int64)


@dataclass(frozen=True)
class Step:
    """Rows of one sequence after `depth` positions, with the logits of the last."""

    kernels: Kernels
    rows: int
    threads: int
    depth: int = 0
    bandwidth: float = CORE_BANDWIDTH  # with few rows; many stay in caches

    def phases(self) -> Iterator[Phase]:
        """The phases that csrc/engine.c opens."""
        yield self._rows("embed")
        for _ in range(LAYERS):
            yield from self._normed("qkv", QKV, 1)
            yield from self._attend()
            yield self._linear("add_attn", WIDTH, WIDTH, 1)
            yield from self._normed("up", HIDDEN, 1 if self.rows <= FINE_ROWS and self.threads > FINE_TEAM else 8)
            yield self._linear("add_ffn", WIDTH, HIDDEN, 1)
        yield self._linear("logits", VOCABULARY, WIDTH, 1, rows=1, setup=ROW)

    def _rows(self, name: str) -> Phase:
        return Phase(name, [ROW * min(ROW_UNIT, self.rows - i) for i in range(0, self.rows, ROW_UNIT)])

    def _normed(self, name: str, outputs: int, unit: int) -> Iterator[Phase]:
        own = self.rows <= OWN_NORM
        if not own:
            yield self._rows("norm")
        yield self._linear(name, outputs, WIDTH, unit, setup=ROW * self.rows if own else 0)

    def _linear(
        self, name: str, outputs: int, columns: int, unit: int, rows: int | None = None, setup: float = 0
    ) -> Phase:
        rows = rows or self.rows
        pair_bytes = columns // 256 * PAIR_BLOCK
        units = shares(self.kernels, outputs // PAIR, unit, rows, self.threads, columns, pair_bytes)
        pairs = units[:, 1] - units[:, 0]
        bandwidth = self.bandwidth if rows < MANY_ROWS else CORE_BANDWIDTH
        pair_time = pair_bytes / bandwidth + PAIR * columns / MACS * (units[:, 3] - units[:, 2])
        spare = CORE_BANDWIDTH / bandwidth
        return Phase(name, (pairs * pair_time).tolist(), (1 / pairs).tolist(), own=True, setup=setup, spare=spare)

    def _attend(self) -> Iterator[Phase]:
        """One KV head, whose 16 query heads are a tile: as many tiles as rows."""
        blocks = [-(-(self.depth + row + 1) // CACHE_BLOCK) for row in reversed(range(self.rows))]
        longest, strip = blocks[0], self.rows // (SPLIT_TILES * self.threads)
        if strip:
            cuts = range(0, self.rows, min(strip, STRIP))
            yield Phase(
                "attend", [sum(ATTEND + MERGE for n in blocks[i : i + cuts.step] for _ in range(n)) for i in cuts]
            )
            return
        # Blocks are merged as they come, by one thread or by four; those of the last round at its end.
        last = MERGE * min(longest, self.threads) / (4 if self.threads > MERGE_TEAM else 1)
        yield Phase("attend", [ATTEND + MERGE] * sum(blocks), [1.0] * sum(blocks), last=last)


@dataclass
class Thread:
    """Speed, and spans of time in which it is off its CPU: (begin, end), in their order."""

    speed: float = 1.0
    away: Sequence[tuple[float, float]] = ()
    slice: float = field(default=0.0, init=False)  # when it yielded last

    def after(self, start: float, work: float) -> float:
        """Return the time at which `work` that begins at `start` is done."""
        left = work / self.speed
        for begin, end in self.away:
            if end <= start:
                continue
            if begin > start:
                if begin - start >= left:
                    break
                left -= begin - start
            start = end
        return start + left


class _Run:
    """One phase, under csrc/os/threads.c's rules."""

    def __init__(self, phase: Phase, threads: Sequence[Thread], free: Sequence[float]) -> None:
        self.phase, self.threads, self.free = phase, threads, list(free)
        owned = min(len(phase.units), len(threads)) if phase.own else 0
        self.owned, self.next = set(range(owned)), owned
        self.done = [0] * len(phase.units)

    def claim(self, thread: int, others: bool) -> int | None:
        """Claim a thread's own unit, the next free one, or, if `others`, another thread's own."""
        if thread in self.owned:
            index = thread
        elif self.next < len(self.phase.units):
            self.next += 1
            return self.next - 1
        elif self.owned and others:
            index = min(self.owned)
        else:
            return None
        self.owned.remove(index)
        return index

    def finish(self) -> tuple[float, int]:
        """Return when the last unit is done, and by which thread."""
        phase, ends, begin = self.phase, [0.0] * len(self.threads), max(self.free)
        looks = [(self.threads[i].after(at, 0), i) for i, at in enumerate(self.free)]
        heapq.heapify(looks)
        while looks:
            now, i = heapq.heappop(looks)
            thread, holds = self.threads[i], self.free[i] > now
            index = self.claim(i, others=not holds)
            if index is None:
                if holds:
                    heapq.heappush(looks, (self.free[i], i))
                continue
            self.done[index] += 1
            start = max(thread.after(now, CLAIM), self.free[i])
            if not ends[i]:
                start = thread.after(start, phase.setup)
            work = phase.units[index]
            look = thread.after(start, work * (1 - (phase.ahead[index] if phase.ahead else 0)))
            ends[i] = self.free[i] = thread.after(start, work)
            if look - thread.slice > SLICE:
                look = thread.slice = self.free[i] = thread.after(ends[i], YIELD)
            heapq.heappush(looks, (look, i))
        assert self.done == [1] * len(phase.units)
        end, last = max((at, i) for i, at in enumerate(ends))
        if phase.spare > 1:
            end = _end_of_readers([end or begin for end in ends], phase.spare)
        return self.threads[last].after(end, phase.last), last


def _end_of_readers(ends: Sequence[float], spare: float) -> float:
    """Return the end of threads that would end at `ends` if all shared the memory until then.

    From the first that is done on, the others share the bandwidth that it leaves, up to `spare` times their own.
    """
    order = sorted(ends)
    now = before = order[0]
    for done, end in enumerate(order):
        now += (end - before) / min(spare, len(order) / (len(order) - done))
        before = end
    return now


@dataclass(frozen=True)
class Result:
    """Microseconds that the step took, those that one core of speed 1 would work on it, and how many phases it had."""

    time: float
    work: float
    phases: int


def simulate(phases: Sequence[Phase], threads: Sequence[Thread]) -> Result:
    """Run the phases one after the other."""
    time, opener = 0.0, 0
    for phase in phases:
        free = [time if i == opener else time + HAND_OVER for i in range(len(threads))]
        time, opener = _Run(phase, threads, free).finish()
    return Result(time, sum(phase.work for phase in phases), len(phases))
