"""Which thread runs the model: of those that want something of it, one at a time leads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeVar

from santacoder.errors import DeadlockError

LOOK_AGAIN: Final = 1.0  # seconds after which the thread that waits longest makes sure that somebody leads
OTHERS: Final = 10  # times as long for all others

T = TypeVar("T")


class Sleeper(Protocol):
    """What a leader wakes: a `Waiter`, or what a sample knows of one."""

    done: Callable[[], bool]

    def wake(self) -> None:
        """End the sleep, if it sleeps."""


class Waiter:
    """A thread that waits, and the bell that wakes it and nobody else.

    Attributes:
        owner: the thread.
        done: whether it has what it waits for; called with the lock held, by any thread.
        bell: what wakes it, while it sleeps.
    """

    def __init__(self, done: Callable[[], bool] = lambda: False) -> None:
        self.owner = threading.get_ident()
        self.done = done
        self.bell: threading.Condition | None = None

    def sleep(self, lock: threading.RLock, seconds: float) -> None:
        """Let go of the lock until `wake` or for so long."""
        try:
            self.bell = threading.Condition(lock)
            self.bell.wait(seconds)
        finally:
            self.bell = None

    def wake(self) -> None:
        """End the sleep, if it sleeps; with the lock held."""
        if self.bell is not None:
            self.bell.notify()


class Leadership:
    """The leader runs a step, of which all that wait for steps have something, or has the engine to itself.

    Those who want it to themselves come in the order in which they asked, and a step that somebody waits for goes
    between any two of them: neither waits for more than one of the other.

    A step wakes the threads that have what they waited for and, where its leader leaves, one that leads the next: with
    many threads, waking all of them after each step costs more than the steps.

    Ctrl-C may come anywhere, and bring a signal handler that makes a request of its own. So the lock is taken by its
    own methods, since those of a condition are Python; no call stands between looking for a turn and taking it; what a
    thread is noted down as is taken back in `finally`; and waiting threads look again now and then.

    Attributes:
        lock: guards what leaders share.
    """

    def __init__(self) -> None:
        self._line: list[Waiter] = []  # those who want it to themselves
        self._for_steps: dict[Waiter, None] = {}  # those who wait for steps, the first one first
        self.renew()

    def renew(self) -> None:
        """Begin anew, in a forked child: nobody leads, and nobody else waits."""
        for waiter in (*self._for_steps, *self._line):
            waiter.bell = None  # its lock may belong to a thread that does not exist here
        self.lock = threading.RLock()
        self._idle = threading.Condition(self.lock)  # notified when a leader leaves
        self._leader: int | None = None
        self._alone = False  # whether the last leader had, or has, the engine to itself
        self._line, self._for_steps = [], {}

    def step(self, waiter: Waiter, work: Callable[[], object], wait: Callable[[bool], float]) -> None:
        """Run `work`, a step, when this thread may lead; or return when it is done, perhaps because of others' steps.

        `wait(quiet)` says for how many seconds to wait; `quiet` tells that no step runs meanwhile.

        Raises:
            DeadlockError: the thread leads already.
        """

        def take_lead() -> bool:
            mine = threading.get_ident()
            try:
                while not waiter.done():
                    self._for_steps[waiter] = None
                    if self._leader is None and (self._alone or not self._line):
                        self._leader, self._alone = mine, False
                        return True
                    look_again = LOOK_AGAIN if next(iter(self._for_steps)) is waiter else OTHERS * LOOK_AGAIN
                    waiter.sleep(self.lock, min(wait(self._alone or self._leader is None), look_again))
                return False
            finally:
                self._for_steps.pop(waiter, None)

        self._lead(take_lead, work, waiter)

    def alone(self, work: Callable[[], T]) -> T:
        """The result of `work()`, while no other thread leads.

        Raises:
            DeadlockError: the thread leads already.
        """
        results: list[T] = []
        waiter = Waiter()

        def take_lead() -> bool:
            try:
                self._line.append(waiter)
                while True:
                    if self._leader is None and self._line[0] is waiter and not self._step_is_due(waiter.owner):
                        self._leader, self._alone = waiter.owner, True
                        return True
                    waiter.sleep(self.lock, LOOK_AGAIN)
            finally:
                if waiter in self._line:
                    self._line.remove(waiter)

        self._lead(take_lead, lambda: results.append(work()))
        return results[0]

    def wake(self, waiters: Iterable[Sleeper]) -> None:
        """Wake those that have what they wait for; with the lock held."""
        for waiter in waiters:
            if waiter.done():
                waiter.wake()
        self._pass_on(None)  # it may have been about to lead

    def wake_all(self) -> None:
        """Wake all who wait for anything; with the lock held."""
        for waiter in (*self._for_steps, *self._line):
            waiter.wake()

    def await_others(self) -> None:
        """Wait, with the lock held, until no other thread leads."""
        while self._leader not in (None, threading.get_ident()):
            self._idle.wait(LOOK_AGAIN)

    def _step_is_due(self, thread: int) -> bool:
        """Whether a step of another thread comes before this thread has the engine to itself."""
        return self._alone and any(waiter.owner != thread for waiter in self._for_steps)

    def _lead(self, take_lead: Callable[[], bool], work: Callable[[], object], stepping: Waiter | None = None) -> None:
        mine = threading.get_ident()
        if self._leader == mine:
            raise DeadlockError(
                "this thread is at work for the model already: "
                "a signal handler, a filter or a callback cannot ask for more in the middle of it"
            )
        again = False
        try:
            with self.lock:
                if not take_lead():
                    return
            work()
            again = stepping is not None
        finally:
            if self._leader == mine:
                self._leader = None
            with self.lock:
                self._pass_on(stepping if again else None)

    def _pass_on(self, stepping: Waiter | None) -> None:
        """Wake whose turn it is, unless somebody leads. A thread that led a step, and is not done, leads the next."""
        if self._leader is not None:
            return
        self._idle.notify_all()
        if self._line and not self._step_is_due(self._line[0].owner):
            self._line[0].wake()
        elif stepping is None or stepping.done():
            for waiter in self._for_steps:
                if not waiter.done():
                    waiter.wake()
                    break
