"""How linear layers are cut into units, and how long they take on cores that this machine does not have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from santacoder._native import lib
from santacoder.engine.isa import LEVELS, available
from santacoder.gguf.config import MAX_DIM
from tests.support.kernel_library import Array, Built, Kernels
from tests.support.sharing_simulator import (
    ALL_BANDWIDTH,
    CORE_BANDWIDTH,
    HAND_OVER,
    MANY_ROWS,
    Phase,
    Result,
    Step,
    Thread,
    shares,
    simulate,
)

TILE_ROWS = 16
MOST_ROWS = max(lib.sc_engine_chunk(LEVELS[isa]) for isa in available())
MOST_PAIRS = 3 * MAX_DIM // 32  # queries, keys and values of the widest model with all heads


@pytest.fixture(scope="module")
def rule(built: Built) -> Kernels:
    return Kernels(built.library, "scalar")


# The rule.


def check_units(units: Array, pairs: int, unit: int, rows: int) -> None:
    """Check that every row of every pair is in one unit, cut at multiples of `unit` pairs and of whole tiles."""
    first, last, begin, end = units[np.lexsort((units[:, 2], units[:, 0]))].T
    assert (first[0], begin[0], last[-1], end[-1]) == (0, 0, pairs, rows)
    assert (first < last).all()
    assert (begin < end).all()
    same = first[1:] == first[:-1]
    assert (last[1:] == last[:-1])[same].all()
    assert (begin[1:] == end[:-1])[same].all()
    assert (first[1:] == last[:-1])[~same].all()
    assert (begin[1:] == 0)[~same].all()
    assert (end[:-1] == rows)[~same].all()
    assert (first % unit == 0).all()
    assert (begin % TILE_ROWS == 0).all()
    if rows < MANY_ROWS:
        assert (end - begin == rows).all()


@given(
    pairs=st.integers(1, 700) | st.integers(1, MOST_PAIRS),
    unit=st.sampled_from([1, 8]),
    rows=st.sampled_from([1, 2, 4, 127, 128, 129, 255, MOST_ROWS]) | st.integers(1, MOST_ROWS),
    threads=st.integers(1, 130) | st.integers(1, 1 << 12),
    columns=st.integers(1, 64).map(lambda n: 256 * n) | st.integers(1, MAX_DIM),
    byte=st.integers(4, 128),
)
@example(pairs=MOST_PAIRS, unit=1, rows=MOST_ROWS, threads=1 << 12, columns=MAX_DIM, byte=128)
@example(pairs=MOST_PAIRS, unit=1, rows=1, threads=2, columns=MAX_DIM, byte=128)
@example(pairs=MOST_PAIRS, unit=1, rows=MOST_ROWS, threads=1, columns=MAX_DIM, byte=128)
@example(pairs=MOST_PAIRS // 8, unit=1, rows=MOST_ROWS, threads=1 << 12, columns=MAX_DIM, byte=128)
def test_units_cover_the_layer(
    rule: Kernels, pairs: int, unit: int, rows: int, threads: int, columns: int, byte: int
) -> None:
    units = shares(rule, pairs, unit, rows, threads, columns, columns * byte)
    assert 0 < len(units) <= rule.plain("max_units")
    check_units(units, pairs, unit, rows)


@pytest.mark.parametrize("threads", [1, 2, 16])
def test_no_rows_no_units(rule: Kernels, threads: int) -> None:
    assert len(shares(rule, 1540, 1, 0, threads, 2048, 36864)) == 0


# Its effect on a step. Equal cores share the memory's bandwidth, of which each can use a part.


def run(rule: Kernels, rows: int, threads: Sequence[Thread], depth: int = 0) -> tuple[Result, float]:
    """Simulate a step; return it and the time of one thread with the bandwidth that each thread has here."""
    bandwidth = min(CORE_BANDWIDTH, ALL_BANDWIDTH / len(threads))
    alone = sum(phase.work for phase in Step(rule, rows, 1, depth, bandwidth).phases())
    return simulate(list(Step(rule, rows, len(threads), depth, bandwidth).phases()), threads), alone


def equal(count: int) -> list[Thread]:
    return [Thread() for _ in range(count)]


PROMPTS = {
    **{f"{count} equal": [1.0] * count for count in (2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96)},
    "8 fast, 8 slow": [1.0] * 8 + [1 / 3] * 8,
    "8 slow, 8 fast": [1 / 3] * 8 + [1.0] * 8,
}


def prompt_efficiency(rule: Kernels, speeds: Sequence[float]) -> float:
    result, alone = run(rule, 512, [Thread(speed) for speed in speeds])
    return alone / (sum(speeds) * result.time)


@pytest.mark.parametrize("speeds", PROMPTS.values(), ids=PROMPTS)
def test_prompts_use_all_cores(rule: Kernels, speeds: list[float]) -> None:
    assert prompt_efficiency(rule, speeds) >= 0.9


def generation_efficiency(rule: Kernels, count: int, depth: int) -> float:
    """The ratio to the same work divided evenly, with one hand-over for each phase."""
    result, alone = run(rule, 1, equal(count), depth)
    return (alone / count + result.phases * HAND_OVER) / result.time


@pytest.mark.parametrize("depth", [0, 200, 2047])
@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 8, 16, 24])
def test_generation_uses_all_cores(rule: Kernels, count: int, depth: int) -> None:
    assert generation_efficiency(rule, count, depth) >= 0.95


# A layer of 64 pairs of panels has no more units: six or seven to each of ten threads. From 64 threads on each has one.
@pytest.mark.parametrize(
    ("count", "least"), [(10, 0.92), (12, 0.91), (14, 0.9), (20, 0.88), (32, 0.94), (48, 0.95), (64, 0.94), (96, 0.95)]
)
def test_generation_on_more_cores(rule: Kernels, count: int, least: float) -> None:
    assert least <= generation_efficiency(rule, count, 200) < least + 0.05


@pytest.mark.parametrize(("depth", "threads"), [(0, 2), (511, 96), (2047, 4), (2047, 8)])
def test_phases_of_a_token(rule: Kernels, depth: int, threads: int) -> None:
    assert len(list(Step(rule, 1, threads, depth).phases())) == 122


def test_thread_that_never_comes_holds_up_nobody(rule: Kernels) -> None:
    for rows in (1, 512):
        phases = list(Step(rule, rows, 2).phases())
        without = simulate(phases, [Thread(), Thread(away=[(0, 1e9)])])
        assert without.time <= 1.01 * sum(phase.work for phase in phases)


@pytest.mark.parametrize("rows", [1, 512])
def test_thread_that_is_often_away(rule: Kernels, rows: int) -> None:
    """Off its CPU for 50 of 100 ms, each time with a unit that the other waits for: no worse than without it."""
    away = [(1e3 * at, 1e3 * (at + 50)) for at in range(7, 3000, 100)]
    step = list(Step(rule, rows, 2).phases()) * (40 if rows == 1 else 1)
    result = simulate(step, [Thread(), Thread(away=away)])
    assert 0.5 * result.work < result.time <= 1.02 * result.work


# The simulator.


def test_simulated_phase() -> None:
    units = [10.0] * 4
    assert simulate([Phase("x", units)], equal(1)).time == pytest.approx(40.4)
    assert simulate([Phase("x", units)], equal(2)).time == pytest.approx(HAND_OVER + 20.2)
    assert simulate([Phase("x", units, last=5)], equal(2)).time == pytest.approx(HAND_OVER + 25.2)
    assert simulate([Phase("x", units, setup=5)], equal(1)).time == pytest.approx(45.4)
    assert simulate([Phase("x", units)], [Thread(2)]).time == pytest.approx(20.2)
    assert simulate([Phase("x", units)], [Thread(away=[(5, 15), (30, 31)])]).time == pytest.approx(51.4)
    held = [Thread(), Thread(away=[(5, 100)])]  # with a unit in hand
    assert simulate([Phase("x", units)], held).time == pytest.approx(100 + 10.1 - 3)
    # The opener, which comes first, leaves the others their own units; one that has none in hand takes them.
    own = Phase("x", units, ahead=[1.0] * 4, own=True)
    assert simulate([own], equal(4)).time == pytest.approx(HAND_OVER + 10.1)
    assert simulate([own], [Thread(), Thread(away=[(0, 100)])]).time == pytest.approx(40.2)
    # Two of four threads have work: each has twice the memory's bandwidth, the last one four times.
    shared = Phase("x", [10.0, 20.0], spare=4)
    assert simulate([shared], equal(4)).time == pytest.approx(HAND_OVER + (10.1 - HAND_OVER) / 2 + 12 / 4)
