"""Which thread runs the model: of those that want something of it, one at a time leads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar

from santacoder.errors import DeadlockError

LOOK_AGAIN: Final = 1.0  # seconds after which who waits makes sure that somebody leads

T = TypeVar("T")


class Leadership:
    """The leader runs a step, of which all that wait for steps have something, or has the engine to itself.

    Those who want it to themselves come in the order in which they asked, and a step that somebody waits for goes
    between any two of them: neither waits for more than one of the other.

    Ctrl-C may come anywhere, and bring a signal handler that makes a request of its own. So the lock is taken by its
    own methods, since those of a condition are Python; no call stands between looking for a turn and taking it; what a
    thread is noted down as is taken back in `finally`; and who waits looks again now and then.

    Attributes:
        lock: guards what leaders share.
        changed: notified when something may have ended.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin anew, in a forked child: nobody leads, and nobody else waits."""
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self._leader: int | None = None
        self._alone = False  # whether the last leader had, or has, the engine to itself
        self._line: list[int] = []  # threads that want it to themselves
        self._for_steps: set[int] = set()  # threads that wait for steps

    def step(self, done: Callable[[], bool], work: Callable[[], object], wait: Callable[[bool], float]) -> None:
        """Run `work`, a step, when this thread may lead; or return when `done()`, perhaps because of others' steps.

        `wait(quiet)` says for how many seconds to wait; `quiet` tells that no step runs meanwhile.

        Raises:
            DeadlockError: the thread leads already.
        """

        def take_lead() -> bool:
            mine = threading.get_ident()
            try:
                while not done():
                    self._for_steps.add(mine)
                    if self._leader is None and (self._alone or not self._line):
                        self._leader, self._alone = mine, False
                        return True
                    self.changed.wait(min(wait(self._alone or self._leader is None), LOOK_AGAIN))
                return False
            finally:
                self._for_steps.discard(mine)

        self._lead(take_lead, work)

    def alone(self, work: Callable[[], T]) -> T:
        """The result of `work()`, while no other thread leads.

        Raises:
            DeadlockError: the thread leads already.
        """
        results: list[T] = []

        def take_lead() -> bool:
            mine = threading.get_ident()
            try:
                self._line.append(mine)
                while True:
                    step_is_due = self._alone and bool(self._for_steps - {mine})
                    if self._leader is None and self._line[:1] == [mine] and not step_is_due:
                        self._leader, self._alone = mine, True
                        return True
                    self.changed.wait(LOOK_AGAIN)
            finally:
                if mine in self._line:
                    self._line.remove(mine)

        self._lead(take_lead, lambda: results.append(work()))
        return results[0]

    def await_others(self) -> None:
        """Wait, with the lock held, until no other thread leads."""
        while self._leader not in (None, threading.get_ident()):
            self.changed.wait(LOOK_AGAIN)

    def _lead(self, take_lead: Callable[[], bool], work: Callable[[], object]) -> None:
        mine = threading.get_ident()
        if self._leader == mine:
            raise DeadlockError(
                "this thread is at work for the model already: "
                "a signal handler, a filter or a callback cannot ask for more in the middle of it"
            )
        try:
            with self.lock:
                if not take_lead():
                    return
            work()
        finally:
            if self._leader == mine:
                self._leader = None
            with self.lock:
                self.changed.notify_all()
