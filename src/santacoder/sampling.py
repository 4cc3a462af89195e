"""Choosing the next token.

The steps and their order: `repetition_penalty` over prompt and generated tokens (as in CTRL and
transformers); `frequency_penalty` and `presence_penalty` over generated tokens (as OpenAI has them);
`logit_bias`; tokens that are never sampled, unless `any_token`. Then temperature 0 takes the largest logit
(ties: the lowest id); any other divides the logits, and top-k, top-p and min-p filter in this order what the
softmax gives:

- `top_k` keeps the k largest logits (ties: lower ids first); 0 is off.
- `top_p` keeps the fewest most probable tokens that hold this part of what top-k left, always one; 1 is off.
- `min_p` drops tokens that have less than this part of the largest probability; 0 is off.

Random bits come from Philox, a counter-based generator: its key is the seed, its counter the index of the
sample and the token's position in the sequence. So a token depends on these and its logits alone, never on
what ran before or beside it. A completion that goes on from another's tokens draws what the other would
have drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Final, SupportsIndex

import numpy as np
from numpy.random import Philox
from numpy.typing import NDArray

from santacoder import _isa
from santacoder._native import ffi, lib
from santacoder.arguments import check_integer, wrong
from santacoder.errors import NumericalError
from santacoder.float_state import default_float_state

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

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


class Sampler:
    """Chooses the tokens of one sample, one after the other."""

    @default_float_state()
    def __init__(
        self,
        params: SamplingParams,
        vocab_size: int,
        never_sampled: Sequence[int],
        seed: int,
        sample_index: int = 0,
        prompt: Sequence[int] = (),
    ) -> None:
        """Prepare for logits of `vocab_size` values that follow `prompt`; `check_tokens` has checked the parameters."""
        self._params = params
        self._random = RandomBits(seed, sample_index)
        self._position = len(prompt)
        self._isa = _isa.active()
        self._banned = np.asarray(never_sampled, dtype=np.intp)
        biases = dict(params.logit_bias or ())
        self._bias_ids = np.array(list(biases), dtype=np.intp)
        self._biases = np.array(list(biases.values()), dtype=np.float32)
        self._seen = np.zeros(vocab_size, dtype=np.bool_)  # in the prompt or generated
        self._seen[np.asarray(prompt, dtype=np.intp)] = True
        self._counts = np.zeros(vocab_size, dtype=np.float32)  # generated

    @default_float_state()
    def next(self, logits: NDArray[np.float32]) -> int:
        """The token for the next position, given its logits (V,), contiguous, which are used up.

        Raises:
            NumericalError: a logit is NaN or +infinity, or none is left.
        """
        self._adjust(logits)
        token = self._choose(logits)
        if token < 0:
            raise NumericalError(
                f"the logits of position {self._position} hold a NaN or an infinity, or all tokens are banned"
            )
        self.follow(token)
        return token

    def follow(self, token: int) -> None:
        """Take a token as chosen for the next position."""
        self._seen[token] = True
        self._counts[token] += 1
        self._position += 1

    def _adjust(self, logits: NDArray[np.float32]) -> None:
        """Penalties, biases and bans, in place."""
        params = self._params
        if params.repetition_penalty != 1.0:
            penalty = np.float32(params.repetition_penalty)
            ids = np.flatnonzero(self._seen)
            values = logits[ids]
            logits[ids] = np.where(values > 0, values / penalty, values * penalty)
        if params.frequency_penalty or params.presence_penalty:
            ids = np.flatnonzero(self._counts > 0)
            once = np.float32(params.presence_penalty)
            logits[ids] -= self._counts[ids] * np.float32(params.frequency_penalty) + once
        if self._bias_ids.size:
            logits[self._bias_ids] += self._biases
        logits[self._banned] = -np.inf

    def _choose(self, logits: NDArray[np.float32]) -> int:
        params = self._params
        n = logits.size
        logits_c: Any = ffi.from_buffer("float[]", logits, require_writable=True)
        if params.temperature == 0:
            return int(lib.sc_argmax(self._isa, logits_c, n))
        return int(
            lib.sc_sample(
                self._isa,
                logits_c,
                n,
                params.temperature,
                min(params.top_k, n),
                params.top_p,
                params.min_p,
                self._random.at(self._position),
            )
        )


class RandomBits:
    """64 uniform bits for each token of one sample: a counter-based generator whose counter is the position."""

    def __init__(self, seed: int, sample_index: int) -> None:
        self._philox = Philox(key=seed, counter=[0, 0, sample_index, 0])
        self._state = self._philox.state  # setting it takes a tenth of the time that a new generator takes

    def at(self, position: int) -> int:
        """The bits of one position, whatever was asked for before."""
        self._state["state"]["counter"][1] = position
        self._philox.state = self._state
        return int(self._philox.random_raw())


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


def check_tokens(params: SamplingParams, vocab_size: int) -> frozenset[int]:
    """Check logit_bias and stop_tokens against the vocabulary.

    Returns:
        The set of stop_tokens.

    Raises:
        InvalidRequestError: one of them names a token outside.
    """
    stops = _stop_tokens(params.stop_tokens)
    for name, tokens in ("logit_bias", dict(params.logit_bias or ())), ("stop_tokens", stops):
        for token in tokens:
            check_integer(f"a token id of {name}", token, 0, vocab_size - 1)
    return frozenset(stops)
