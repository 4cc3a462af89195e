"""Asks the hooks of sequences between two steps, without the lock: one that blocks delays its own sequence only.

A thread that waits for a single sequence asks its hooks itself. For calls with several sequences, and for tasks of an
event loop, there are threads of their own: one while hooks answer soon, and more when some block, each there only while
there is work.
"""

from __future__ import annotations

import _thread
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic
from typing import Final

from santacoder.batching.engine_lock import EngineLock, Waiter
from santacoder.decoding.sequence import Sequence
from santacoder.errors import SantaCoderError

SLOW: Final = 0.002  # seconds after which a hook has another thread ask the next one
IDLE: Final = 1.0  # seconds after which a thread that has nothing to do ends
GATHERING: Final = 0.25  # of the time of a step that the next one waits for hooks: another step takes longer
MOST_SECONDS: Final = 0.02  # that it waits


class HookRunner:
    """Asks the hooks of sequences that are held, and lets steps go on for these."""

    def __init__(self, lock: EngineLock, resume: Callable[[], None]) -> None:
        """Take what is called, with the lock held, when a sequence may go on."""
        self._lock = lock
        self._resume = resume
        self.after_fork()

    def after_fork(self) -> None:
        """Forget the parent's threads, and what they were to do."""
        self._guard = threading.Lock()  # taken by its own methods: those of the condition are Python
        self._bell = threading.Condition(self._guard)
        self._queue = deque[Sequence]()
        # Changed by the threads for hooks only: others may be interrupted.
        self._idle = 0  # threads that wait for the bell
        self._watching = 0  # those of them that wait for a hook to be slow
        self._asking = 0  # threads that ask a hook
        self._asked = 0.0  # when the last of them began
        self._gathering = Waiter()  # a leader that waits for answers

    def ask(self, sequence: Sequence) -> None:
        """Ask the hooks of a sequence that is held, and note what they say; an error is that of the sequence."""
        held = sequence.held
        if held is None:
            return
        try:
            sequence.advance(held.logits, held.draft_ids, self._lock.lock)
        except SantaCoderError as error:
            self._fail(sequence, error)
        except BaseException:  # an interruption may have left the choice of a token half done
            sequence.stale = True
            raise
        finally:
            with self._lock.lock:
                sequence.held, held.answered = None, True
                call = sequence.call
                if call is not None:
                    call.advanced(sequence)
                    self._lock.wake([call])
                self._resume()
                if self._gathering.done():
                    self._gathering.wake()

    def hand_over(self, sequences: Iterable[Sequence]) -> None:
        """Have threads ask the hooks of those that are held and have no thread; with the lock held."""
        for sequence in sequences:
            held = sequence.held
            if held is not None and not held.handed_over:
                if not sequence.asks_itself:
                    self._submit(sequence)
                held.handed_over = True

    def gather(self, sequences: Iterable[Sequence], step_seconds: float) -> None:
        """Wait, as the leader and with the lock held, for hooks that answer soon, so that their sequences share a step.

        What is held for longer than a part of the time of a step is not waited for: a hook that blocks delays others
        once for each of its tokens, and by no more than that.
        """
        patience = min(GATHERING * step_seconds, MOST_SECONDS)
        begin = monotonic()
        fresh = [held for each in sequences if (held := each.held) is not None and held.since > begin - patience]
        self._gathering.done = lambda: all(held.answered for held in fresh)
        try:
            while not self._gathering.done():
                left = max(held.since for held in fresh if not held.answered) + patience - monotonic()
                if left <= 0:
                    return
                self._gathering.sleep(self._lock.lock, left)
        finally:
            self._gathering.done = lambda: False

    def _submit(self, sequence: Sequence) -> None:
        with self._guard:
            self._queue.append(sequence)
            starts = self._call_thread()
        if starts:
            _thread.start_new_thread(self._run, ())  # an interruption of threading's own, in Python, breaks its locks

    def _call_thread(self) -> bool:
        """See, with the guard held, that a thread looks after the queue; return whether one has to be started."""
        if not self._queue or (self._asking and self._watching):
            return False
        if self._idle:
            self._bell.notify()
        return not self._idle

    def _run(self) -> None:
        while True:
            with self._guard:
                sequence = self._next()
                if sequence is None:
                    return
                starts = self._call_thread()
            if starts:
                with suppress(RuntimeError):  # no thread is to be had: this one asks them all, in turn
                    _thread.start_new_thread(self._run, ())
            try:
                if self._take(sequence):
                    self.ask(sequence)
            except BaseException as error:
                self._fail(sequence, error)
            with self._guard:
                self._asking -= 1
            del sequence  # its memory, while the thread waits

    def _next(self) -> Sequence | None:
        """Wait for a sequence whose hooks are this thread's to ask; return None if none came for a while.

        Threads that ask at the same time only take the interpreter from each other. So one asks as long as hooks
        answer soon, and another joins when one does not.
        """
        self._idle += 1
        while not (self._queue and (not self._asking or monotonic() >= self._asked + SLOW)):
            if self._queue:
                self._watching += 1
                self._bell.wait(SLOW)
                self._watching -= 1
            elif not self._bell.wait(IDLE) and not self._queue:
                self._idle -= 1
                return None
        self._idle -= 1
        self._asking += 1
        self._asked = monotonic()
        return self._queue.popleft()

    def _take(self, sequence: Sequence) -> bool:
        """Return whether it is this thread that has to ask: an interruption may hand a sequence over twice."""
        with self._lock.lock:
            held = sequence.held
            if held is None or held.taken:
                return False
            held.taken = True
            return True

    def _fail(self, sequence: Sequence, error: BaseException) -> None:
        with self._lock.lock:
            if not sequence.ended:
                sequence.error = error
