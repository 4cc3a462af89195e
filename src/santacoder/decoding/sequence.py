"""One sample on its way from prompt to text: what is known of it, and what was chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from time import monotonic, perf_counter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from santacoder.decoding.drafting import Drafter
from santacoder.decoding.logprobs import TokenLogprobs, token_logprobs
from santacoder.decoding.options import SamplingParams, check_tokens
from santacoder.decoding.results import Completion, FinishReason, Piece, Timings, Usage
from santacoder.decoding.sampler import Sampler
from santacoder.engine.kv_cache import BLOCK, KVCache
from santacoder.errors import SantaCoderError
from santacoder.text.filters import MakeFilters
from santacoder.text.stream import TextStream, stop_filters
from santacoder.text.tokenizer import Tokenizer


class Call(Protocol):
    """A call of the library that waits for samples.

    Attributes:
        owner: the thread, by its number.
        done: whether it has what it waits for.
    """

    owner: int
    done: Callable[[], bool]

    def end(self, sample: Sample) -> None:
        """Note that a sample is finished."""

    def wake(self) -> None:
        """End its sleep, if it sleeps."""


class Sample:
    """A sample of one prompt. Its tokens depend on prompt, seed and index alone.

    Attributes:
        prompt: (T,) ids, at least one.
        params: how to choose tokens and when to end.
        tokens: those generated so far; the end of text is none of them, one of `params.stop_tokens` is the last.
        cache: keys and values of the first of prompt and tokens; None before the sample's turn comes.
        pieces: what became final so far; the last one says why the text ended, once it has.
        error: what ended it instead.
        cancelled: nobody waits for it any more.
        call: the call that waits for it; None before it is submitted.
        stale: an interruption may have left the choice of a token half done: see `restore`.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt: Sequence[int],
        params: SamplingParams,
        seed: int,
        index: int = 0,
        filters: MakeFilters = stop_filters,
    ) -> None:
        """Prepare sample number `index`, of whose text `filters` makes what the caller wants.

        Raises:
            InvalidRequestError: logit_bias or stop_tokens names a token outside the vocabulary.
        """
        self._stops = check_tokens(params, tokenizer.vocab_size)
        self.prompt = list(prompt)
        self.ids = np.asarray(self.prompt, dtype=np.int32)
        self.params = params
        self.tokens: list[int] = []
        self.cache: KVCache | None = None
        self._keeps_cache = False
        self.pieces: list[Piece] = []
        self._logprobs: list[TokenLogprobs] = []  # of tokens, and perhaps of the one that ended the text
        self.error: BaseException | None = None
        self.cancelled = False
        self.call: Call | None = None
        self.stale = False
        self._tokenizer = tokenizer
        self._filters = filters
        self._key = seed, index
        self._ends = self._stops if params.ignore_eos else self._stops | tokenizer.end_ids
        self._drafter = Drafter() if params.lookup else None
        self._deadlines = (math.inf, math.inf)
        self._times = [perf_counter()] * 3  # of the start, the first token, the end
        self._reused = 0
        self._read = 0  # tokens of the prompt that were run
        self._chosen = 0
        self._sampler: Sampler | None = None  # only while it runs: it takes memory
        self._begin()

    def lend(self, cache: KVCache) -> None:
        """Make it use this cache, which holds some first tokens of its prompt, and leave it to its owner."""
        self.cache = cache
        self._keeps_cache = True

    def use(self, cache: KVCache) -> None:
        """Run from now on, with a cache that holds some first tokens of the prompt."""
        self.cache = cache
        self._reused = len(cache)
        self._sampler = self._new_sampler()

    def release(self) -> KVCache | None:
        """Let go of what takes memory, since the sample is finished; its cache, if nobody else has it."""
        self._sampler = None
        self._read = self._prompt_read()
        if self.cache is not None:  # the place of the last token may hold a guess that was not chosen
            self.cache.truncate(min(len(self.cache), len(self.prompt) + max(len(self.tokens) - 1, 0)))
        if self._keeps_cache:
            return None
        cache, self.cache = self.cache, None
        return cache

    def _prompt_read(self) -> int:
        """Tokens of the prompt that were run for this sample, so far."""
        cache = self.cache  # looked at once: the leader may release it meanwhile
        return self._read if cache is None else min(len(cache), len(self.prompt)) - self._reused

    @property
    def blocks(self) -> int:
        """Most blocks of cache that it will take."""
        return -(-(len(self.prompt) + self.params.max_tokens) // BLOCK)

    def _new_sampler(self) -> Sampler:
        tokenizer = self._tokenizer
        never = () if self.params.any_token else tokenizer.never_sampled
        return Sampler(self.params, tokenizer.vocab_size, never, *self._key, prompt=self.prompt)

    def _begin(self) -> None:
        """The text as it is before the first token, but for what is out already."""
        self._stream = TextStream(self._tokenizer, self._filters(self.params.stop))
        self._taken = sum(len(piece.tokens) for piece in self.pieces)  # tokens in pieces
        self._skip = sum(len(piece.text) for piece in self.pieces)  # characters that are out already

    def start(self) -> None:
        """The clock of timings and deadlines runs from here."""
        now = monotonic()
        first, total = self.params.deadlines
        self._deadlines = now + first, now + total
        self._times = [perf_counter()] * 3

    @property
    def reason(self) -> FinishReason | None:
        """Why it ended; None while it goes on."""
        return self.pieces[-1].finish_reason if self.pieces else None

    @property
    def finished(self) -> bool:
        """Whether nothing is to be done for it any more."""
        return self.reason is not None or self.error is not None or self.cancelled

    @property
    def running(self) -> bool:
        """Whether steps of the model may be at work for it."""
        return self._sampler is not None

    @property
    def has_deadline(self) -> bool:
        """Whether the clock may end it."""
        return min(self._deadlines) < math.inf

    @property
    def time_left(self) -> float:
        """Seconds until its deadline."""
        first, total = self._deadlines
        return (total if self.tokens else min(first, total)) - monotonic()

    @property
    def expired(self) -> bool:
        """Whether its deadline is over."""
        return self.time_left < 0

    def expire(self) -> None:
        """End with the text that there is."""
        if self.stale and self._sampler is not None:
            self.restore()
            if self.reason is not None:
                return
        text = self._stream.finish(cut_off=True)
        self._emit(text, "stop" if self._stream.stopped else "deadline")

    def pending(self, room: int, draft: bool) -> tuple[list[int], int]:
        """The next tokens to run, at most `room`, and for how many of them, at the end, the logits are needed.

        None of them is needed in the middle of the prompt. With `draft`, guesses may follow the last known token.
        """
        assert self.cache is not None
        known = len(self.prompt) + len(self.tokens)
        if len(self.cache) >= known:
            self.cache.truncate(known - 1)
        done = len(self.cache)
        run = (self.prompt[done:] if done < len(self.prompt) else []) + self.tokens[max(done - len(self.prompt), 0) :]
        if len(run) > room:
            return run[:room], 0
        if draft and self._drafter and self.tokens and len(run) == 1:
            most = min(room - 1, self.params.max_tokens - len(self.tokens) - 1)
            guesses = self._drafter.propose(self.prompt + self.tokens, most) if most > 0 else []
            return run + guesses, 1 + len(guesses)
        return run, 1

    def advance(self, logits: NDArray[np.float32], guesses: Sequence[int]) -> None:
        """Choose tokens from the logits (1 + len(guesses), V) that follow the last known token and each guess.

        The logits are used up.

        Raises:
            NumericalError: logits are not finite.
        """
        assert self._sampler is not None
        right = 0
        for row, guess in zip(logits, (*guesses, None), strict=True):
            token = self._sampler.next(row if self.params.logprobs is None else row.copy())
            self._note(row, token)
            self._accept(token)
            if self.reason or token != guess:
                break
            right += 1
        if guesses and self._drafter:
            self._drafter.learn(len(guesses), right)

    def _note(self, row: NDArray[np.float32], token: int) -> None:
        """Keep the log-probabilities of the token for the next position, if they were asked for."""
        if self.params.logprobs is not None:
            position = len(self.prompt) + len(self.tokens) - 1
            self._logprobs[len(self.tokens) :] = [token_logprobs(row, token, self.params.logprobs, position)]

    def _accept(self, token: int) -> None:
        reason: FinishReason | None = None
        self._chosen += 1
        if self._chosen == 1:
            self._times[1] = perf_counter()
        if token in self._ends:
            text, reason = self._stream.finish(), "stop"
            if token in self._stops:
                self.tokens.append(token)
        else:
            text = self._stream.feed(token)
            if not self._stream.stopped and len(self.tokens) + 1 == self.params.max_tokens:
                text, reason = text + self._stream.finish(cut_off=True), "length"
            if self._stream.stopped:
                reason = "stop"
            self.tokens.append(token)
        self._emit(text, reason)

    def _emit(self, text: str, reason: FinishReason | None) -> None:
        text, self._skip = text[self._skip :], max(self._skip - len(text), 0)
        if not text and not reason:
            return
        self._times[2] = perf_counter()
        new = slice(self._taken, len(self.tokens))
        logprobs = None if self.params.logprobs is None else tuple(self._logprobs[new])
        self.pieces.append(Piece(text, tuple(self.tokens[new]), reason, logprobs))
        self._taken = len(self.tokens)

    def restore(self) -> None:
        """Bring sampler and text stream back in line with the tokens, after an interruption between the two."""
        tokens, self.tokens = self.tokens, []
        self._chosen = 0
        self._begin()
        self._sampler = self._new_sampler()
        for token in tokens:
            self._sampler.follow(token)
            self._accept(token)
        self.stale = False

    def completion(self, echo: str) -> Completion:
        """The finished completion.

        Raises:
            NumericalError: or whatever else ended it.
            SantaCoderError: it was cancelled.
        """
        if self.error is not None:
            raise self.error
        if self.reason is None:
            raise SantaCoderError("the request was cancelled")
        start, first, end = self._times
        return Completion(
            text=echo + "".join(piece.text for piece in self.pieces),
            tokens=list(self.tokens),  # the caller's: the scheduler keeps its own
            finish_reason=self.reason,
            seed=self._key[0],
            usage=Usage(len(self.prompt), len(self.tokens)),
            timings=Timings(self._prompt_read(), first - start, max(self._chosen - 1, 0), end - first),
            logprobs=None if self.params.logprobs is None else self._logprobs[: len(self.tokens)],
        )
