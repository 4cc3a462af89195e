"""Work in threads that asyncio waits for; a task that is cancelled cancels its work."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


async def in_thread(work: Callable[[], T], cancel: Callable[[], None]) -> T:
    """Return the result of `work()`, run in a thread of its own; `cancel` stops it when nobody waits any more."""
    async with contextlib.aclosing(iterate(lambda: iter((work(),)), cancel)) as results:
        return await anext(results)


async def iterate(start: Callable[[], Iterator[T]], cancel: Callable[[], None]) -> AsyncGenerator[T, None]:
    """Yield the items of `start()`, run in a thread of its own; `cancel` stops it when nobody listens any more."""
    import asyncio  # 20 ms, which programs without a loop need not spend

    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[T] | BaseException | None] = asyncio.Queue()
    # Waking a loop writes to its pipe, whose descriptor may be another file once the loop is closed.
    waking = threading.Lock()
    listening = True

    def send(item: tuple[T] | BaseException | None) -> None:
        with waking, contextlib.suppress(RuntimeError):  # a loop closed without ending its generators
            if listening:
                loop.call_soon_threadsafe(queue.put_nowait, item)

    def run() -> None:
        try:
            for item in start():
                send((item,))
            send(None)
        except BaseException as error:
            send(error)

    threading.Thread(target=run, name="santacoder-async", daemon=True).start()
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        with waking:
            listening = False
        cancel()
