"""A text that grows and is edited, as in an editor: only what changed is computed again."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import weakref
from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from santacoder.batching.prefix_cache import common_prefix
from santacoder.batching.scheduler import Scheduler
from santacoder.batching.session_file import read_session, write_session
from santacoder.decoding.context import check_context
from santacoder.decoding.options import SamplingOptions, SamplingParams
from santacoder.decoding.results import Completion, Piece
from santacoder.decoding.sequence import Sample
from santacoder.engine.kv_cache import KVCache
from santacoder.engine.transformer import Transformer
from santacoder.errors import DeadlockError, ModelClosedError
from santacoder.requests import Prompt, echoed, infill_request, new_sample, prompt_tokens, sampling_params
from santacoder.text.filters import MakeFilters
from santacoder.text.infilling import Mode
from santacoder.text.stream import stop_filters
from santacoder.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from typing_extensions import Unpack


class _Turn:
    """Whose turn it is to use a session."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.holder: threading.Thread | None = None  # whom the session works for, or who read its open stream last


class Session:
    """Keeps the keys and values of its last text; made by `SantaCoder.session`. Results are those of the model itself.

    One request at a time: a second thread waits. A thread that left a stream open would wait for itself: its next
    request is a `DeadlockError`. The memory, 12 KB a token for SantaCoder, is the session's own: other requests
    do not push it out.
    """

    _at_exit = staticmethod(sys.is_finalizing)

    def __init__(self, scheduler: Scheduler[Transformer], tokenizer: Tokenizer) -> None:
        self._scheduler = scheduler
        self._tokenizer = tokenizer
        self._turn = _Turn()
        self._cache = scheduler.engine.new_cache()
        self._tokens: list[int] = []  # what the cache holds
        _SESSIONS.add(self)

    def after_fork(self) -> None:
        """In a forked child: what another thread was doing is lost with it, and so is the text."""
        before = self._turn
        if before.holder is threading.current_thread():
            return
        self._turn = _Turn()  # in any case: a thread may own a lock, and not say so yet
        if before.lock.locked():
            self._begin_anew()

    def _begin_anew(self) -> None:
        """Forget the text, and leave the cache to whom it may still be in use by."""
        if not self._scheduler.closed:
            self._hold(self._scheduler.engine.new_cache(), [])

    def _hold(self, cache: KVCache, tokens: list[int]) -> None:
        """Have a cache and what it holds; at no moment more tokens than that."""
        self._tokens = []
        self._cache = cache
        self._tokens = tokens

    def __len__(self) -> int:
        """Tokens whose keys and values are kept."""
        return len(self._tokens)

    def complete(self, prompt: Prompt, **options: Unpack[SamplingOptions]) -> Completion:
        """As `SantaCoder.complete`."""
        params = sampling_params(options)
        return self._finish(*self._continuation(prompt, params))

    def stream(self, prompt: Prompt, **options: Unpack[SamplingOptions]) -> Generator[Piece, None, Completion]:
        """As `SantaCoder.stream`; the session is taken until the generator ends or is closed."""
        params = sampling_params(options)
        return self._stream(*self._continuation(prompt, params))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the text and its keys and values to a file, 12 KB a token for SantaCoder; all of it or nothing.

        Raises:
            OSError: the file cannot be written.
        """

        def save() -> None:
            write_session(path, self._scheduler.engine.fingerprint, self._tokens, self._cache)

        self._take_turn(save)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on from a file that `save` wrote with the same model, on whatever machine; on an error nothing changes.

        Raises:
            OSError: the file cannot be read.
            SessionFormatError: it is no such file, is damaged, or belongs to another model.
        """

        def load() -> None:
            engine = self._scheduler.engine
            cache = engine.new_cache()
            self._hold(cache, read_session(path, engine.fingerprint, engine.config.vocab_size, cache))

        self._take_turn(load)

    def infill(
        self,
        prefix: str,
        suffix: str,
        *,
        mode: Mode = "auto",
        single_line: bool = False,
        **options: Unpack[SamplingOptions],
    ) -> Completion:
        """As `SantaCoder.infill`; the mode "auto" is "spm": while the prefix grows, only its end is computed."""
        params = sampling_params(options)
        tokens, filters = self._infill_request(prefix, suffix, mode, single_line, params)
        return self._finish(self._sample(tokens, params, filters), prefix if params.echo else "")

    def stream_infill(
        self,
        prefix: str,
        suffix: str,
        *,
        mode: Mode = "auto",
        single_line: bool = False,
        **options: Unpack[SamplingOptions],
    ) -> Generator[Piece, None, Completion]:
        """As `infill`, piece by piece; the session is taken until the generator ends or is closed."""
        params = sampling_params(options)
        tokens, filters = self._infill_request(prefix, suffix, mode, single_line, params)
        return self._stream(self._sample(tokens, params, filters), prefix if params.echo else "")

    def _infill_request(
        self, prefix: str, suffix: str, mode: Mode, single_line: bool, params: SamplingParams
    ) -> tuple[list[int], MakeFilters]:
        context = self._scheduler.engine.context
        return infill_request(self._tokenizer, prefix, suffix, mode, single_line, params, context, typing=True)

    def _continuation(self, prompt: Prompt, params: SamplingParams) -> tuple[Sample, str]:
        """A sample that continues a prompt, and the text to begin its completion with."""
        check = partial(check_context, params.max_tokens, self._scheduler.engine.context)
        tokens = prompt_tokens(self._tokenizer, prompt, check)
        return self._sample(tokens, params), echoed(self._tokenizer, prompt, tokens, params)

    def _sample(self, tokens: list[int], params: SamplingParams, filters: MakeFilters = stop_filters) -> Sample:
        return new_sample(self._tokenizer, tokens, params, self._scheduler.engine.context, filters=filters)

    def _finish(self, sample: Sample, echo: str) -> Completion:
        pieces = self._stream(sample, "")
        try:
            for _ in pieces:
                pass
        finally:
            pieces.close()
        return sample.completion(echo)

    # Ctrl-C may come anywhere: a turn ends by statements in `finally` that call nothing, not by a context manager.

    def _stream(self, sample: Sample, echo: str) -> Generator[Piece, None, Completion]:
        turn = self._claim()
        with turn.lock:
            try:
                turn.holder = threading.current_thread()
                cache = self._lend(sample)
                pieces = self._scheduler.stream(sample, echo)
                try:
                    for piece in pieces:
                        yield piece
                        turn.holder = threading.current_thread()
                finally:
                    pieces.close()
                    self._take_back(sample, cache, turn)
            finally:
                turn.holder = None
        return sample.completion(echo)

    def _take_turn(self, work: Callable[[], None]) -> None:
        turn = self._claim()
        with turn.lock:
            try:
                turn.holder = threading.current_thread()
                work()
            finally:
                turn.holder = None

    def _claim(self) -> _Turn:
        """The turn to take.

        Raises:
            DeadlockError: the thread would wait for itself.
        """
        if self._turn.holder is threading.current_thread():
            raise DeadlockError(
                "a stream of this session is still open in this thread: read it to its end, or close() it, first"
            )
        return self._turn

    def _lend(self, sample: Sample) -> KVCache:
        """Lend a sample the session's cache.

        Until it comes back the session has a new one: an interruption that comes before costs time alone.
        """
        cache, known = self._cache, np.asarray(self._tokens, dtype=np.int32)
        self._begin_anew()
        cache.truncate(min(common_prefix(known, sample.ids), sample.ids.size - 1))
        sample.lend(cache)
        return cache

    def _take_back(self, sample: Sample, cache: KVCache, turn: _Turn) -> None:
        """Hold the text of a sample that is done or given up, as far as its cache does."""
        if self._at_exit():  # a stream was left open: what this needs of other modules may be gone
            return

        def take_back(_: Transformer) -> None:  # no step writes to the cache now, nor later
            sample.cancelled = sample.cancelled or not sample.finished
            sample.release()
            sample.cache = None
            if self._turn is turn:  # else this is the child of a fork, which began anew
                self._hold(cache, (sample.prompt + sample.tokens)[: len(cache)])

        # Else there is no model any more, or the garbage collector ends a stream in the middle of a step.
        with contextlib.suppress(ModelClosedError, DeadlockError):
            self._scheduler.exclusive(take_back)


_SESSIONS: Final[weakref.WeakSet[Session]] = weakref.WeakSet()


def _after_fork() -> None:
    for session in _SESSIONS:
        session.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
