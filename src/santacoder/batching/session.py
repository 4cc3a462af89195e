"""A text that grows and is edited: only what changed is computed again."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Final

import numpy as np

from santacoder._util.fork import watch_forks
from santacoder.batching.async_session import AsyncSession, Turn
from santacoder.batching.loop_threads import AsyncRunner
from santacoder.batching.scheduler import Scheduler
from santacoder.batching.session_file import read_session, write_session
from santacoder.decoding.answers import new_answers
from santacoder.decoding.options import SamplingOptions, with_options
from santacoder.decoding.results import Completion, Piece
from santacoder.decoding.sequence import Sequence
from santacoder.engine.kv_cache import KVCache
from santacoder.engine.transformer import Transformer
from santacoder.errors import DeadlockError, ModelClosedError
from santacoder.requests import Prompt, check_infill, check_request, new_sequences, sampling_params
from santacoder.text.infilling import Mode
from santacoder.text.token_ids import TokenIds, common_prefix
from santacoder.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from typing_extensions import Unpack


_NOTHING: Final = np.empty(0, dtype=np.int32)


class Session(AsyncSession):
    """Keeps the keys and values of its last text; made by `SantaCoder.session`. Results are those of the model itself.

    One request at a time: a second thread or task waits. One that left a stream open would wait for itself: its next
    request raises `DeadlockError`. The memory, 12 KB a token for SantaCoder, is the session's own: other requests
    do not evict it.
    """

    _at_exit = staticmethod(sys.is_finalizing)

    def __init__(
        self, scheduler: Scheduler[Transformer], tokenizer: Tokenizer, runner: AsyncRunner | None = None
    ) -> None:
        self._scheduler = scheduler
        self._tokenizer = tokenizer
        self._runner = runner or AsyncRunner(scheduler)
        self._turn = Turn()
        self._cache = scheduler.engine.new_cache()
        self._token_ids: TokenIds = _NOTHING  # the tokens that the cache holds
        self._answers = new_answers()
        watch_forks(self)

    def after_fork(self) -> None:
        """Forget the text, in a forked child, if another thread was using the session."""
        self._answers = new_answers()  # the other thread may have been changing it
        before = self._turn
        if before.holder is threading.current_thread() and before.task is None:
            return
        self._turn = Turn()  # in any case: a thread may hold the lock before `holder` says so
        if before.lock.locked():
            self._begin_anew()

    def _begin_anew(self) -> None:
        """Forget the text and abandon the cache: another thread may still be using it."""
        if not self._scheduler.closed:
            self._hold(self._scheduler.engine.new_cache(), _NOTHING)

    def _hold(self, cache: KVCache, token_ids: TokenIds) -> None:
        """Set the cache and its tokens; at no moment are there more tokens than the cache holds."""
        self._token_ids = _NOTHING
        self._cache = cache
        self._token_ids = token_ids

    def __len__(self) -> int:
        """Count the tokens whose keys and values are kept."""
        return self._token_ids.size

    @with_options
    def complete(self, prompt: Prompt, **options: Unpack[SamplingOptions]) -> Completion:
        """Continue `prompt`: see `SantaCoder.complete`."""
        return self._finish(self._continuation(prompt, options))

    @with_options
    def stream(self, prompt: Prompt, **options: Unpack[SamplingOptions]) -> Generator[Piece, None, Completion]:
        """Continue `prompt` piece by piece: see `SantaCoder.stream`. The session is in use until the generator ends."""
        return self._stream(self._continuation(prompt, options))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the text with its keys and values to a file, 12 KB a token for SantaCoder; all of it or nothing.

        Raises:
            OSError: the file cannot be written.
        """

        def save() -> None:
            write_session(path, self._scheduler.engine.fingerprint, self._token_ids, self._cache)

        self._take_turn(save)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on from a file that `save` wrote with the same model, on any machine; on an error nothing changes.

        Raises:
            OSError: the file cannot be read.
            SessionFormatError: it is not a session file, is damaged, or belongs to another model.
        """

        def load() -> None:
            engine = self._scheduler.engine
            cache = engine.new_cache()
            self._hold(cache, read_session(path, engine.fingerprint, engine.config.vocab_size, cache))

        self._take_turn(load)

    @with_options
    def infill(
        self,
        prefix: str,
        suffix: str,
        *,
        mode: Mode | None = "auto",
        single_line: bool | None = False,
        **options: Unpack[SamplingOptions],
    ) -> Completion:
        """Infill as `SantaCoder.infill`, but "auto" is "spm": while the prefix grows, only its end is computed."""
        return self._finish(self._infilling(prefix, suffix, mode, single_line, options))

    @with_options
    def stream_infill(
        self,
        prefix: str,
        suffix: str,
        *,
        mode: Mode | None = "auto",
        single_line: bool | None = False,
        **options: Unpack[SamplingOptions],
    ) -> Generator[Piece, None, Completion]:
        """Infill piece by piece, as `infill`. The session is in use until the generator ends or is closed."""
        return self._stream(self._infilling(prefix, suffix, mode, single_line, options))

    def _continuation(self, prompt: Prompt, options: SamplingOptions) -> Sequence:
        context = self._scheduler.engine.context
        [sequence] = new_sequences(check_request(self._tokenizer, context, prompt, sampling_params(options)))
        return sequence

    def _infilling(
        self, prefix: str, suffix: str, mode: Mode | None, single_line: bool | None, options: SamplingOptions
    ) -> Sequence:
        context, params = self._scheduler.engine.context, sampling_params(options)
        request = check_infill(self._tokenizer, context, prefix, suffix, mode, single_line, params, typing=True)
        [sequence] = new_sequences(request)
        return sequence

    def _finish(self, sequence: Sequence) -> Completion:
        pieces = self._stream(sequence)
        try:
            for _ in pieces:
                pass
        finally:
            pieces.close()
        return sequence.completion()

    # Ctrl-C may come anywhere: a turn ends by statements in `finally` that call nothing, not by a context manager.

    def _stream(self, sequence: Sequence) -> Generator[Piece, None, Completion]:
        turn = self._claim()
        try:
            with turn.lock:
                try:
                    turn.holder = threading.current_thread()
                    cache = self._lend(sequence)
                    pieces = self._scheduler.stream(sequence)
                    try:
                        for piece in pieces:
                            yield piece
                            turn.holder = threading.current_thread()
                    finally:
                        pieces.close()
                        self._take_back(sequence, cache, turn)
                finally:
                    turn.holder = None
        finally:
            turn.pass_on()
        return sequence.completion()

    def _take_turn(self, work: Callable[[], None]) -> None:
        turn = self._claim()
        try:
            with turn.lock:
                try:
                    turn.holder = threading.current_thread()
                    work()
                finally:
                    turn.holder = None
        finally:
            turn.pass_on()

    def _claim(self) -> Turn:
        """Return the turn to take.

        Raises:
            DeadlockError: the thread would wait for itself.
        """
        turn = self._turn
        if turn.is_lost():
            self._turn = turn = Turn()
            self._begin_anew()
        if turn.holder is not threading.current_thread():
            return turn
        if turn.task is not None:
            raise DeadlockError("a task of this thread is using this session: await it first")
        raise DeadlockError(
            "a stream of this session is still open in this thread: read it to its end, or close() it, first"
        )

    def _lend(self, sequence: Sequence) -> KVCache:
        """Lend a sequence the session's cache.

        Until it comes back the session has a new one: an interruption that comes before costs only time.
        """
        cache, known = self._cache, self._token_ids
        self._begin_anew()
        cache.truncate(min(common_prefix(known, sequence.prompt), sequence.prompt.size - 1))
        sequence.guesses.answers = self._answers
        sequence.borrow(cache)
        return cache

    def _take_back(self, sequence: Sequence, cache: KVCache, turn: Turn) -> None:
        """Take the cache back from a sequence that has ended or was given up, with the tokens that it holds."""
        if self._at_exit():  # a stream was left open: what this needs of other modules may be gone
            return

        def take_back(_: Transformer) -> None:  # no step writes to the cache now or later
            sequence.cancelled = sequence.cancelled or not sequence.ended
            sequence.release()
            sequence.cache = None
            if self._turn is turn:  # else this is the child of a fork, which began anew
                self._hold(cache, sequence.token_ids[: len(cache)].copy())

        # Otherwise the model is closed, or the garbage collector ends a stream in the middle of a step.
        with contextlib.suppress(ModelClosedError, DeadlockError):
            self._scheduler.exclusive(take_back)
