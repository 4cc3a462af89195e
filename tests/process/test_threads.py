"""The thread team as the operating system sees it: asleep when idle, and with the affinity it was given."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import santacoder
from tests.support.needs import needs_affinity, needs_proc
from tests.support.paths import FILE
from tests.support.waiting import wait_for

TASKS = Path("/proc/self/task")

pytestmark = needs_proc


def tasks() -> set[int]:
    return {int(task.name) for task in TASKS.iterdir()}


@pytest.fixture(scope="module", autouse=True)
def _others() -> None:
    """Threads of other libraries start with the first use."""
    with santacoder.load(FILE, threads=1) as model:
        model.complete("a", max_tokens=1)


def state_and_ticks(thread: int) -> tuple[str, int]:
    """A thread's state, S for asleep, and its CPU time so far: see proc(5)."""
    fields = (TASKS / str(thread) / "stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[11]) + int(fields[12])


def team_beside(others: set[int], count: int) -> set[int]:
    """Return the new threads, once there are `count`: the one that packed the weights may still be about to exit."""
    wait_for(lambda: len(tasks() - others) == count)
    return tasks() - others


def test_idle_threads_sleep() -> None:
    before_load = tasks()
    with santacoder.load(FILE, threads=4) as model:
        model.complete("a", max_tokens=2, ignore_eos=True)
        team = team_beside(before_load, 3)  # and the caller

        def asleep() -> bool:
            before = {thread: state_and_ticks(thread) for thread in team}
            time.sleep(0.05)
            return before == {thread: ("S", state_and_ticks(thread)[1]) for thread in team}

        wait_for(asleep)


@needs_affinity
@pytest.mark.parametrize("threads", [2, 3])
def test_affinity_stays(threads: int) -> None:
    allowed, before_load = os.sched_getaffinity(0), tasks()
    with santacoder.load(FILE, threads=threads) as model:
        for _ in range(30):  # each pause lets the threads sleep, and wake where they like
            time.sleep(0.002)
            model.complete("a", max_tokens=2, ignore_eos=True)
        team = team_beside(before_load, threads - 1)  # one that came too late may still be leaving a CPU to another
        wait_for(lambda: [os.sched_getaffinity(thread) for thread in (0, *team)] == [allowed] * threads)
