"""A text that grows and is edited, as in an editor: only what changed is computed again."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

from santacoder.errors import DeadlockError, ModelClosedError
from santacoder.generation import Completion, Piece
from santacoder.infilling import Mode
from santacoder.kv_cache import KVCache
from santacoder.prefix_cache import common_prefix
from santacoder.requests import (
    Prompt,
    SamplingOptions,
    echoed,
    infill_request,
    new_sample,
    prompt_tokens,
    sampling_params,
)
from santacoder.sample import Sample
from santacoder.sampling import SamplingParams
from santacoder.scheduler import Scheduler
from santacoder.session_file import read_session, write_session
from santacoder.text_filters import MakeFilters
from santacoder.tokenizer import Tokenizer
from santacoder.transformer import Transformer

if TYPE_CHECKING:
    from typing_extensions import Unpack


class _Turn:
    """Whose turn it is to use a session."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.holder: int | None = None  # the thread that the session works for, or that read its open stream last


class Session:
    """Keeps the keys and values of its last text; made by `SantaCoder.session`. Results are those of the model itself.

    One request at a time: a second thread waits. A thread that left a stream open would wait for itself: its next
    request is a `DeadlockError`. The memory, 12 KB a token for SantaCoder, is the session's own: other requests
    do not push it out.
    """

    def __init__(self, scheduler: Scheduler[Transformer], tokenizer: Tokenizer) -> None:
        self._scheduler = scheduler
        self._tokenizer = tokenizer
        self._turn = _Turn()
        self._cache = scheduler.engine.new_cache()
        self._tokens: list[int] = []  # what the cache holds
        _SESSIONS.add(self)

    def after_fork(self) -> None:
        """In a forked child: what another thread was doing is lost with it, and so is the text."""
        if not self._turn.lock.locked() or self._turn.holder == threading.get_ident():
            return
        self._turn = _Turn()
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Forget the text, and leave the cache to whom it may still be in use by."""
        self._tokens = []
        if not self._scheduler.closed:
            self._cache = self._scheduler.engine.new_cache()

    def __len__(self) -> int:
        """Tokens whose keys and values are kept."""
        return len(self._tokens)

    def complete(self, prompt: Prompt, **options: Unpack[SamplingOptions]) -> Completion:
        """As `SantaCoder.complete`."""
        params = sampling_params(options)
        tokens = prompt_tokens(self._tokenizer, prompt)
        sample = self._sample(tokens, params)
        with self._cached(sample):
            self._scheduler.finish([sample])
        return sample.completion(echoed(self._tokenizer, prompt, tokens, params))

    def stream(self, prompt: Prompt, **options: Unpack[SamplingOptions]) -> Generator[Piece, None, Completion]:
        """As `SantaCoder.stream`; the session is taken until the generator ends or is closed."""
        params = sampling_params(options)
        tokens = prompt_tokens(self._tokenizer, prompt)
        return self._stream(self._sample(tokens, params), echoed(self._tokenizer, prompt, tokens, params))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the text and its keys and values to a file, 12 KB a token for SantaCoder; all of it or nothing.

        Raises:
            OSError: the file cannot be written.
        """
        with self._taken():
            write_session(path, self._scheduler.engine.fingerprint, self._tokens, self._cache)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on from a file that `save` wrote with the same model, on whatever machine; on an error nothing changes.

        Raises:
            OSError: the file cannot be read.
            SessionFormatError: it is no such file, is damaged, or belongs to another model.
        """
        with self._taken():
            engine = self._scheduler.engine
            cache = engine.new_cache()
            self._tokens = read_session(path, engine.fingerprint, engine.config.vocab_size, cache)
            self._cache = cache

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
        sample = self._sample(tokens, params, filters)
        with self._cached(sample):
            self._scheduler.finish([sample])
        return sample.completion(prefix if params.echo else "")

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

    def _sample(self, tokens: list[int], params: SamplingParams, filters: MakeFilters = tuple) -> Sample:
        return new_sample(self._tokenizer, tokens, params, self._scheduler.engine.context, filters=filters)

    def _stream(self, sample: Sample, echo: str) -> Generator[Piece, None, Completion]:
        with self._cached(sample) as turn, contextlib.closing(self._scheduler.stream(sample, echo)) as pieces:
            for piece in pieces:
                yield piece
                turn.holder = threading.get_ident()
        return sample.completion(echo)

    @contextlib.contextmanager
    def _taken(self) -> Iterator[_Turn]:
        """The session, for this thread alone.

        Raises:
            DeadlockError: the thread would wait for itself.
        """
        turn, mine = self._turn, threading.get_ident()
        if turn.holder == mine:
            raise DeadlockError(
                "a stream of this session is still open in this thread: read it to its end, or close() it, first"
            )
        with turn.lock:
            turn.holder = mine
            try:
                yield turn
            finally:
                turn.holder = None

    @contextlib.contextmanager
    def _cached(self, sample: Sample) -> Iterator[_Turn]:
        """Lend a sample the session's cache, which afterwards holds the sample's text as far as it came."""
        with self._taken() as turn:
            cache = self._cache
            known = np.asarray(self._tokens, dtype=np.int32)
            keep = min(common_prefix(known, sample.ids), sample.ids.size - 1)
            cache.truncate(keep)
            del self._tokens[keep:]
            sample.lend(cache)
            try:
                yield turn
            finally:
                self._keep(sample, cache)

    def _keep(self, sample: Sample, cache: KVCache) -> None:
        """Hold the text of a sample that is given up or done, as far as its cache does."""

        def keep(_: Transformer) -> None:  # while no step can still write to the cache
            if self._cache is cache:  # else this is the child of a fork, which began anew
                sample.trim()
                self._tokens = (sample.prompt + sample.tokens)[: len(cache)]

        try:
            self._scheduler.exclusive(keep)
        except ModelClosedError:
            pass
        except DeadlockError:  # the garbage collector ends a stream in the middle of a step
            self._begin_anew()


_SESSIONS: Final[weakref.WeakSet[Session]] = weakref.WeakSet()


def _after_fork() -> None:
    for session in _SESSIONS:
        session.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
