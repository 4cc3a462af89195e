"""Jobs behind the work."""

from __future__ import annotations

import _thread
import threading
from functools import partial
from typing import Any

import pytest

from santacoder._util.background import Background
from tests.support.waiting import HANG


def test_jobs_run_in_order_in_another_thread() -> None:
    background, done = Background(niceness=1), list[tuple[int, bool]]()
    mine = threading.get_ident()

    def note(number: int) -> None:
        done.append((number, threading.get_ident() != mine))

    for number in range(100):
        assert background.submit(partial(note, number))
    assert background.wait(HANG)
    assert done == [(number, True) for number in range(100)]


def test_one_at_a_time_and_no_thread_is_left() -> None:
    background, started, go = Background(), threading.Semaphore(0), threading.Semaphore(0)

    def work() -> None:
        started.release()
        go.acquire()

    for size in (3, 4):
        background.submit(work, size)
    started.acquire()
    assert background.load == 7
    assert not started.acquire(timeout=0.01)
    assert not background.wait(0)
    go.release()
    started.acquire()
    assert background.load == 4
    go.release()
    assert background.wait(HANG)
    assert background.load == 0
    ran = threading.Event()
    background.submit(ran.set)
    assert background.wait(HANG)
    assert ran.is_set()


def test_no_thread_is_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job waits for the next one's."""

    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    background, done = Background(), list[int]()
    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    assert not background.submit(lambda: done.append(1))
    monkeypatch.undo()
    assert done == []
    assert background.submit(lambda: done.append(2))
    assert background.wait(HANG)
    assert done == [1, 2]


def test_a_job_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """It is told, and the next ones run."""
    background, done = Background(), list[int]()
    background.submit(lambda: done.append(1 // 0), 5)
    background.submit(lambda: done.append(2), 5)
    assert background.wait(HANG)
    assert (done, background.load) == ([2], 0)
    assert [record.getMessage() for record in caplog.records] == ["work in the background failed"]


def test_a_child_of_a_fork_has_none_of_the_jobs() -> None:
    background, started, go = Background(), threading.Event(), threading.Event()
    done: list[int] = []

    def work() -> None:
        started.set()
        go.wait(HANG)

    background.submit(work)
    background.submit(lambda: done.append(1))
    started.wait(HANG)
    background.after_fork()  # as in the child, where the thread is gone
    go.set()
    assert background.wait(0)
    assert background.submit(lambda: done.append(2))
    assert background.wait(HANG)
    assert 2 in done
