"""A text that grows and is edited, as in an editor: only what changed is computed again."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import numpy as np

from santacoder.generation import Completion, Piece
from santacoder.infilling import Mode
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


class Session:
    """Keeps the keys and values of its last text; made by `SantaCoder.session`. Results are those of the model itself.

    One request at a time: a second thread waits. The session's memory, 12 KB a token for SantaCoder, is its own: other
    requests do not push it out.
    """

    def __init__(self, scheduler: Scheduler[Transformer], tokenizer: Tokenizer) -> None:
        self._scheduler = scheduler
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._cache = scheduler.engine.new_cache()
        self._tokens: list[int] = []  # what the cache holds

    def __len__(self) -> int:
        """Tokens whose keys and values are kept."""
        return len(self._tokens)

    def complete(self, prompt: Prompt, **options: Unpack[SamplingOptions]) -> Completion:
        """As `SantaCoder.complete`."""
        params = sampling_params(options)
        tokens = prompt_tokens(self._tokenizer, prompt)
        with self._sample(tokens, params) as sample:
            self._scheduler.finish([sample])
            return sample.completion(echoed(self._tokenizer, prompt, tokens, params))

    def stream(self, prompt: Prompt, **options: Unpack[SamplingOptions]) -> Generator[Piece, None, Completion]:
        """As `SantaCoder.stream`; the session is taken until the generator ends or is closed."""
        params = sampling_params(options)
        tokens = prompt_tokens(self._tokenizer, prompt)
        return self._stream(tokens, params, echoed(self._tokenizer, prompt, tokens, params))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the text and its keys and values to a file, 12 KB a token for SantaCoder; all of it or nothing.

        Raises:
            OSError: the file cannot be written.
        """
        with self._lock:
            write_session(path, self._scheduler.engine.fingerprint, self._tokens, self._cache)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on from a file that `save` wrote with the same model, on whatever machine; on an error nothing changes.

        Raises:
            OSError: the file cannot be read.
            SessionFormatError: it is no such file, is damaged, or belongs to another model.
        """
        with self._lock:
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
        with self._sample(tokens, params, filters) as sample:
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
        return self._stream(tokens, params, prefix if params.echo else "", filters)

    def _infill_request(
        self, prefix: str, suffix: str, mode: Mode, single_line: bool, params: SamplingParams
    ) -> tuple[list[int], MakeFilters]:
        context = self._scheduler.engine.context
        return infill_request(self._tokenizer, prefix, suffix, mode, single_line, params, context, typing=True)

    def _stream(
        self, tokens: list[int], params: SamplingParams, echo: str, filters: MakeFilters = tuple
    ) -> Generator[Piece, None, Completion]:
        with self._sample(tokens, params, filters) as sample:
            return (yield from self._scheduler.stream(sample, echo))

    @contextlib.contextmanager
    def _sample(self, tokens: list[int], params: SamplingParams, filters: MakeFilters = tuple) -> Iterator[Sample]:
        """A sample on the session's cache, which afterwards holds the sample's text as far as it came."""
        with self._lock:
            context = self._scheduler.engine.context
            sample = new_sample(self._tokenizer, tokens, params, context, cache=self._cache, filters=filters)
            known = np.asarray(self._tokens, dtype=np.int32)
            keep = min(common_prefix(known, sample.ids), sample.ids.size - 1)
            self._cache.truncate(keep)
            del self._tokens[keep:]
            try:
                yield sample
            finally:
                with self._scheduler.exclusive():  # no step may still write to the cache
                    self._tokens = (sample.prompt + sample.tokens)[: len(self._cache)]
