"""Decides which thread runs the engine: leader/followers (Schmidt et al. 2000), without a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeVar

from santacoder.errors import DeadlockError

LOOK_AGAIN: Final = 1.0  # seconds after which the thread that waits longest makes sure that somebody leads
OTHERS: Final = 10  # times as long for all others

T = TypeVar("T")


class Sleeper(Protocol):
    """A waiting thread, as a leader sees it: a `Waiter`, or the call that a sequence knows."""

    done: Callable[[], bool]

    def wake(self) -> None:
        """End the sleep, if it sleeps."""


class Waiter:
    """A thread that waits, and the bell that wakes it and nobody else.

    Attributes:
        owner: the thread.
        done: whether it has what it waits for; called with the lock held, by any thread.
        bell: the condition that wakes it, while it sleeps.
    """

    def __init__(self, done: Callable[[], bool] = lambda: False) -> None:
        self.owner = threading.get_ident()
        self.done = done
        self.bell: threading.Condition | None = None

    def sleep(self, lock: threading.RLock, seconds: float) -> None:
        """Release the lock until `wake`, for at most `seconds`."""
        try:
            self.bell = threading.Condition(lock)
            self.bell.wait(seconds)
        finally:
            self.bell = None

    def wake(self) -> None:
        """End the sleep, if it sleeps; with the lock held."""
        if self.bell is not None:
            self.bell.notify()


class EngineLock:
    """Decides which thread runs the engine: one at a time leads, and the others follow.

    The leader runs one step on behalf of every waiting request, or holds the engine exclusively. Exclusive use is
    granted in the order of asking, and a step that somebody waits for runs between any two such uses: neither kind
    waits for more than one of the other.

    A step wakes the threads whose results are ready and, where its leader leaves, one thread to lead the next step:
    with many threads, waking all of them after each step costs more than the steps.

    Ctrl-C may come anywhere, and a signal handler may make a request of its own. So the lock is taken by its
    own methods, since those of a condition are Python; no call stands between looking for a turn and taking it;
    registrations are undone, and the lead is given up, by statements in `finally` that call nothing; and waiting
    threads re-check periodically.

    Attributes:
        lock: guards what leaders share.
    """

    def __init__(self, is_due: Callable[[], bool] = lambda: True) -> None:
        """Take what tells, with the lock held, whether a step has anything to do; `wake` says that it has again."""
        self._is_due = is_due
        self._exclusive: list[Waiter] = []  # those that want the engine exclusively
        self._steps: dict[Waiter, None] = {}  # those that wait for steps, the first one first
        self.after_fork()

    def after_fork(self) -> None:
        """Start again: nobody leads, and nobody waits."""
        for waiter in (*self._steps, *self._exclusive):
            waiter.bell = None  # its lock may belong to a thread that does not exist here
        self.lock = threading.RLock()
        self._idle = threading.Condition(self.lock)  # notified when a leader leaves
        self._leader: int | None = None
        self._was_exclusive = False  # whether the last leader had, or has, the engine exclusively
        self._exclusive, self._steps = [], {}

    @property
    def waiting(self) -> tuple[int, int]:
        """How many threads wait for steps, and how many for the engine exclusively."""
        return len(self._steps), len(self._exclusive)

    def lead_or_wait(self, waiter: Waiter, work: Callable[[], object], wait: Callable[[bool], float]) -> None:
        """Run `work`, a step, once this thread may lead; or return once the waiter is done by other threads' steps.

        `wait(quiet)` returns how many seconds to wait; `quiet` says that no step runs meanwhile.

        Raises:
            DeadlockError: the thread already leads.
        """
        mine = self._this_thread()
        again = False
        try:
            with self.lock:
                if not self._lead_step(mine, waiter, wait):
                    return
            work()
            again = True
        finally:
            if self._leader == mine:
                self._leader = None
            with self.lock:
                self._pass_on(waiter if again else None)

    def exclusive(self, work: Callable[[], T]) -> T:
        """Return `work()`, which runs while no other thread leads.

        Raises:
            DeadlockError: the thread already leads.
        """
        mine = self._this_thread()
        try:
            with self.lock:
                self._lead_exclusively(mine)
            return work()
        finally:
            if self._leader == mine:
                self._leader = None
            with self.lock:
                self._pass_on(None)

    def _this_thread(self) -> int:
        mine = threading.get_ident()
        if self._leader == mine:
            raise DeadlockError(
                "this thread is at work for the model already: "
                "a signal handler, a filter or a callback cannot ask for more in the middle of it"
            )
        return mine

    def _lead_step(self, mine: int, waiter: Waiter, wait: Callable[[bool], float]) -> bool:
        """Wait, with the lock held, to lead a step; return False if the waiter is done before."""
        try:
            while not waiter.done():
                self._steps[waiter] = None
                if self._leader is None and (self._was_exclusive or not self._exclusive) and self._is_due():
                    self._leader, self._was_exclusive = mine, False
                    return True
                look_again = LOOK_AGAIN if next(iter(self._steps)) is waiter else OTHERS * LOOK_AGAIN
                quiet = self._was_exclusive or self._leader is None
                waiter.sleep(self.lock, min(wait(quiet), look_again))
            return False
        finally:
            self._steps.pop(waiter, None)

    def _lead_exclusively(self, mine: int) -> None:
        """Wait, with the lock held, for the engine."""
        waiter = Waiter()
        try:
            self._exclusive.append(waiter)
            while self._leader is not None or self._exclusive[0] is not waiter or self._step_is_due(mine):
                waiter.sleep(self.lock, LOOK_AGAIN)
            self._leader, self._was_exclusive = mine, True
        finally:
            if waiter in self._exclusive:
                self._exclusive.remove(waiter)

    def wake(self, waiters: Iterable[Sleeper]) -> None:
        """Wake those that have what they wait for; with the lock held."""
        for waiter in waiters:
            if waiter.done():
                waiter.wake()
        self._pass_on(None)  # it may have been about to lead

    def wake_all(self) -> None:
        """Wake every waiting thread; with the lock held."""
        for waiter in (*self._steps, *self._exclusive):
            waiter.wake()

    def await_others(self) -> None:
        """Wait, with the lock held, until no other thread leads."""
        while self._leader not in (None, threading.get_ident()):
            self._idle.wait(LOOK_AGAIN)

    def _step_is_due(self, thread: int) -> bool:
        """Return whether a step of another thread comes before this thread has the engine exclusively."""
        return self._was_exclusive and self._is_due() and any(waiter.owner != thread for waiter in self._steps)

    def _pass_on(self, stepping: Waiter | None) -> None:
        """Wake the thread whose turn it is, unless one leads. One that led a step and is not done leads the next."""
        if self._leader is not None:
            return
        self._idle.notify_all()
        if self._exclusive and not self._step_is_due(self._exclusive[0].owner):
            self._exclusive[0].wake()
        elif stepping is None or stepping.done():
            for waiter in self._steps:
                if not waiter.done():
                    waiter.wake()
                    break
