"""Continuous batching: the samples of all callers go through the model together, a step at a time.

There is no thread of its own. Of the callers that wait for a sample, one leads: it runs a step for all samples, and
then whoever still waits may lead. So the work of several Python threads joins one batch, nothing runs while nobody
waits, and a fork or the end of the interpreter finds no thread in the way.

Samples wait in a queue until there is room. One whose prompt begins like another that is being read, or that was read
lately, waits for that beginning and then shares its cache: n samples of a prompt cost one reading of it. What a sample
becomes never depends on any of this, since the engine gives the same bits in any company and from any cache.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Final, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from santacoder.batching.calls import Call
from santacoder.batching.engine_lock import Leadership
from santacoder.batching.prefix_cache import PrefixCache, common_prefix
from santacoder.decoding.results import Completion, Piece
from santacoder.decoding.sequence import Sample
from santacoder.engine.kv_cache import BLOCK, KVCache
from santacoder.engine.transformer import Outputs, StepAbandonedError, Tokens
from santacoder.errors import ModelClosedError, SantaCoderError

MAX_RUNNING: Final = 64  # samples in a batch: more gain little speed
MAX_CACHE_BYTES: Final = 1 << 30  # of keys and values, all samples and kept prefixes together
PROMPT_ROWS: Final = 128  # rows of prompts in a step in which others generate, who should not wait for long
MAX_DRAFTING: Final = 4  # samples with guesses: with more, the rows of a step are better spent on samples


#: What a step runs: a sample, its tokens, and for how many of these, at the end, the logits are wanted.
Plan = list[tuple[Sample, list[int], int]]


class Engine(Protocol):
    """What a scheduler needs of a model; `Transformer` describes it."""

    @property
    def context(self) -> int: ...
    @property
    def chunk(self) -> int: ...
    @property
    def block_bytes(self) -> int: ...
    def new_cache(self) -> KVCache: ...
    def forward_batch(
        self, parts: Sequence[tuple[Tokens, KVCache]], outputs: Outputs = "last", abandon: Callable[[], bool] = ...
    ) -> NDArray[np.float32]: ...  # new each time: samples use the logits up


E = TypeVar("E", bound=Engine)
T = TypeVar("T")


class Scheduler(Generic[E]):
    """Runs samples on one engine, for any number of threads, until it is closed."""

    def __init__(self, engine: E, cache_bytes: int = MAX_CACHE_BYTES) -> None:
        self._engine: E | None = engine
        self._most_blocks = max(cache_bytes // engine.block_bytes, 1)
        self._prefixes = PrefixCache()
        self._calls: dict[Call, None] = {}  # those that have samples in their queues; the first one's turn is next
        self._running: list[Sample] = []
        self._leadership = Leadership()
        _SCHEDULERS.add(self)

    @property
    def engine(self) -> E:
        """The engine.

        Raises:
            ModelClosedError: the model is closed.
        """
        if self._engine is None:
            raise ModelClosedError("the model is closed")
        return self._engine

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._engine is None

    def submit(self, call: Call, samples: Sequence[Sample]) -> None:
        """Queue samples of a call; they run while somebody waits, for them or for others.

        Raises:
            ModelClosedError: the model is closed.
        """
        for sample in samples:
            sample.start()
        with self._leadership.lock:
            _ = self.engine
            call.add(samples)
            self._calls[call] = None

    def cancel(self, samples: Iterable[Sample]) -> None:
        """Give up the samples that are not finished: their work stops within tens of milliseconds."""
        with self._leadership.lock:
            for sample in samples:
                if sample.finished:
                    continue
                sample.cancelled = True
                if not sample.running:  # else the next step takes it out
                    self._end(sample)
                elif sample.call is not None:
                    self._leadership.wake([sample.call])

    def run_until(self, call: Call, done: Callable[[], bool]) -> None:
        """Lead or wait until `done()`, which looks at the call's samples.

        Raises:
            DeadlockError: the thread is in the middle of a step.
        """
        call.owner, call.done = threading.get_ident(), done
        while not done():
            self._leadership.step(call, self._step, lambda quiet: self._patience(call, quiet))
            self._patience(call, quiet=False)

    def _patience(self, call: Call, quiet: bool) -> float:
        """Seconds to the next deadline of the call's samples; those that are late and that no step runs end here."""
        left = math.inf
        if call.has_deadlines:
            with self._leadership.lock:
                for sample in call.unfinished():
                    if not sample.expired:
                        left = min(left, sample.time_left)
                    elif quiet or not sample.running:
                        sample.expire()
                        self._end(sample)
                        left = 0
        return max(left, 0)

    def _end(self, sample: Sample) -> None:
        """Tell a sample's call that it is finished; with the lock held."""
        call = sample.call
        if call is not None:
            call.end(sample)
            self._leadership.wake([call])

    def stream(self, sample: Sample, echo: str = "") -> Generator[Piece, None, Completion]:
        """Run a sample, from the moment that its first piece is asked for; closing the generator cancels it."""
        if echo:
            yield Piece(echo, (), None, None if sample.params.logprobs is None else ())
        call, taken = Call(), 0

        def more() -> bool:
            return len(sample.pieces) > taken or sample.finished

        try:
            self.submit(call, [sample])
            while sample.reason is None or taken < len(sample.pieces):
                self.run_until(call, more)
                if sample.error is not None:
                    raise sample.error
                if sample.cancelled:
                    break
                while taken < len(sample.pieces):
                    taken += 1
                    yield sample.pieces[taken - 1]
        finally:
            self.cancel([sample])
        return sample.completion(echo)

    def finish(self, samples: Sequence[Sample], advanced: Callable[[int], None] = lambda _: None) -> None:
        """Run samples to their ends; `advanced` hears how many more ended.

        Raises:
            NumericalError: or what else ended one of them: the others are cancelled.
        """
        call = Call()
        try:
            self.submit(call, samples)
            while call:
                for sample in self.await_ended(call):
                    if sample.error is not None:
                        raise sample.error
                    advanced(1)
        finally:
            self.cancel(samples)

    def await_ended(self, call: Call) -> list[Sample]:
        """Run a call's samples until some of those that are left have ended, and take these.

        Raises:
            DeadlockError: the thread is in the middle of a step.
        """
        self.run_until(call, lambda: call.has_ended)
        return call.take_ended()

    def exclusive(self, work: Callable[[E], T]) -> T:
        """`work(engine)`, while no step runs.

        Raises:
            DeadlockError: the thread is in the middle of a step.
            ModelClosedError: the model is closed.
        """
        return self._leadership.alone(lambda: work(self.engine))

    def close(self) -> None:
        """Let go of the engine; samples that are not finished end with ModelClosedError."""
        with self._leadership.lock:
            self._engine = None  # a step that runs sees it and stops
            for sample in self._all():
                if not sample.finished:
                    sample.error = ModelClosedError("the model is closed")
                self._end(sample)
            self._calls, self._running = {}, []
            self._prefixes = PrefixCache()
            self._leadership.wake_all()
            self._leadership.await_others()

    def forget(self) -> None:
        """Give back the memory of kept prefixes."""
        with self._leadership.lock:
            self._prefixes = PrefixCache()

    def after_fork(self) -> None:
        """In a forked child only the forking thread lives: what others waited for is dropped, their locks are new."""
        self._leadership.renew()
        mine = threading.get_ident()
        for sample in self._all():
            sample.cancelled |= sample.call is None or sample.call.owner != mine
            sample.stale = True

    def _all(self) -> Iterator[Sample]:
        return chain(*(call.queue for call in self._calls), self._running)

    # A step. Only the leader comes here. An exception at any point leaves queues and batch as before or as after.

    def _step(self) -> None:
        engine = self.engine
        with self._leadership.lock:
            self._retire()
            self._admit(engine)
            batch = list(self._running)
        if not batch:
            return
        plan = self._plan(batch, engine.chunk)
        parts: list[tuple[Tokens, KVCache]] = []
        for sample, run, _ in plan:
            assert sample.cache is not None
            parts.append((run, sample.cache))
        try:
            logits = engine.forward_batch(parts, [wanted for _, _, wanted in plan], lambda: self._unwanted(plan))
        except StepAbandonedError:
            return
        self._advance(plan, logits)

    def _unwanted(self, plan: Plan) -> bool:
        return self.closed or all(sample.cancelled or sample.expired for sample, _, _ in plan)

    def _retire(self) -> None:
        """Take out what is finished; its cache may serve the next."""
        for sample in self._running:
            if not sample.finished and sample.expired:
                sample.expire()
            if sample.finished:
                cache = sample.release()
                if cache is not None:
                    self._prefixes.add(sample.prompt + sample.tokens, cache)
                self._end(sample)
        self._running = [sample for sample in self._running if not sample.finished]

    def _admit(self, engine: Engine) -> None:
        """Start waiting samples, of all calls in turn, but for those whose beginning is just being read."""
        gone = set(map(id, self._running))  # started or finished
        changed: dict[Call, None] = {}
        skipped = 0
        for call, sample in self._waiting():
            if skipped == MAX_RUNNING or (len(self._running) >= MAX_RUNNING and not sample.finished):
                break
            if sample.finished:
                self._end(sample)
            elif id(sample) not in gone and not self._start(engine, sample):
                skipped += 1
                continue
            gone.add(id(sample))
            changed[call] = None
        for call in changed:
            call.drop(gone, MAX_RUNNING)
        if changed:  # they stand behind those that wait for their turn
            order = chain((call for call in self._calls if call not in changed), changed)
            self._calls = {call: None for call in order if call.queue}

    def _waiting(self) -> Iterator[tuple[Call, Sample]]:
        """The first samples of each call's queue, the next one of each call in turn."""
        others: deque[tuple[Call, Iterator[Sample]]] = deque()
        for call in tuple(self._calls):
            samples: Iterator[Sample] = islice(call.queue, MAX_RUNNING)
            for sample in islice(samples, 1):
                yield call, sample
                others.append((call, samples))
        while others:
            call, samples = others.popleft()
            for sample in islice(samples, 1):
                yield call, sample
                others.append((call, samples))

    def _start(self, engine: Engine, sample: Sample) -> bool:
        """Give a sample its cache, if there is room and nothing to wait for."""
        if sample.cache is not None:
            sample.use(sample.cache)
        else:
            length, cache = self._beginning(sample)
            if length < 0 or (not self._make_room(sample, length) and self._running):
                return False  # a sample alone runs in any case
            sample.use(cache.fork(length) if cache is not None and length else engine.new_cache())
        self._running.append(sample)
        return True

    def _beginning(self, sample: Sample) -> tuple[int, KVCache | None]:
        """The longest beginning of the prompt that a cache holds, or -1 when a longer one is on its way."""
        length, cache = self._prefixes.find(sample.ids)
        coming = 0
        for other in self._running:
            assert other.cache is not None
            alike = common_prefix(sample.ids, other.ids)
            coming = max(coming, alike)
            ready = min(alike, len(other.cache))
            if ready > length:
                length, cache = ready, other.cache
        last = sample.ids.size - 1  # its logits are needed, so it is run in any case
        if min(coming, last) > length and min(coming, last) - length >= BLOCK // 4:
            return -1, None
        return min(length, last), cache

    def _make_room(self, sample: Sample, shared: int) -> bool:
        """Whether the sample's blocks fit, after dropping kept prefixes as need be."""
        needed = sample.blocks - shared // BLOCK
        taken = sum(other.blocks for other in self._running)
        while taken + self._prefixes.blocks + needed > self._most_blocks:
            if not self._prefixes.drop_oldest():
                return False
        return True

    def _plan(self, batch: list[Sample], chunk: int) -> Plan:
        """What to run: samples that generate first, then prompts as far as rows are left."""
        for sample in batch:
            if sample.stale:
                sample.restore()
        generating = [sample for sample in batch if sample.tokens]
        room = chunk
        plan: Plan = []
        for sample in generating[:chunk]:
            others = len(generating) - len(plan) - 1
            run, wanted = sample.pending(max(room - others, 1), draft=len(batch) <= MAX_DRAFTING)
            plan.append((sample, run, wanted))
            room -= len(run)
        room = min(room, PROMPT_ROWS) if plan else room
        for sample in batch:
            if sample.tokens or room <= 0:
                continue
            run, wanted = sample.pending(room, draft=False)
            plan.append((sample, run, wanted))
            room -= len(run)
        return plan

    def _advance(self, plan: Plan, logits: NDArray[np.float32]) -> None:
        """Hand out the logits."""
        row = 0
        for sample, _, wanted in plan:
            sample.stale = wanted > 0
        for sample, run, wanted in plan:
            if wanted and not sample.finished:
                try:
                    sample.advance(logits[row : row + wanted], run[len(run) - wanted + 1 :])
                except SantaCoderError as error:
                    sample.error = error
            sample.stale = False
            row += wanted
        with self._leadership.lock:
            self._leadership.wake({sample.call for sample, _, wanted in plan if wanted and sample.call is not None})


_SCHEDULERS: Final[weakref.WeakSet[Scheduler[Any]]] = weakref.WeakSet()


def _after_fork() -> None:
    for scheduler in _SCHEDULERS:
        scheduler.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
