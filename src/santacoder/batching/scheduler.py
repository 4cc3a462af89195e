"""Continuous batching: the sequences of all callers go through the model together, a step at a time.

The scheduler has no thread of its own. One of the callers that wait for a sequence leads: it runs a step for all
sequences, and then any caller that still waits may lead. So several Python threads share one batch, nothing runs while
nobody waits, and no thread is in the way of a fork or of the interpreter's exit.

A sequence with hooks is held after each step of its own until they have been asked (hook_runner.py). Meanwhile steps
run without it.

batch.py holds what waits and what runs; policy.py decides what runs next. Here it is done, in an order that keeps
queues and batch consistent wherever an interruption comes. A sequence's result never depends on this: the engine gives
the same bits in any batch and from any cache.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator, Iterable
from functools import partial
from time import monotonic, perf_counter
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from santacoder._util.fork import watch_forks
from santacoder.batching.alike import advance, followers
from santacoder.batching.batch import Batch
from santacoder.batching.calls import Call, by_turns
from santacoder.batching.counters import Counters
from santacoder.batching.engine_lock import EngineLock, Waiter
from santacoder.batching.hook_runner import HookRunner
from santacoder.batching.limits import Limits
from santacoder.batching.policy import Rows, is_unwanted, plan_step
from santacoder.batching.step import StepRunner, parts_of, run_scoring, scores_prompts
from santacoder.decoding.guess_sources import GuessSources
from santacoder.decoding.hooks import Held
from santacoder.decoding.results import Completion, Piece
from santacoder.decoding.sequence import Owner, Sequence
from santacoder.errors import ModelClosedError, QueueFullError, QueueTimeoutError, StepAbandonedError
from santacoder.prefixes.store import StoredPrefixes
from santacoder.text.infilling import Reading
from santacoder.text.token_ids import TokenIds

Followers = dict[Sequence, list[Sequence]]

E = TypeVar("E", bound=StepRunner)
T = TypeVar("T")


class Scheduler(Generic[E]):
    """Runs sequences on one engine, for any number of threads, until it is closed."""

    def __init__(self, engine: E, limits: Limits | None = None, stored: StoredPrefixes | None = None) -> None:
        """Take what runs, what may run, and the prefix cache on disk, if there is one."""
        self._engine: E | None = engine
        self._stored = stored
        self._batch = Batch(limits or Limits(), engine.block_bytes, stored, self._end, self._note_loaded)
        self._gave_up = False  # the last step
        self._step_seconds = 0.0  # that it took
        self.guesses = GuessSources()
        self._has_news = True  # since a step that had nothing to do
        self._lock = EngineLock(self._is_due)
        self._hooks = HookRunner(self._lock, self._note_news)
        watch_forks(self)

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

    @property
    def limits(self) -> Limits:
        """What may run, wait and be kept."""
        return self._batch.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        with self._lock.lock:
            self._batch.limit(limits)
            self._note_news()
            for call in self._batch.calls:
                call.has_deadlines |= limits.queue_timeout is not None
            self._lock.wake_all()  # those that wait may have to give up earlier

    def counters(self) -> Counters:
        """Return the counts of this moment.

        Raises:
            ModelClosedError: the model is closed.
        """
        with self._lock.lock:
            _ = self.engine
            return self._batch.counters()

    def reading(self, seconds: float) -> Reading | None:
        """Return what may be read in so much time, by the speed of the last prompts; None before the first."""
        speed = self._batch.meter.prompt_speed
        return None if speed is None else Reading(int(speed * seconds), self._count_uncached)

    def _count_uncached(self, prompt: TokenIds) -> int:
        with self._lock.lock:
            uncached = self._batch.room.count_uncached(prompt, self._batch.running)
        if self._stored is None:
            return uncached
        return min(uncached, max(prompt.size - self._stored.count_known(prompt, prompt.size - uncached), 1))

    def check_room(self) -> None:
        """Check that a call may come now.

        Raises:
            ModelClosedError: the model is closed.
            QueueFullError: too many samples wait.
        """
        with self._lock.lock:
            _ = self.engine
            if self._batch.limits.max_waiting is None:
                return  # nothing to count
            unfinished = sum(not sequence.ended for sequence in self._batch)
            if not self._batch.limits.has_room(unfinished):
                raise QueueFullError(f"{unfinished} samples run or wait already, as many as may: try again later")

    @property
    def sequences(self) -> list[Sequence]:
        """All sequences that wait or are in the batch."""
        return [*self._batch]

    def submit(self, call: Call, sequences: list[Sequence]) -> None:
        """Queue sequences of a call; they run while somebody waits, for them or for others.

        Raises:
            ModelClosedError: the model is closed.
            QueueFullError: too many others wait.
        """
        for sequence in sequences:
            sequence.start_clock()
        self.guesses.look()
        with self._lock.lock:
            _ = self.engine
            self.guesses.serve(sequence.guesses for sequence in sequences)
            if sequences and not call.begun:
                self.check_room()
            if not (self._batch.calls or self._batch.running):
                self._batch.meter.move()
            call.add(sequences)
            call.has_deadlines |= self._batch.limits.queue_timeout is not None
            if call.queue:
                self._batch.calls[call] = None
                self._note_news()

    def cancel(self, sequences: Iterable[Sequence]) -> None:
        """Give up the sequences that have not ended: their work stops within tens of milliseconds."""
        with self._lock.lock:
            for sequence in sequences:
                if sequence.ended:
                    continue
                sequence.cancelled = True
                if not sequence.in_batch:  # else the next step takes it out
                    self._end(sequence)
                elif sequence.call is not None:
                    self._lock.wake([sequence.call])

    def run(self, waiter: Waiter, patience: Callable[[bool], float], ask: Callable[[], bool] = lambda: False) -> None:
        """Lead or wait until the waiter is done; `patience` is that of its calls.

        `ask` is `ask_hooks` of the call, if the waiter is one.

        Raises:
            DeadlockError: the thread is in the middle of a step.
        """
        while True:
            while not waiter.done():
                self._lock.lead_or_wait(waiter, self.step, patience)
                patience(False)
            if not ask():
                return

    def ask_hooks(self, call: Call) -> bool:
        """Ask the hooks that are this thread's to ask; return False if there are none."""
        if call.single is None or not call.has_to_ask:
            return False
        self._hooks.ask(call.single)
        return True

    def rouse(self, waiter: Waiter) -> None:
        """Have a waiting thread ask for its patience again."""
        with self._lock.lock:
            waiter.wake()

    def patience(self, call: Call, quiet: bool) -> float:
        """Return the seconds to the call's next deadline; end the sequences that are late and that no step runs.

        `quiet` says that no step runs.
        """
        left = math.inf
        if call.has_deadlines:
            with self._lock.lock:
                left = min(left, self._turn_left(call))
                for sequence in call.unfinished():
                    if not sequence.expired:
                        left = min(left, sequence.time_left)
                    elif quiet or not sequence.in_batch or sequence.held is not None:
                        sequence.expire()
                        self._end(sequence)
                        left = 0
        return max(left, 0)

    def _turn_left(self, call: Call) -> float:
        """Return the seconds in which one of a call's sequences has to begin; end them all if that is over."""
        limit = self._batch.limits.queue_timeout
        if limit is None or call.begun:
            return math.inf
        left = call.since + limit - monotonic()
        if left < 0:
            for sequence in call.unfinished():
                late = f"the request's turn did not come in {limit:g} seconds"
                sequence.error = QueueTimeoutError(f"{late}: too many others are running or waiting")
                self._end(sequence)
        return left

    def _end(self, sequence: Sequence) -> None:
        """Tell a sequence's call that it has ended; with the lock held."""
        call = sequence.call
        if call is not None:
            call.end(sequence)
            self._lock.wake([call])
            self._note_news()

    def _note_news(self) -> None:
        """Have a step run, if somebody waits for one; with the lock held."""
        if not self._has_news:
            self._has_news = True
            self._lock.wake(())

    def _note_loaded(self) -> None:
        """Have a step look at what was read from the disk."""
        with self._lock.lock:
            self._note_news()

    def _is_due(self) -> bool:
        """Return whether a step has anything to do."""
        return self._has_news or any(
            sequence.ended or (not sequence.held.handed_over if sequence.held is not None else not sequence.is_loading)
            for sequence in self._batch.running
        )

    def stream(self, sequence: Sequence) -> Generator[Piece, None, Completion]:
        """Run a sequence once its first piece is asked for; closing the generator cancels it."""
        yield from sequence.opening(scored=False)
        call, taken = Call(single=sequence), 0

        def more() -> bool:
            return len(sequence.pieces) > taken or sequence.ended

        try:
            self.submit(call, [sequence])
            while sequence.finish_reason is None or taken < len(sequence.pieces):
                self.run(call.until(more), partial(self.patience, call), partial(self.ask_hooks, call))
                if sequence.error is not None:
                    raise sequence.error
                if sequence.cancelled:
                    break
                while taken < len(sequence.pieces):
                    taken += 1
                    yield from sequence.delivered(taken - 1)
        finally:
            self.cancel([sequence])
        return sequence.completion()

    def finish(self, sequences: list[Sequence], advanced: Callable[[int], None] = lambda _: None) -> None:
        """Run sequences to their ends; `advanced` is called with the number newly ended.

        Raises:
            NumericalError: or any other exception that ended one of them; the others are cancelled.
        """
        call = Call(single=sequences[0] if len(sequences) == 1 else None)
        try:
            self.submit(call, sequences)
            while call:
                for sequence in self.await_ended(call):
                    if sequence.error is not None:
                        raise sequence.error
                    advanced(1)
        finally:
            self.cancel(sequences)

    def await_ended(self, call: Call) -> list[Sequence]:
        """Run a call's sequences until some more of them have ended, and return these.

        Raises:
            DeadlockError: the thread is in the middle of a step.
        """
        self.run(call.until(lambda: call.has_ended), partial(self.patience, call), partial(self.ask_hooks, call))
        return call.take_ended()

    def exclusive(self, work: Callable[[E], T]) -> T:
        """Return `work(engine)`, which runs while no step does.

        Raises:
            DeadlockError: the thread is in the middle of a step.
            ModelClosedError: the model is closed.
        """
        return self._lock.exclusive(lambda: work(self.engine))

    def close(self) -> None:
        """Release the engine; sequences that have not ended end with ModelClosedError."""
        with self._lock.lock:
            self._engine = None  # a step that runs sees it and stops
            for sequence in self._batch:
                if not sequence.ended:
                    sequence.error = ModelClosedError("the model is closed")
                self._end(sequence)
            self._batch.clear()
            self.guesses.forget_answers()
            self.guesses.guess_from(None)
            self._lock.wake_all()
            self._lock.await_others()
        if self._stored is not None:
            self._stored.close()

    def forget(self) -> None:
        """Free the memory of kept prefixes, and of earlier answers."""
        with self._lock.lock:
            self._batch.room.forget()
            self.guesses.forget_answers()

    def after_fork(self) -> None:
        """Cancel other threads' sequences and renew the locks: a forked child has only the forking thread."""
        self._lock.after_fork()
        self._hooks.after_fork()
        if self._stored is not None:
            self._stored.after_fork()
        self._has_news = True
        self.guesses.forget_answers()
        mine = threading.get_ident()
        for sequence in self._batch:
            sequence.cancelled |= sequence.call is None or sequence.call.owner != mine
            sequence.stale = True
            sequence.guesses.after_fork()
            sequence.loading = None
            if not sequence.asks_itself:
                sequence.held = None  # the step is run again

    # A step. An exception at any point leaves queues and batch as before or as after.

    def step(self) -> None:
        """Run one step, as the leader, for all sequences."""
        engine, batch = self.engine, self._batch
        with self._lock.lock:
            batch.retire(engine.new_cache)
            batch.admit(engine.new_cache)
            self._hooks.hand_over(batch.running)
            self._has_news = False
            self._hooks.gather(batch.running, self._step_seconds)  # requests may come while it waits
            batch.take_loaded()
            going = [each for each in batch.running if each.held is None and not (each.ended or each.is_loading)]
            self._has_news |= bool(going)
        if not going:
            return
        for sequence in going:
            if sequence.stale:
                sequence.restore()
        leading = [sequence for sequence in going if sequence.follows is None]
        most = batch.limits.max_running
        plan = plan_step(by_turns(leading) if len(leading) > most else leading, engine.chunk, most)
        alike = followers(going)
        begin, gave_up = perf_counter(), self._gave_up
        self._gave_up = True
        abandon = partial(self._unwanted, plan, alike, gave_up)
        try:
            if scores_prompts(plan):
                logits = run_scoring(engine, plan, abandon)
            else:
                logits = engine.forward_batch(parts_of(plan), [rows.wanted for rows in plan], abandon)
        except StepAbandonedError:
            return
        self._gave_up = False
        self._step_seconds = perf_counter() - begin
        generating = batch.meter.count_step(plan, self._step_seconds)
        if generating:
            self.guesses.costs.note(generating, self._step_seconds)
        if self._stored is not None:
            _store_prompts(self._stored, plan)
        self._advance(plan, alike, logits)

    def _unwanted(self, plan: list[Rows[Sequence]], alike: Followers, again: bool) -> bool:
        def is_gone(rows: Rows[Sequence]) -> bool:
            return all(map(_is_unwanted, (rows.sequence, *alike.get(rows.sequence, ()))))

        if self.closed or all(map(is_gone, plan)):
            return True
        parts = [rows for rows in plan if rows.token_ids.size > 1]  # single rows weigh nothing
        unwanted = sum(rows.token_ids.size for rows in parts if is_gone(rows))
        return unwanted > 0 and is_unwanted(unwanted, sum(rows.token_ids.size for rows in plan), again)

    def _advance(self, plan: list[Rows[Sequence]], alike: Followers, logits: NDArray[np.float32]) -> None:
        """Give each sequence its logits (rows, V)."""
        row = 0
        chosen: list[Sequence] = []
        for sequence, _, wanted in plan:
            for each in (sequence, *alike.get(sequence, ())) if wanted else ():
                each.stale = True
                chosen.append(each)
        for sequence, token_ids, wanted in plan:
            if wanted:
                rows = logits[row : row + wanted]
                draft_ids = token_ids[token_ids.size - wanted + 1 :].tolist()  # tokens are written where they stand
                if not sequence.has_hooks:
                    advance([sequence, *alike.get(sequence, ())], rows, draft_ids)
                elif not sequence.ended:
                    sequence.held = Held(rows.copy(), draft_ids)
            row += wanted
        for sequence in chosen:
            sequence.stale = False
        with self._lock.lock:
            calls = dict[Owner, None]()
            for sequence in chosen:
                call = sequence.call  # read only once: a request that is given up loses it
                if call is not None:
                    call.advanced(sequence)
                    calls[call] = None
            self._lock.wake(calls)


def _store_prompts(stored: StoredPrefixes, plan: list[Rows[Sequence]]) -> None:
    """Have the prompts that a step has read to their ends kept on disk."""
    for sequence, _, wanted in plan:
        if wanted and not sequence.generated and sequence.cache is not None:
            stored.keep(sequence.prompt, sequence.cache)


def _is_unwanted(sequence: Sequence) -> bool:
    return sequence.cancelled or sequence.expired
