"""The methods of a session for asyncio, and whose turn it is: one request at a time, of threads and tasks."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

from santacoder.batching.engine_lock import LOOK_AGAIN
from santacoder.batching.loop_threads import AsyncRunner
from santacoder.decoding.options import SamplingOptions, with_options
from santacoder.decoding.results import Completion, Piece
from santacoder.decoding.sequence import Sequence
from santacoder.engine.kv_cache import KVCache
from santacoder.requests import Prompt
from santacoder.text.infilling import Mode

if TYPE_CHECKING:
    import asyncio

    from typing_extensions import Unpack


#: What wakes a task that waits.
Bell = tuple["asyncio.AbstractEventLoop", "asyncio.Future[None]"]


class Turn:
    """Tells which thread or task uses a session.

    Attributes:
        lock: held by whoever uses it.
        holder: the thread that holds the session, or last read its open stream; of a task the loop's thread.
        task: the task that does, if it is one.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.holder: threading.Thread | None = None
        self.task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bells = deque[Bell]()  # of tasks that wait
        self._called: Bell | None = None  # of the task that was told last, until it has heard
        self._ringing = threading.RLock()  # a loop is not woken after its task has left

    def is_lost(self) -> bool:
        """Return whether a task held it whose loop was closed before the task's end."""
        loop = self._loop  # read only once: another thread may end the turn
        return loop is not None and loop.is_closed()

    def take(self, first: bool) -> bool:
        """Take it for the current task, if it is free; one that is not the `first` to wait leaves it to others."""
        import asyncio

        others = self._bells or self._somebody_comes()
        if (others and not first) or not self.lock.acquire(blocking=False):
            return False
        self.holder, self.task = threading.current_thread(), asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        return True

    async def wait(self, first: bool) -> None:
        """Wait for `pass_on`, before all other tasks if it is the `first`."""
        import asyncio

        loop = asyncio.get_running_loop()
        bell = loop.create_future()
        entry = loop, bell
        with self._ringing:
            self._bells.insert(0 if first else len(self._bells), entry)
        try:
            while not bell.done() and not self._is_left_to(entry):  # an interruption may have lost the call
                await asyncio.wait([bell], timeout=LOOK_AGAIN)
        except asyncio.CancelledError:
            if entry not in self._bells:  # it was called, and another task has to be
                self.pass_on()
            raise
        finally:
            with self._ringing:
                if self._called is entry:
                    self._called = None
                with suppress(ValueError):
                    self._bells.remove(entry)

    def _is_left_to(self, entry: Bell) -> bool:
        """Return whether nobody has the turn or was called before the task of this bell."""
        free = not self.lock.locked() or self.is_lost()
        with self._ringing:
            return free and not self._somebody_comes() and bool(self._bells) and self._bells[0] is entry

    def _somebody_comes(self) -> bool:
        """Return whether a task was called that has not heard it yet."""
        called = self._called
        return called is not None and not called[0].is_closed()

    def end(self) -> None:
        """Give up what `take` took, from any thread."""
        self.holder = self.task = self._loop = None
        self.lock.release()
        self.pass_on()

    def pass_on(self) -> None:
        """Tell the first task that waits that its turn may have come."""
        while self._bells:
            with self._ringing, suppress(RuntimeError):  # its loop was closed
                if self._bells:
                    self._called = None
                    bell = self._bells.popleft()
                    bell[0].call_soon_threadsafe(_ring, bell[1])
                    self._called = bell
                    return


def _ring(bell: asyncio.Future[None]) -> None:
    if not bell.done():
        bell.set_result(None)


class AsyncSession:
    """Requests of tasks to one session. A task that waits for its turn takes no thread."""

    _runner: AsyncRunner
    _turn: Turn

    @with_options
    async def acomplete(self, prompt: Prompt, **options: Unpack[SamplingOptions]) -> Completion:
        """Run `complete` for asyncio; cancelling the task stops the work."""
        return await self._afinish(self._continuation(prompt, options))

    @with_options
    def astream(self, prompt: Prompt, **options: Unpack[SamplingOptions]) -> AsyncGenerator[Piece, None]:
        """Run `stream` for asyncio: arguments are checked at once. The session is in use until the generator ends."""
        return self._apieces(self._continuation(prompt, options))

    @with_options
    async def ainfill(
        self,
        prefix: str,
        suffix: str,
        *,
        mode: Mode | None = "auto",
        single_line: bool | None = False,
        **options: Unpack[SamplingOptions],
    ) -> Completion:
        """Run `infill` for asyncio."""
        return await self._afinish(self._infilling(prefix, suffix, mode, single_line, options))

    @with_options
    def astream_infill(
        self,
        prefix: str,
        suffix: str,
        *,
        mode: Mode | None = "auto",
        single_line: bool | None = False,
        **options: Unpack[SamplingOptions],
    ) -> AsyncGenerator[Piece, None]:
        """Run `stream_infill` for asyncio: arguments are checked at once."""
        return self._apieces(self._infilling(prefix, suffix, mode, single_line, options))

    async def _afinish(self, sequence: Sequence) -> Completion:
        async with aclosing(self._apieces(sequence)) as pieces:
            async for _ in pieces:
                pass
        return sequence.completion()

    async def _apieces(self, sequence: Sequence) -> AsyncGenerator[Piece, None]:
        import asyncio

        turn = await self._take_turn_of_task()
        cache: KVCache | None = None

        def end() -> None:
            try:
                if cache is not None:
                    self._take_back(sequence, cache, turn)
            finally:
                turn.end()

        try:
            cache = self._lend(sequence)
            async with aclosing(self._runner.stream([sequence])) as pieces:
                async for _, piece in pieces:
                    yield piece
                    turn.task = asyncio.current_task()
        finally:
            await self._runner.work_to_its_end(end)

    async def _take_turn_of_task(self) -> Turn:
        """Wait for the session and take it.

        Raises:
            DeadlockError: the task would wait for itself, or for a stream that its thread left open.
        """
        import asyncio

        first = False
        while True:
            turn, task = self._turn, asyncio.current_task()
            if turn.is_lost() or (turn.task is None or turn.task is task):
                turn = self._claim()
            if turn.take(first):
                return turn
            await turn.wait(first)
            first = True

    @abstractmethod
    def _continuation(self, prompt: Prompt, options: SamplingOptions) -> Sequence: ...
    @abstractmethod
    def _infilling(
        self, prefix: str, suffix: str, mode: Mode | None, single_line: bool | None, options: SamplingOptions
    ) -> Sequence: ...
    @abstractmethod
    def _claim(self) -> Turn: ...
    @abstractmethod
    def _lend(self, sequence: Sequence) -> KVCache: ...
    @abstractmethod
    def _take_back(self, sequence: Sequence, cache: KVCache, turn: Turn) -> None: ...
