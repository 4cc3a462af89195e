"""A request in flight: one sample on its way from prompt to text."""

from __future__ import annotations

import enum
from collections import abc
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from santacoder.decoding.checked_request import CheckedRequest
from santacoder.decoding.clock import Clock
from santacoder.decoding.hooks import Held, process_logits, wants_to_stop
from santacoder.decoding.logprobs import TokenLogprobs, token_logprobs
from santacoder.decoding.request_guesses import RequestGuesses
from santacoder.decoding.results import Completion, FinishReason, Piece, Usage
from santacoder.decoding.sampler import Sampler, next_tokens
from santacoder.engine.kv_cache import KV_BLOCK, KVCache
from santacoder.errors import SantaCoderError
from santacoder.prefixes.loading import Loading
from santacoder.text.stream import TextStream, token_texts
from santacoder.text.token_ids import TokenIds


class State(enum.Enum):
    """How far a sequence has come."""

    WAITING = enum.auto()  # for its turn
    RUNNING = enum.auto()  # steps of the model may be at work for it
    HELD = enum.auto()  # no step is at work for it before its hooks have been asked
    FINISHED = enum.auto()  # its text has ended, for the reason that its last piece names
    FAILED = enum.auto()  # `error` ended it
    CANCELLED = enum.auto()  # nobody waits for it any more


class Owner(Protocol):
    """A call of the library that waits for sequences.

    Attributes:
        owner: the thread, by its identifier.
        done: whether it has what it waits for.
        single: the only sequence of a thread that asks its hooks itself.
    """

    owner: int
    single: Sequence | None
    done: Callable[[], bool]

    def advanced(self, sequence: Sequence) -> None:
        """Note that a step has chosen tokens of a sequence, or found none."""

    def end(self, sequence: Sequence) -> None:
        """Note that a sequence has ended."""

    def wake(self) -> None:
        """End its sleep, if it sleeps."""


class Sequence:
    """Number `index` of the samples of a request. Its tokens depend on prompt, seed and index only.

    A step may be interrupted anywhere. So each fact is stored once and changed by one statement: `state` is derived
    from these, and `restore` rebuilds what follows from the tokens (the sampler's counts, the text's filters).

    Attributes:
        request: what all samples of the prompt have in common.
        cache: keys and values of its first tokens; None before its turn comes.
        pieces: what became final so far; the last one says why the text ended, once it has.
        error: the exception that ended it instead.
        cancelled: nobody waits for it any more.
        held: what its hooks have to be asked about, before steps go on for it.
        loading: what is being read from the disk into its cache, before steps begin for it.
        reused: tokens of the prompt that the cache held before it ran.
        call: the call that waits for it; None before it is submitted and after it ended.
        follows: another of the same prompt, in place of a cache, and how many of their tokens are known to be the same;
            see batching/alike.py.
        kind: sequences of one kind choose from one distribution where they have the same tokens; set when it begins.
        stale: an interruption may have left the choice of a token half done: see `restore`.
        guesses: what its draft tokens come from.
    """

    def __init__(self, request: CheckedRequest, seed: int, index: int = 0) -> None:
        """Prepare sample number `index` of a request."""
        self.request = request
        self.cache: KVCache | None = None
        self.pieces: list[Piece] = []
        self.error: BaseException | None = None
        self.cancelled = False
        self.held: Held | None = None
        self.loading: Loading | None = None
        self.call: Owner | None = None
        self.stale = False
        self.guesses = RequestGuesses(request)
        self.follows: tuple[Sequence, int] | None = None
        self.kind: Hashable = None
        self._key = seed, index
        self._end_ids, self._stop_ids = request.end_ids, request.params.stop_ids
        self._ids = request.token_ids  # once it runs: with room for generated tokens and drafts
        self._generated = 0
        self._most = request.params.max_tokens + request.taken  # tokens to generate, for which the context has room
        self._logprobs: list[TokenLogprobs] = []  # of tokens, and perhaps of the one that ended the text
        self._clock = Clock(request.params.deadlines)
        self._borrowed = False  # whether the cache is somebody else's
        self.reused = 0
        self._read = 0  # tokens of the prompt that were run
        self._chosen = 0
        self._shown = 0  # pieces that `stopping` has seen
        self._sampler: Sampler | None = None  # only while it runs: it takes memory
        self._taken = self._skip = 0  # see `_begin_text`
        self._owed, self._repaid = b"", 0
        self._end_token: int | None = None
        self._begin_text()

    @property
    def state(self) -> State:
        """How far it has come."""
        if self.error is not None:
            return State.FAILED
        if self.finish_reason is not None:
            return State.FINISHED
        if self.cancelled:
            return State.CANCELLED
        if self.held is not None:
            return State.HELD
        return State.WAITING if self._sampler is None else State.RUNNING

    @property
    def ended(self) -> bool:
        """Whether nothing is to be done for it any more: also told when the interpreter ends and `State` is gone."""
        return self.error is not None or self.finish_reason is not None or self.cancelled

    @property
    def in_batch(self) -> bool:
        """Whether steps of the model may be at work for it, also after its end."""
        return self._sampler is not None

    @property
    def is_running(self) -> bool:
        """Whether steps of the model go on for it."""
        return self.in_batch and not self.ended

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why its text ended; None while it goes on."""
        return self.pieces[-1].finish_reason if self.pieces else None

    @property
    def prompt(self) -> TokenIds:
        """(T,) int32: the prompt."""
        return self.request.token_ids

    @property
    def generated(self) -> int:
        """Tokens generated so far; one of `params.stop_tokens` is counted, an end of text is not."""
        return self._generated

    @property
    def token_ids(self) -> TokenIds:
        """(N,) int32: the prompt and what was generated, without a copy."""
        return self._ids[: self.prompt.size + self._generated]

    @property
    def tokens(self) -> list[int]:
        """The generated tokens."""
        tokens: list[int] = self.token_ids[self.prompt.size :].tolist()
        return tokens

    @property
    def usage(self) -> Usage:
        """The counts of its tokens so far, as its caller knows them: without what token healing does to them."""
        return Usage(self.prompt.size + self.request.taken, self._generated - self._repaid)

    @property
    def reads_from(self) -> int:
        """The first position of the prompt that runs even if a cache holds it: its logits are needed."""
        last, scores = self.prompt.size - 1, self.request.scores
        return last if scores is None else min(last, scores.rows)

    @property
    def blocks(self) -> int:
        """Most kv_blocks that it will take."""
        return -(-(self.prompt.size + self._most) // KV_BLOCK)

    # The life of a sequence: queued, in the batch, out of it.

    def start_clock(self) -> None:
        """Measure times and deadlines from here."""
        self._clock.start()

    def borrow(self, cache: KVCache) -> None:
        """Use a cache that holds a prefix of the prompt and belongs to somebody else; `release` does not return it."""
        self.cache = cache
        self._borrowed = True

    def use(self, cache: KVCache) -> None:
        """Run from now on, with a cache that holds a prefix of the prompt."""
        cache.truncate(min(len(cache), self.reads_from))
        self.follows = None
        self.cache = cache
        self.reused = len(cache)
        self._begin()

    @property
    def is_loading(self) -> bool:
        """Whether it, or the one that it follows, waits for the disk."""
        return (self if self.follows is None else self.follows[0]).loading is not None

    def take_loaded(self) -> None:
        """Go on with what was read from the disk."""
        loading, cache = self.loading, self.cache
        if loading is not None and loading.blocks and cache is not None:
            cache.adopt(loading.first, loading.blocks)
            cache.truncate(min(len(cache), self.reads_from))
            self.reused = len(cache)
        self.loading = None

    def follow(self, leader: Sequence) -> None:
        """Run from now on, while tokens are the same, with another that has read no more than the same prompt."""
        self.follows = leader, 0
        self.reused = self.prompt.size
        self._begin()

    def lead(self, cache: KVCache) -> None:
        """Go on with a cache of its own, which holds some of its first tokens."""
        self.cache = cache
        self.reused = min(self.reused, len(cache))
        self.follows = None

    def _begin(self) -> None:
        prompt, params = self.prompt, self.request.params
        self.kind = params.choice, params.max_tokens == 0, params.logprobs is None, self.request.owed
        self._ids = np.empty(prompt.size + self._most, dtype=np.int32)
        self._ids[: prompt.size] = prompt
        self._sampler = self._new_sampler()

    def release(self) -> KVCache | None:
        """Free what takes memory, after its end.

        Returns:
            Its cache, unless it was borrowed.
        """
        self._sampler = self.follows = None
        if self.loading is not None:
            self.loading.unwanted = True
            self.loading = None
        self._read = self._prompt_read()
        if self.cache is not None:  # the place of the last token may hold a draft token that was not chosen
            known = self.prompt.size + max(self._generated - 1, 0)
            self.cache.truncate(min(len(self.cache), known))
        if self._borrowed:
            return None
        cache, self.cache = self.cache, None
        return cache

    def _prompt_read(self) -> int:
        """Return how many tokens of the prompt were run so far."""
        cache = self.cache  # read only once: the leader may release it meanwhile
        return self._read if cache is None else min(len(cache), self.prompt.size) - self.reused

    @property
    def sampler(self) -> Sampler:
        """What chooses its tokens, while it runs."""
        assert self._sampler is not None
        return self._sampler

    def _new_sampler(self) -> Sampler:
        request = self.request
        size, never = request.tokenizer.vocab_size, request.never_sampled
        return Sampler(request.params, size, never, *self._key, prompt=request.token_ids)

    # Deadlines.

    @property
    def has_deadline(self) -> bool:
        """Whether it has a deadline."""
        return self._clock.has_deadline

    @property
    def time_left(self) -> float:
        """Seconds until its deadline."""
        return self._clock.time_left(in_prompt=not self._generated)

    @property
    def expired(self) -> bool:
        """Whether its deadline has passed."""
        return self.time_left < 0

    def expire(self) -> None:
        """End with the text so far, or with the error of looking it up in an index."""
        try:
            self._end_early()
        except SantaCoderError as error:
            self.error = error

    def _end_early(self) -> None:
        if self.stale and self._sampler is not None:
            self.restore()
            if self.ended:
                return
        text = self._stream.finish(cut_off=True)
        self._emit(text, self._stop_reason if self._stream.stopped else "deadline")

    # Steps: what to run next, and the tokens that the logits choose.

    def pending(self, room: int, beside: int | None) -> tuple[TokenIds, int]:
        """Return the next tokens to run, at most `room`, and for how many of them, at the end, logits are needed.

        In the middle of the prompt none are needed. Draft tokens may follow the last known token, if `beside` is the
        number of rows that others have in the step.
        """
        assert self.cache is not None
        known = self.prompt.size + self._generated
        self.cache.truncate(min(len(self.cache), known - 1 if self._generated else self.reads_from))
        done = len(self.cache)
        if known - done > room:
            return self._ids[done : done + room], 0
        drafted = 0
        if beside is not None and self._generated and known - done == 1 and known >= self.guesses.look_at:
            drafted = self.guesses.draft(self._ids, known, min(room, self._left) - 1, beside)
        return self._ids[done : known + drafted], 1 + drafted

    @property
    def has_hooks(self) -> bool:
        """Whether functions of the caller are asked before its tokens are chosen."""
        return self.request.params.has_hooks and self.request.params.max_tokens > 0

    @property
    def may_share(self) -> bool:
        """Whether others with the same prompt may use its logits and its cache."""
        return not (self._borrowed or self.has_hooks or self.request.scores)

    @property
    def asks_itself(self) -> bool:
        """Whether the thread that waits for it asks its hooks."""
        call = self.call  # read only once: a request that is given up loses it
        return call is not None and call.single is self

    def advance(
        self,
        logits: NDArray[np.float32],
        draft_ids: abc.Sequence[int] = (),
        guard: AbstractContextManager[Any] | None = None,
        alike: abc.Sequence[Sequence] = (),
    ) -> None:
        """Choose tokens from the logits (1 + draft tokens, V) that follow the last known token and each draft token.

        The logits are overwritten. Where no tokens are wanted, this ends the sequence. Hooks are asked without the
        `guard`; with it, results are noted, unless the sequence has ended meanwhile. `alike` are others
        of its kind, without hooks, that have the same tokens so far: each chooses for itself.

        Raises:
            NumericalError: logits are not finite.
            HookError: a hook failed.
        """
        choosing = [self, *alike]
        if not self.request.params.max_tokens:
            for each in choosing:
                each._clock.note_first()
                each._emit("", "length")
            return
        guard = nullcontext() if guard is None else guard
        right = 0
        for row, draft_id in zip(logits, (*draft_ids, None), strict=True):
            adjusted = self._processed(row)
            with guard:
                choosing = [each for each in choosing if not each.ended]
                if not choosing:
                    break
                tokens = _choose(choosing, row, adjusted)
            self._ask_to_stop(guard)
            choosing = [each for each, token in zip(choosing, tokens, strict=True) if token == draft_id]
            if not choosing:
                break
            right += self in choosing
        if draft_ids:
            self.guesses.learn(len(draft_ids), right)

    def _processed(self, row: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits (V,) to choose a token from, which may be overwritten."""
        params = self.request.params
        if params.logits_processor is not None:
            return process_logits(params.logits_processor, self.token_ids, row)
        return row if params.logprobs is None else row.copy()

    def _ask_to_stop(self, guard: AbstractContextManager[Any]) -> None:
        """End with the text so far, if it has grown and the caller's function says so."""
        stopping, pieces = self.request.params.stopping, len(self.pieces)
        if stopping is None or pieces == self._shown or self.ended:
            return
        self._shown = pieces
        if wants_to_stop(stopping, "".join(piece.text for piece in self.pieces)):
            with guard:
                if not self.ended:
                    self._emit("", "stop")

    def _note(self, row: NDArray[np.float32], token: int) -> None:
        """Keep the log-probabilities of the token for the next position, if they were asked for."""
        k = self.request.params.logprobs
        if k is not None:
            position = self.prompt.size + self._generated - 1
            self._logprobs[self._generated :] = [token_logprobs(row, token, k, position)]

    def _accept(self, token: int) -> None:
        request = self.request
        reason: FinishReason | None = None
        self._chosen += 1
        if self._chosen == 1:
            self._clock.note_first()
        data = request.tokenizer.token_bytes(token)
        owed = min(len(self._owed), len(data))
        self._owed = self._owed[owed:]
        repays = 0 < owed == len(data)  # and nothing else
        if token in self._end_ids and not repays:
            text, reason, self._end_token = self._stream.finish(), "stop", token
            if token in self._stop_ids:
                self._append(token)
        else:
            text = self._stream.feed(data[owed:])
            self._append(token)
            self._repaid += repays
            if not self._stream.stopped and self._left == 0:
                text, reason = text + self._stream.finish(cut_off=True), "length"
        if self._stream.stopped:
            reason = self._stop_reason
        self._emit(text, reason)

    @property
    def _stop_reason(self) -> FinishReason:
        """Why a filter ended the text."""
        return cast("FinishReason", self._stream.stop_reason)

    @property
    def _left(self) -> int:
        """Tokens that may still be generated."""
        return min(self.request.params.max_tokens + self._repaid, self._most) - self._generated

    def _append(self, token: int) -> None:
        self._ids[self.prompt.size + self._generated] = token
        self._generated += 1

    def _emit(self, text: str, reason: FinishReason | None) -> None:
        text, self._skip = text[self._skip :], max(self._skip - len(text), 0)
        if not text and not reason:
            return
        self._clock.note_last()
        first = self.prompt.size
        tokens = tuple(self._ids[first + self._taken : first + self._generated].tolist())
        keep = self.request.params.logprobs is not None
        logprobs = tuple(self._logprobs[self._taken : self._generated]) if keep else None
        attribution = None
        if reason and self.request.enclosing is not None:
            attribution = self.request.attribution("".join(piece.text for piece in self.pieces) + text)
        self.pieces.append(Piece(text, tokens, reason, logprobs, attribution=attribution))
        self._taken = self._generated

    def _begin_text(self) -> None:
        """Begin the text at the first token again, and skip what is out already."""
        request = self.request
        self._owed = request.owed  # bytes that the tokens to come have to begin with
        self._repaid = 0  # tokens that hold nothing but bytes that were owed
        self._end_token = None  # the token that ended the text
        self._stream = TextStream(request.tokenizer, request.filters(request.params.stop_texts))
        self._taken = sum(len(piece.tokens) for piece in self.pieces)  # tokens in pieces
        self._skip = sum(len(piece.text) for piece in self.pieces)  # characters in pieces

    def restore(self) -> None:
        """Bring sampler and text stream back in line with the tokens, after an interruption between the two.

        Where the text cannot be looked up in an index again, that is the error that ends it.
        """
        tokens = self.tokens
        self._generated = self._chosen = 0
        try:
            self._begin_text()
            self._sampler = self._new_sampler()
            self.guesses.forget_text()
            for token in tokens:
                self.sampler.follow(token)
                self._accept(token)
        except SantaCoderError as error:
            self.error = error
        self.stale = False

    # What callers get.

    def opening(self, scored: bool) -> list[Piece]:
        """Return the piece that comes before all others, if there is one: of a scored prompt once that was read."""
        request, scores = self.request, self.request.scores
        if scored is (scores is None) or not (request.echo or scores):
            return []
        entries = None if scores is None else (*scores.entries,)
        return [Piece(request.echo, (), None, None if request.params.logprobs is None else (), entries)]

    def delivered(self, at: int) -> list[Piece]:
        """Return piece number `at` as callers get it: after the opening, and the last one with the completion."""
        piece = self.pieces[at]
        if piece.finish_reason:
            piece = replace(piece, completion=self.completion())
        return [piece] if at else [*self.opening(scored=True), piece]

    def completion(self) -> Completion:
        """Return the finished completion.

        Raises:
            NumericalError: or any other exception that ended it.
            SantaCoderError: it was cancelled.
        """
        if self.error is not None:
            raise self.error
        if self.finish_reason is None:
            raise SantaCoderError("the request was cancelled")
        tokens, scores, attribution = self.tokens, self.request.scores, self.pieces[-1].attribution
        keeps = self.request.params.logprobs is not None
        ends = keeps and self._end_token is not None and self._end_token not in self._stop_ids
        completion = Completion(
            text=self.request.echo + "".join(piece.text for piece in self.pieces),
            tokens=tokens,
            finish_reason=self.finish_reason,
            seed=self._key[0],
            usage=self.usage,
            timings=self._clock.timings(self._prompt_read(), self._chosen, self.reused),
            logprobs=self._logprobs[: len(tokens)] if keeps else None,
            healed=self.request.taken,
            dropped=self.request.dropped,
            prompt_logprobs=None if scores is None else [*scores.entries],
            end_token=self._end_token,
            end_logprobs=self._logprobs[len(tokens)] if ends else None,
            stop_text=self._stream.stop_text,
            attribution=None if attribution is None else list(attribution),
        )
        if completion.logprobs is None:
            return completion
        return completion.with_parts(
            len(self.request.echo), token_texts(self.request.tokenizer, tokens, len(self.request.owed))
        )


def _choose(alike: list[Sequence], row: NDArray[np.float32], adjusted: NDArray[np.float32]) -> list[int]:
    """Choose a token for each, given the model's logits and those that a processor has changed."""
    first = alike[0]
    agreeing = first.request.tokenizer.table.agreeing(first._owed) if first._owed else None
    tokens = next_tokens([sequence.sampler for sequence in alike], adjusted, agreeing)
    for sequence, token in zip(alike, tokens, strict=True):
        sequence._note(row, token)
        sequence._accept(token)
    return tokens
