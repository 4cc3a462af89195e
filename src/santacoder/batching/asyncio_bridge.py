"""From threads to the tasks of an event loop: what they wait for arrives in inboxes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:  # 20 ms, which programs without a loop need not spend
    import asyncio

T = TypeVar("T")


class Inbox(Generic[T]):
    """What one task waits for. Only its loop's thread uses it."""

    def __init__(self) -> None:
        self._items: deque[T | BaseException] = deque()
        self._wanted: asyncio.Future[None] | None = None

    async def get(self) -> T:
        """Wait for the next item and return it, or raise it if it is an exception."""
        import asyncio

        while not self._items:
            self._wanted = asyncio.get_running_loop().create_future()
            try:
                await self._wanted
            finally:
                self._wanted = None
        item = self._items.popleft()
        if isinstance(item, BaseException):
            raise item
        return item

    def put(self, items: Iterable[T | BaseException]) -> None:
        """Add items, and wake the task if it waits."""
        self._items.extend(items)
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)


class Mail:
    """Brings items from threads to inboxes of one loop, which is woken once for all that came together.

    Its lock may be taken twice: the garbage collector may end a task's generator anywhere.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # Waking a loop writes to its pipe, whose descriptor may be another file once the loop is closed: so it happens
        # only while a task listens.
        self._waking = threading.RLock()
        self._listeners = 0
        self._sent: deque[tuple[Inbox[Any], Iterable[Any]]] = deque()
        self._woken = False

    def listen(self) -> None:
        """Note that one more task waits for items."""
        with self._waking:
            self._listeners += 1

    def leave(self) -> None:
        """Note that a task waits no more."""
        with self._waking:
            self._listeners -= 1

    def send(self, mail: Iterable[tuple[Inbox[Any], Iterable[Any]]]) -> bool:
        """Send items to inboxes, from any thread; return False if the loop was closed without ending its tasks."""
        with self._waking:
            if self._loop.is_closed():
                return False
            if self._listeners:
                self._sent.extend(mail)
                if self._sent and not self._woken:
                    self._loop.call_soon_threadsafe(self._deliver)
                    self._woken = True
        return True

    def _deliver(self) -> None:
        with self._waking:
            self._woken = False
            mail = [*self._sent]
            self._sent.clear()
        for inbox, items in mail:
            inbox.put(items)
