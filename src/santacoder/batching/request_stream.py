"""Any number of requests in one batch: results come as they are done, and a bad request does not affect the others."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from typing import Any, Literal

from santacoder.batching.calls import Call
from santacoder.batching.loop_threads import AsyncRunner
from santacoder.batching.scheduler import Scheduler
from santacoder.decoding.results import Completion
from santacoder.decoding.sequence import Sequence
from santacoder.errors import InvalidRequestError, ModelClosedError, SantaCoderError
from santacoder.requests import Request, named_error

#: For a request that fails: raise its error once all others that were taken are done, or yield it in the place of the
#: completion.
OnError = Literal["raise", "return"]

#: Makes a request's sequence.
MakeSequence = Callable[[Request], Sequence]


class RequestStream:
    """Takes requests as there is room, runs them, and yields each one's position with its completion or error."""

    def __init__(
        self, scheduler: Scheduler[Any], requests: Iterable[object], make: MakeSequence, on_error: OnError
    ) -> None:
        self._scheduler = scheduler
        self._source = enumerate(requests)
        self._make = make
        self._returns = on_error == "return"
        self._call = Call()
        self._waiting: dict[int, int] = {}  # positions, by identity of the sequence
        self._failed: deque[tuple[int, SantaCoderError]] = deque()  # not yielded yet
        self._error: Exception | None = None  # to raise at the end
        self._takes = True

    def run(self) -> Generator[tuple[int, Completion | SantaCoderError], None, None]:
        """Yield positions and completions as they are done; closing the generator ends the work.

        Raises:
            SantaCoderError: of the first request that failed, unless errors are returned.
            ModelClosedError: the model is closed: at once.
            Exception: the iterable of requests raised it; requests taken before are finished first.
        """
        try:
            while True:
                if self._takes and len(self._waiting) <= self._most // 2:
                    self._scheduler.submit(self._call, self._take())
                while self._failed:
                    yield self._failed.popleft()
                if self._call:
                    for sequence in self._scheduler.await_ended(self._call):
                        yield from self._result(sequence)
                elif not self._takes:
                    break
        finally:
            self._scheduler.cancel(self._call.unfinished())
        if self._error is not None:
            raise self._error

    async def run_async(self, runner: AsyncRunner) -> AsyncGenerator[tuple[int, Completion | SantaCoderError], None]:
        """Yield for asyncio what `run` yields. Requests are taken in the loop's thread."""
        import asyncio

        threads = runner.threads()
        call = threads.begin()
        try:
            while True:
                if self._takes and len(self._waiting) <= self._most // 2:
                    threads.leader.submit(call, self._take())
                    await asyncio.sleep(0)  # other tasks' turn: an iterable may give many bad requests
                while self._failed:
                    yield self._failed.popleft()
                if self._waiting:
                    for result in self._result(await call.inbox.get()):
                        yield result
                elif not self._takes:
                    break
        finally:
            threads.end(call)
        if self._error is not None:
            raise self._error

    @property
    def _most(self) -> int:
        """Requests that run or wait at a time; more are taken when half of them are done."""
        return 2 * self._scheduler.limits.max_samples

    def _take(self) -> list[Sequence]:
        """Make the sequences of the next requests, as many as there is room for."""
        sequences: list[Sequence] = []
        for _ in range(self._most - len(self._waiting)):
            try:
                position, request = next(self._source)
            except StopIteration:
                self._takes = False
            except Exception as error:  # the caller's own
                self._stop(error)
            else:
                try:
                    sequence = self._sequence(position, request)
                except SantaCoderError as error:
                    self._fail(position, error)
                else:
                    self._waiting[id(sequence)] = position
                    sequences.append(sequence)
            if not self._takes:
                break
        return sequences

    def _sequence(self, position: int, request: object) -> Sequence:
        if not isinstance(request, Request):
            raise InvalidRequestError(f"requests[{position}] is a {type(request).__name__}, but it must be a Request")
        try:
            return self._make(request)
        except SantaCoderError as error:
            raise _named(position, error) from None

    def _result(self, sequence: Sequence) -> Generator[tuple[int, Completion], None, None]:
        position = self._waiting.pop(id(sequence))
        if isinstance(sequence.error, SantaCoderError):
            self._fail(position, _named(position, sequence.error))
        else:
            yield position, sequence.completion()

    def _fail(self, position: int, error: SantaCoderError) -> None:
        if isinstance(error, ModelClosedError):
            raise error
        if self._returns:
            self._failed.append((position, error))
        else:
            self._stop(error)

    def _stop(self, error: Exception) -> None:
        """Take no more requests, and raise this at the end, unless another error came first."""
        self._takes = False
        self._error = self._error or error


def _named(position: int, error: SantaCoderError) -> SantaCoderError:
    """Return the error with the request's position in its message; a ModelClosedError as it is."""
    return error if isinstance(error, ModelClosedError) else named_error(f"requests[{position}]", error)
