"""Two threads of an event loop, each there only while it has work: one leads for all of its tasks, one runs their jobs.

The first waits for the sequences of all tasks as a thread waits for those of one call, and leads when its turn comes.
The second runs what has the engine exclusively: the steps of jobs in turn, for example those of texts to be scored.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from santacoder._util.fork import watch_forks
from santacoder.batching.asyncio_bridge import Inbox, Mail
from santacoder.batching.calls import Call
from santacoder.batching.engine_lock import Waiter
from santacoder.batching.scheduler import Scheduler
from santacoder.decoding.results import Piece
from santacoder.decoding.sequence import Sequence

if TYPE_CHECKING:
    import asyncio

NOBODY: Final = 0  # no thread has this identifier
ACTIVE: Final = 4  # jobs that have begun and take turns: each may hold caches

T = TypeVar("T")

#: The steps of a job, which returns its result.
Steps = Generator[None, None, T]


class TaskCall(Call):
    """The sequences that one task waits for.

    Attributes:
        inbox: gets each sequence that has ended; with `pieces`, also those that have new ones.
    """

    def __init__(self, leader: LoopLeader, pieces: bool) -> None:
        super().__init__()
        self.owner = NOBODY
        self.inbox = Inbox[Sequence]()
        self._leader = leader
        self._pieces = pieces
        self._changed: deque[Sequence] = deque()
        self.done = self._has_news

    def _has_news(self) -> bool:
        return bool(self._changed) or self.has_ended

    def advanced(self, sequence: Sequence) -> None:
        """See `Call.advanced`."""
        if self._pieces and (sequence.pieces or sequence.ended):
            self._changed.append(sequence)

    def wake(self) -> None:
        """Have the loop's thread look at this call; with the lock held."""
        self._leader.note(self)

    def take_news(self) -> list[Sequence]:
        """Take the sequences that the task should look at."""
        changed = [self._changed.popleft() for _ in range(len(self._changed))]
        return [*changed, *self.take_ended()]


class LoopLeader(Waiter):
    """Leads or waits for all tasks of a loop, in a thread that ends when none of them waits.

    A call is in `_calls` from the moment that sequences are submitted until the last one is taken. `_guard` is taken
    before the scheduler's lock, never while that is held.
    """

    def __init__(self, scheduler: Scheduler[Any], mail: Mail) -> None:
        self._ready: deque[TaskCall] = deque()  # they may have news
        super().__init__(lambda ready=self._ready: bool(ready))  # type: ignore[misc]
        self._scheduler = scheduler
        self._mail = mail
        self._guard = threading.RLock()
        self._calls: dict[TaskCall, None] = {}
        self._runs = False
        self._timed = 0  # how many times sequences with deadlines came
        self._look: tuple[object, float] = None, math.inf  # what deadlines were read for, and when to read them again

    def note(self, call: TaskCall) -> None:
        """Note that a call may have news; with the scheduler's lock held."""
        self._ready.append(call)
        Waiter.wake(self)

    def submit(self, call: TaskCall, sequences: list[Sequence]) -> None:
        """Queue sequences of a call.

        Raises:
            ModelClosedError: the model is closed.
        """
        if not sequences:
            _ = self._scheduler.engine
            return
        with self._guard:
            self._scheduler.submit(call, sequences)
            self._calls[call] = None
            self._timed += call.has_deadlines
            starts, self._runs = not self._runs, True
        if starts:
            _start(self._run, "santacoder-async", self._stopped)
        elif call.has_deadlines:
            self._scheduler.rouse(self)

    def leave(self, call: TaskCall) -> None:
        """Give up what has not ended."""
        with self._guard:
            sequences = call.unfinished()
        self._scheduler.cancel(sequences)

    def _stopped(self) -> None:
        with self._guard:
            self._runs = False

    def _run(self) -> None:
        self.owner = threading.get_ident()
        error: BaseException | None = None
        while True:
            with self._guard:
                news = self._take_news()
                if error is not None and self._calls:  # a step failed: as among threads, one request ends
                    failed = next(iter(self._calls))
                    del self._calls[failed]
                    news.append((failed.inbox, [error]))
                self._runs = runs = bool(self._calls)
            if not self._mail.send(news):
                for call in (*self._calls,):
                    self.leave(call)
            if not runs:
                return
            try:
                self._scheduler.run(self, self._patience)
                error = None
            except BaseException as raised:
                error = raised

    def _take_news(self) -> list[tuple[Inbox[Any], list[Any]]]:
        """Take what calls have for their tasks."""
        news: list[tuple[Inbox[Any], list[Any]]] = []
        for _ in range(len(self._ready)):
            call = self._ready.popleft()
            if sequences := call.take_news():
                news.append((call.inbox, sequences))
            if not call:
                self._calls.pop(call, None)
        return news

    def _patience(self, quiet: bool) -> float:
        """Return the seconds to the next deadline of all calls: see `Scheduler.patience`."""
        timed, now = (self._timed, self._scheduler.limits), monotonic()
        if not quiet and self._look[0] == timed and now < self._look[1]:
            return self._look[1] - now
        calls = [call for call in (*self._calls,) if call.has_deadlines]
        left = min((self._scheduler.patience(call, quiet) for call in calls), default=math.inf)
        self._look = timed, now + left
        return left


class Job(Generic[T]):
    """Steps that a task waits for.

    Attributes:
        inbox: gets the result.
        steps: what to run.
        to_its_end: it runs even if nobody waits for it.
        cancelled: nobody waits for it any more.
    """

    def __init__(self, steps: Steps[T], to_its_end: bool = False) -> None:
        self.inbox = Inbox[T]()
        self.steps = steps
        self.to_its_end = to_its_end
        self.cancelled = False


class JobRunner:
    """Runs steps of jobs in turn, in a thread that ends when none is left."""

    def __init__(self, mail: Mail) -> None:
        self._mail = mail
        self._guard = threading.RLock()
        self._jobs: deque[Job[Any]] = deque()  # the first `ACTIVE` may have begun
        self._runs = False

    def submit(self, job: Job[Any]) -> None:
        """Queue a job, before all others if it runs to its end."""
        with self._guard:
            self._jobs.insert(0 if job.to_its_end else len(self._jobs), job)
            starts, self._runs = not self._runs, True
        if starts:
            _start(self._run, "santacoder-jobs", self._stopped)

    def _stopped(self) -> None:
        with self._guard:
            self._runs = False

    def _run(self) -> None:
        while True:
            with self._guard:
                if not self._jobs:
                    self._runs = False
                    return
                job = self._jobs.popleft()
            try:
                if not job.to_its_end and (job.cancelled or not self._mail.send(())):
                    job.steps.close()
                else:
                    next(job.steps)
                    with self._guard:
                        self._jobs.insert(min(len(self._jobs), ACTIVE - 1), job)
            except StopIteration as end:
                self._mail.send([(job.inbox, [end.value])])
            except BaseException as error:
                self._mail.send([(job.inbox, [error])])


def _start(work: Callable[[], None], name: str, failed: Callable[[], None]) -> None:
    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except BaseException:
        failed()
        raise


class LoopThreads:
    """The threads of one event loop, and how its tasks wait for sequences and jobs."""

    def __init__(self, scheduler: Scheduler[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.mail = Mail(loop)
        self.leader = LoopLeader(scheduler, self.mail)
        self.jobs = JobRunner(self.mail)

    def begin(self, pieces: bool = False) -> TaskCall:
        """Return a new call of a task, which has to `end` it."""
        self.mail.listen()
        return TaskCall(self.leader, pieces)

    def end(self, call: TaskCall) -> None:
        """Give up what has not ended of a call."""
        self.mail.leave()
        self.leader.leave(call)


class AsyncRunner:
    """Runs sequences and jobs for the tasks of any number of event loops; the work of a cancelled task stops."""

    def __init__(self, scheduler: Scheduler[Any]) -> None:
        self._scheduler = scheduler
        self.after_fork()
        watch_forks(self)

    def after_fork(self) -> None:
        """Forget the parent's threads."""
        self._loops: dict[asyncio.AbstractEventLoop, LoopThreads] = {}

    def threads(self) -> LoopThreads:
        """Return the threads of the running loop."""
        import asyncio

        loop = asyncio.get_running_loop()
        threads = self._loops.get(loop)
        if threads is None:
            for other in (*self._loops,):
                if other.is_closed():
                    self._loops.pop(other, None)
            threads = self._loops[loop] = LoopThreads(self._scheduler, loop)
        return threads

    async def finish(self, sequences: list[Sequence], advanced: Callable[[int], None] = lambda _: None) -> None:
        """Run sequences to their ends: see `Scheduler.finish`."""
        threads = self.threads()
        call = threads.begin()
        try:
            threads.leader.submit(call, sequences)
            for _ in sequences:
                sequence = await call.inbox.get()
                if sequence.error is not None:
                    raise sequence.error
                advanced(1)
        finally:
            threads.end(call)

    async def stream(self, sequences: list[Sequence]) -> AsyncGenerator[tuple[Sequence, Piece], None]:
        """Run sequences, and yield each piece as it comes; closing the generator cancels them."""
        for sequence in sequences:
            for piece in sequence.opening(scored=False):
                yield sequence, piece
        threads = self.threads()
        call = threads.begin(pieces=True)
        taken = {id(sequence): 0 for sequence in sequences}
        try:
            threads.leader.submit(call, sequences)
            while taken:
                sequence = await call.inbox.get()
                ended = sequence.ended
                at = taken.pop(id(sequence), None)
                if at is None:
                    continue
                if sequence.error is not None:
                    raise sequence.error
                count = len(sequence.pieces)
                for number in range(at, count):
                    for piece in sequence.delivered(number):
                        yield sequence, piece
                if not ended:
                    taken[id(sequence)] = count
        finally:
            threads.end(call)

    async def work(self, steps: Steps[T]) -> T:
        """Return the result of a job, whose steps take turns with those of others."""
        return await self._await(self.threads(), Job(steps))

    async def work_to_its_end(self, work: Callable[[], object]) -> None:
        """Run `work` before all jobs, also if the task is cancelled meanwhile."""
        try:
            threads = self.threads()
        except (ImportError, RuntimeError):  # the garbage collector ends a generator whose loop was closed
            work()
        else:
            await self._await(threads, Job(_one_step(work), to_its_end=True))

    async def _await(self, threads: LoopThreads, job: Job[T]) -> T:
        threads.mail.listen()
        try:
            threads.jobs.submit(job)
            return await job.inbox.get()
        finally:
            job.cancelled = True
            threads.mail.leave()


def _one_step(work: Callable[[], object]) -> Steps[None]:
    work()
    return
    yield
