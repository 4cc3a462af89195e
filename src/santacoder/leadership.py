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

    Ctrl-C may come anywhere. So what a thread is noted down as is taken back in `finally` by a plain assignment or a
    method of a list or set, and who waits looks again now and then.

    Attributes:
        changed: guards what leaders share; notified when something may have ended.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin anew, in a forked child: nobody leads, and nobody else waits."""
        self.changed = threading.Condition()
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

        def may_lead() -> bool:
            mine = threading.get_ident()
            try:
                self._for_steps.add(mine)
                while not done():
                    if self._leader is None and (self._alone or not self._line):
                        self._alone = False
                        return True
                    self.changed.wait(min(wait(self._alone), LOOK_AGAIN))
                return False
            finally:
                self._for_steps.discard(mine)

        self._lead(may_lead, work)

    def alone(self, work: Callable[[], T]) -> T:
        """The result of `work()`, while no other thread leads.

        Raises:
            DeadlockError: the thread leads already.
        """
        results: list[T] = []

        def may_lead() -> bool:
            mine = threading.get_ident()
            try:
                self._line.append(mine)
                while (
                    self._leader is not None
                    or self._line[0] != mine
                    or (self._alone and self._for_steps - {mine})  # a step is due
                ):
                    self.changed.wait(LOOK_AGAIN)
                self._alone = True
                return True
            finally:
                if mine in self._line:
                    self._line.remove(mine)

        self._lead(may_lead, lambda: results.append(work()))
        return results[0]

    def await_others(self) -> None:
        """Wait, with the lock held, until no other thread leads."""
        while self._leader not in (None, threading.get_ident()):
            self.changed.wait(LOOK_AGAIN)

    def _lead(self, may_lead: Callable[[], bool], work: Callable[[], object]) -> None:
        mine = threading.get_ident()
        if self._leader == mine:
            raise DeadlockError(
                "this thread is at work for the model already: "
                "a signal handler, a filter or a callback cannot ask for more in the middle of it"
            )
        try:
            with self.changed:
                if not may_lead():
                    return
                self._leader = mine
            work()
        finally:
            if self._leader == mine:
                self._leader = None
            with self.changed:
                self.changed.notify_all()
