"""How to choose tokens and when to end: the options of a request, checked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Final, SupportsIndex, TypedDict

import numpy as np

from santacoder._util.validation import check_integer, wrong
from santacoder.errors import ContextOverflowError


class SamplingOptions(TypedDict, total=False):
    """The keywords of `SantaCoder.complete`; `SamplingParams` has their defaults and checks them."""

    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    frequency_penalty: float
    presence_penalty: float
    logit_bias: Mapping[int, float] | None
    stop: str | Sequence[str]
    stop_tokens: int | Sequence[int]
    seed: int | None
    echo: bool
    ignore_eos: bool
    any_token: bool
    deadline: float | tuple[float, float] | None
    logprobs: int | None
    lookup: bool


MAX_SEED: Final = (1 << 64) - 1
MAX_BIAS: Final = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How to choose tokens and when to end; every value is checked here and nowhere else.

    Attributes:
        max_tokens: most tokens to generate, at least 1.
        temperature: 0 or more; 0 is greedy.
        top_k: 0 (off) or more.
        top_p: 0..1; 1 is off.
        min_p: 0..1; 0 is off.
        repetition_penalty: 0.01..100; above 1 discourages tokens of the prompt and the text so far.
        frequency_penalty: -2..2, taken off for each time that a token was generated.
        presence_penalty: -2..2, taken off once for every token that was generated.
        logit_bias: by token id, -100..100, added to its logit; kept as pairs.
        stop: texts that end the completion; one string is one text.
        stop_tokens: token ids that end the completion; one id is one token.
        seed: 0..2^64-1, or None to draw one.
        echo: begin the text with the prompt.
        ignore_eos: the end of text is a token like any other.
        any_token: so are markers of an infilling prompt, padding rows and unused tokens, which else are never chosen.
        deadline: seconds for prompt and completion together, or a pair: for the prompt, for both; None is no limit.
        logprobs: how many of the most probable tokens to name with each token; None is off.
        lookup: guess tokens from earlier places of the text; changes the speed alone.

    Raises:
        InvalidRequestError: a value is of a wrong type or out of range.
    """

    max_tokens: int = 128
    temperature: float = 0.2
    top_k: int = 0
    top_p: float = 0.95
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] | Sequence[tuple[int, float]] | None = None
    stop: str | Sequence[str] = ()
    stop_tokens: int | Sequence[int] = ()
    seed: int | None = None
    echo: bool = False
    ignore_eos: bool = False
    any_token: bool = False
    deadline: float | tuple[float, float] | None = None
    logprobs: int | None = None
    lookup: bool = True

    def __post_init__(self) -> None:
        self._set("max_tokens", check_integer("max_tokens", self.max_tokens, 1, None))
        self._set("temperature", _number("temperature", self.temperature, 0.0, math.inf))
        self._set("top_k", check_integer("top_k", self.top_k, 0, None))
        self._set("top_p", _number("top_p", self.top_p, 0.0, 1.0))
        self._set("min_p", _number("min_p", self.min_p, 0.0, 1.0))
        self._set("repetition_penalty", _number("repetition_penalty", self.repetition_penalty, 0.01, 100.0))
        self._set("frequency_penalty", _number("frequency_penalty", self.frequency_penalty, -2.0, 2.0))
        self._set("presence_penalty", _number("presence_penalty", self.presence_penalty, -2.0, 2.0))
        self._set("logit_bias", _biases(self.logit_bias))
        self._set("stop", _stops(self.stop))
        self._set("stop_tokens", _stop_tokens(self.stop_tokens))
        self._set("seed", None if self.seed is None else check_integer("seed", self.seed, 0, MAX_SEED))
        self._set("echo", _flag("echo", self.echo))
        self._set("ignore_eos", _flag("ignore_eos", self.ignore_eos))
        self._set("any_token", _flag("any_token", self.any_token))
        self._set("deadline", _deadline(self.deadline))
        self._set("logprobs", None if self.logprobs is None else check_integer("logprobs", self.logprobs, 0, 100))
        self._set("lookup", _flag("lookup", self.lookup))

    @property
    def deadlines(self) -> tuple[float, float]:
        """Seconds for the prompt and for prompt and completion together; infinite where there is no limit."""
        if self.deadline is None:
            return math.inf, math.inf
        return self.deadline if isinstance(self.deadline, tuple) else (self.deadline, self.deadline)

    @property
    def stop_ids(self) -> frozenset[int]:
        """The set of `stop_tokens`."""
        return frozenset(_stop_tokens(self.stop_tokens))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


def _number(name: str, value: object, low: float, high: float) -> float:
    limit = f"a number in {low:g}..{high:g}" if high < math.inf else f"a finite number of {low:g} or more"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise wrong(name, value, limit)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (low <= number <= high and math.isfinite(number)):
        raise wrong(name, value, limit)
    return number


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise wrong(name, value, "True or False")
    return value


def _deadline(value: object) -> float | tuple[float, float] | None:
    if value is None:
        return None
    if isinstance(value, tuple):
        if len(value) != 2:
            raise wrong("deadline", value, "seconds, or a pair of seconds: for the prompt, and for all")
        return (_number("deadline[0]", value[0], 0.0, math.inf), _number("deadline[1]", value[1], 0.0, math.inf))
    return _number("deadline", value, 0.0, math.inf)


def _stops(stop: object) -> tuple[str, ...]:
    texts = (stop,) if isinstance(stop, str) else stop
    if isinstance(texts, Sequence) and all(isinstance(text, str) and text for text in texts):
        return tuple(texts)
    raise wrong("stop", stop, "a text or a list of texts, none of them empty")


def _stop_tokens(value: object) -> tuple[int, ...]:
    tokens = value.tolist() if isinstance(value, np.ndarray) else value
    if isinstance(tokens, SupportsIndex):
        tokens = (tokens,)
    if not isinstance(tokens, Iterable) or isinstance(tokens, str | bytes):
        raise wrong("stop_tokens", value, "a token id or a list of token ids")
    return tuple(check_integer("a token id of stop_tokens", token, 0, None) for token in tokens)


def _biases(value: object) -> tuple[tuple[int, float], ...]:
    pairs = () if value is None else value.items() if isinstance(value, Mapping) else value
    if not isinstance(pairs, Iterable) or isinstance(pairs, str):
        raise wrong("logit_bias", value, "a mapping from token ids to numbers")
    biases = []
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise wrong("logit_bias", value, "a mapping from token ids to numbers")
        token = check_integer("a token id of logit_bias", pair[0], 0, None)
        biases.append((token, _number(f"logit_bias[{token}]", pair[1], -MAX_BIAS, MAX_BIAS)))
    return tuple(biases)


def check_tokens(params: SamplingParams, vocab_size: int) -> None:
    """Check logit_bias and stop_tokens against the vocabulary.

    Raises:
        InvalidRequestError: one of them names a token outside.
    """
    for name, tokens in (
        ("logit_bias", dict(params.logit_bias or ())),
        ("stop_tokens", _stop_tokens(params.stop_tokens)),
    ):
        for token in tokens:
            check_integer(f"a token id of {name}", token, 0, vocab_size - 1)


def check_context(max_tokens: int, context: int, prompt_tokens: int, at_least: bool = False) -> None:
    """Check that a request fits; `at_least` says that the prompt may have more tokens than that.

    Raises:
        ContextOverflowError: it needs more positions than there are.
    """
    least = "at least " if at_least else ""
    if max_tokens == 0 and prompt_tokens > context:
        raise ContextOverflowError(
            f"the prompt has {least}{prompt_tokens} tokens, but the context has {context} positions"
        )
    if prompt_tokens + max_tokens > context:
        raise ContextOverflowError(
            f"the prompt has {least}{prompt_tokens} tokens and max_tokens is {max_tokens}, together "
            f"{least}{prompt_tokens + max_tokens}, but the context has {context} positions"
        )


def check_scored(context: int, tokens: int, at_least: bool = False) -> None:
    """Check that a text to be scored fits; its last token is predicted but not read, so it needs no position.

    `at_least` is as in `check_context`.

    Raises:
        ContextOverflowError: it needs more positions than there are.
    """
    if tokens - 1 > context:
        least = "at least " if at_least else ""
        raise ContextOverflowError(
            f"the prompt has {least}{tokens} tokens, but at most {context + 1} can be scored: the context "
            f"has {context} positions, and the last token needs none"
        )
