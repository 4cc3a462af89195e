"""The loop from prompt to text: token by token, with stop strings and whole characters."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from santacoder.errors import ContextOverflowError
from santacoder.sampling import Sampler, SamplingParams
from santacoder.tokenizer import StreamDecoder, Tokenizer

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a request: what the prompt became, and what was generated."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def total_tokens(self) -> int:
        """Both together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time went.

    Attributes:
        prompt_tokens: tokens run at once, before the first token was chosen.
        prompt_seconds: how long they took, the choice of the first token included.
        generation_tokens: tokens run one by one; the last token of a completion is never run.
        generation_seconds: how long they took.
    """

    prompt_tokens: int
    prompt_seconds: float
    generation_tokens: int
    generation_seconds: float

    @property
    def prompt_tokens_per_second(self) -> float:
        """Speed of reading the prompt."""
        return self.prompt_tokens / max(self.prompt_seconds, 1e-9)

    @property
    def generation_tokens_per_second(self) -> float:
        """Speed of generating."""
        return self.generation_tokens / max(self.generation_seconds, 1e-9)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a streamed completion: text that is final, and the tokens generated since the last piece."""

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason | None


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished completion.

    Attributes:
        text: the generated text, up to a stop string and without it; with echo, after the prompt's.
        tokens: all generated tokens, those of a stop string included, the one that ends the text not.
        finish_reason: "stop" for a stop string or the end of text, "length" for max_tokens.
        seed: what the random bits were drawn with; the same seed and prompt give the same completion.
        usage: token counts.
        timings: seconds and speeds.
        logprobs: always None for now.
    """

    text: str
    tokens: list[int]
    finish_reason: FinishReason
    seed: int
    usage: Usage
    timings: Timings
    logprobs: None = None


class Engine(Protocol):
    """What generation needs of a model; `Transformer` describes both methods."""

    @property
    def context(self) -> int: ...
    def new_cache(self) -> Any: ...
    def forward(
        self, tokens: Sequence[int], cache: Any, outputs: Literal["last", "all"] = "last"
    ) -> NDArray[np.float32]: ...


class StopFilter:
    """Passes text on until a stop string appears, and holds back what could be the start of one.

    The stop string that is complete first counts (of several, the longest), so the result does not depend on
    how the text was cut into tokens.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """The part of all text so far that is now known to be final and was not returned before."""
        held = self._held + text
        found = [(at + len(stop), at) for stop in self._stops if (at := held.find(stop)) >= 0]
        if found:
            self.stopped = True
            self._held = ""
            return held[: min(found)[1]]
        cut = len(held) - max((_overlap(held, stop) for stop in self._stops), default=0)
        self._held = held[cut:]
        return held[:cut]

    def flush(self) -> str:
        """What is still held back: no more text comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` with which `stop`, longer, starts."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


class TextStream:
    """From tokens to final text: whole characters, and nothing of a stop string."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str]) -> None:
        self._decoder = StreamDecoder(tokenizer)
        self._filter = StopFilter(stops)

    @property
    def stopped(self) -> bool:
        """Whether a stop string appeared."""
        return self._filter.stopped

    def feed(self, token: int) -> str:
        """The text that became final with this token."""
        return self._filter.feed(self._decoder.feed(token))

    def finish(self) -> str:
        """The rest: no more tokens come."""
        return self._filter.feed(self._decoder.flush()) + self._filter.flush()


def check_context(prompt_tokens: int, max_tokens: int, context: int) -> None:
    """Check that a request fits.

    Raises:
        ContextOverflowError: it needs more positions than there are.
    """
    if prompt_tokens + max_tokens > context:
        raise ContextOverflowError(
            f"the prompt has {prompt_tokens} tokens and max_tokens is {max_tokens}, together "
            f"{prompt_tokens + max_tokens}, but the context has {context} positions"
        )


def generate(
    engine: Engine, tokenizer: Tokenizer, prompt: Sequence[int], params: SamplingParams, echo: str = ""
) -> Generator[Piece, None, Completion]:
    """Start a completion of `prompt`, at least one token; nothing runs before the first piece is asked for.

    Args:
        engine: runs the model.
        tokenizer: of the same model.
        prompt: (T,) ids within the vocabulary.
        params: how to sample and when to end.
        echo: text of the first piece, before anything is generated; "" for none.

    Returns:
        A generator of pieces, which may be closed at any time and returns the completion at its end.

    Raises:
        ContextOverflowError: the prompt and max_tokens do not fit.
        InvalidRequestError: logit_bias names a token outside the vocabulary.
    """
    check_context(len(prompt), params.max_tokens, engine.context)
    seed = secrets.randbits(64) if params.seed is None else params.seed
    sampler = Sampler(params, tokenizer.vocab_size, tokenizer.never_sampled, seed, prompt=prompt)
    return _pieces(engine, tokenizer, prompt, params, sampler, seed, echo)


def _pieces(
    engine: Engine,
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    params: SamplingParams,
    sampler: Sampler,
    seed: int,
    echo: str,
) -> Generator[Piece, None, Completion]:
    stream = TextStream(tokenizer, params.stop)
    ends = frozenset() if params.ignore_eos else tokenizer.end_ids
    texts = [echo]
    tokens: list[int] = []
    sent = 0  # of tokens, in pieces
    steps: list[float] = []  # seconds
    reason: FinishReason | None = None
    if echo:
        yield Piece(echo, (), None)
    cache = engine.new_cache()
    run: Sequence[int] = prompt
    while reason is None:
        begin = perf_counter()
        token = sampler.next(engine.forward(run, cache, "last")[0])
        run = (token,)
        if token in ends:
            text, reason = stream.finish(), "stop"
        else:
            tokens.append(token)
            text = stream.feed(token)
            if not stream.stopped and len(tokens) == params.max_tokens:
                text, reason = text + stream.finish(), "length"
            if stream.stopped:
                reason = "stop"
        steps.append(perf_counter() - begin)
        if text or reason:
            texts.append(text)
            yield Piece(text, tuple(tokens[sent:]), reason)
            sent = len(tokens)
    return Completion(
        text="".join(texts),
        tokens=tokens,
        finish_reason=reason,
        seed=seed,
        usage=Usage(len(prompt), len(tokens)),
        timings=Timings(len(prompt), steps[0], len(steps) - 1, sum(steps[1:])),
    )


def finish(pieces: Generator[Piece, None, Completion]) -> Completion:
    """Run a completion to its end."""
    try:
        while True:
            next(pieces)
    except StopIteration as end:
        completion: Completion = end.value
        return completion
