"""Generating as a `GenerationConfig` says."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from santacoder._util.validation import check_integer, invalid_argument
from santacoder.decoding.options import SamplingOptions
from santacoder.decoding.results import Completion
from santacoder.errors import InvalidRequestError, SantaCoderError
from santacoder.hf.generation_config import GenerationConfig
from santacoder.hf.output import GenerateOutput
from santacoder.hf.processors import Scores
from santacoder.hf.row_hook import Hooks, RowHook
from santacoder.hf.tensors import Kind, as_kind
from santacoder.model import SantaCoder
from santacoder.requests import Request, sampling_params

NEW_TOKENS: Final = 20  # without max_new_tokens and max_length, as in transformers
#: What acts on sampling only, and the values of which transformers does not warn without it.
_SAMPLING: Final[Mapping[str, object]] = {"temperature": 1.0, "top_k": 50, "top_p": 1.0, "min_p": None}


def new_tokens(config: GenerationConfig, length: int, longest: int, context: int) -> int:
    """Return how many tokens to generate.

    Args:
        config: the request.
        length: tokens of the padded prompts.
        longest: tokens of the longest prompt without padding.
        context: the model's.

    Raises:
        InvalidRequestError: max_length leaves no room, or either is not a positive integer.
    """
    if config.max_new_tokens is not None:
        return check_integer("max_new_tokens", config.max_new_tokens, 1, None)
    if config.max_length is None:
        return max(1, min(NEW_TOKENS, context - longest))
    room = check_integer("max_length", config.max_length, 1, None) - length
    if room < 1:
        raise InvalidRequestError(
            f"max_length is {config.max_length}, but the prompt already has {length} tokens: set max_new_tokens"
        )
    return room


def sampling_options(
    config: GenerationConfig, ends: Sequence[int], max_tokens: int, seed: int | None, hooked: bool
) -> SamplingOptions:
    """Convert the request to keywords of `SantaCoder.complete`; with hooks, these apply the repetition penalty.

    Raises:
        InvalidRequestError: several sequences without sampling, sampling at temperature 0, or an option of a wrong type
            or out of range.
    """
    count = sequences(config)
    options: SamplingOptions = {
        "max_tokens": max_tokens,
        "repetition_penalty": config.repetition_penalty,
        "stop": config.stop_strings,
        "stop_tokens": ends,
        "ignore_eos": True,  # `ends` includes the end of text where it is wanted
        "any_token": True,
        "seed": seed,
    }
    if config.do_sample:
        if config.temperature == 0:
            raise InvalidRequestError("temperature is 0, but sampling needs one above 0: use do_sample=False")
        options["temperature"] = _or(config.temperature, 1.0)
        options["top_k"] = config.top_k
        options["top_p"] = _or(config.top_p, 1.0)
        options["min_p"] = config.min_p
    else:
        if count > 1:
            raise InvalidRequestError(f"num_return_sequences is {count}, but without do_sample all would be equal")
        for name, neutral in _SAMPLING.items():
            if getattr(config, name) not in (neutral, None):
                warnings.warn(f"{name} has no effect without do_sample=True", stacklevel=3)
        options["temperature"] = 0
    sampling_params(options)
    if hooked:
        del options["repetition_penalty"]
    return options


def sequences(config: GenerationConfig) -> int:
    """Return how many sequences to generate for each prompt.

    Raises:
        InvalidRequestError: the number is not a positive integer.
    """
    return check_integer("num_return_sequences", _or(config.num_return_sequences, 1), 1, None)


def end_time(config: GenerationConfig) -> float:
    """Return when generation ends, by the clock of `monotonic`; infinity without a limit.

    Raises:
        InvalidRequestError: max_time is not a number of 0 or more.
    """
    seconds = config.max_time
    if seconds is None:
        return math.inf
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        raise invalid_argument("max_time", seconds, "a number of 0 or more")
    return monotonic() + seconds


def end_tokens(value: int | Iterable[int] | None, default: Iterable[int], vocab_size: int) -> list[int]:
    """Return the tokens that end a sequence.

    Raises:
        InvalidRequestError: one is not in the vocabulary.
    """
    if value is None:
        return list(default)
    tokens = value if isinstance(value, Iterable) else [value]
    return [check_integer("eos_token_id", token, 0, vocab_size - 1) for token in tokens]


@dataclass
class Row:
    """One row of the result.

    Attributes:
        healed: how many tokens at the end of its prompt it replaces.
        tokens: what was generated.
        scores, logits: (V,) for each of the tokens, if they are kept.
    """

    healed: int
    tokens: list[int]
    scores: Sequence[Scores] = ()
    logits: Sequence[Scores] = ()


class Generation:
    """The rows of one call of `generate`."""

    def __init__(
        self,
        model: SantaCoder,
        ids: NDArray[np.int64],
        mask: NDArray[np.bool_],
        options: SamplingOptions,
        hooks: Hooks,
        ends_at: float,
    ) -> None:
        """Take the prompts, ids (B, T) where the mask (B, T) is True, and how to continue them until when."""
        self._model = model
        self._ids = ids
        self._prompts: list[list[int]] = [row[kept].tolist() for row, kept in zip(ids, mask, strict=True)]
        self._count = sequences(hooks.config)
        self._options = options
        self._hooks = hooks
        self._ends_at = ends_at

    def run(self) -> list[Row]:
        """Generate the rows, those of one prompt one after the other.

        Raises:
            SantaCoderError: as in `SantaCoder.complete_each`.
            Exception: a hook of the caller raised it.
        """
        rows: list[Row | None] = [None] * (len(self._prompts) * self._count)
        hooks: dict[int, RowHook] = {}
        with closing(self._model.complete_each(self._requests(hooks), on_error="return")) as results:
            for position, result in results:
                rows[position] = self._row(result, hooks.get(position))
        return cast("list[Row]", rows)

    def stream(self, streamer: Any) -> list[Row]:
        """Generate the only row, and give the streamer its prompt and its tokens.

        Raises:
            InvalidRequestError: there are several rows, or token healing would change the prompt.
            Exception: as in `run`, or the streamer raised it.
        """
        if len(self._prompts) * self._count != 1:
            raise InvalidRequestError(
                f"a streamer takes one row, but there are {len(self._prompts)} prompts and num_return_sequences is "
                f"{self._count}"
            )
        if not all(callable(getattr(streamer, name, None)) for name in ("put", "end")):
            raise invalid_argument("streamer", streamer, "an object with the methods put and end")
        if self._hooks.config.token_healing:
            raise InvalidRequestError("token_healing is on, but a streamer cannot take tokens back: use one of the two")
        hooks: dict[int, RowHook] = {}
        [request] = self._requests(hooks)
        streamer.put(as_kind(self._ids.copy(), self._hooks.kind))
        result: Completion | SantaCoderError | None = None
        sent = 0
        with closing(self._model.stream(request.prompt, **request.options)) as pieces:
            while result is None:
                new: Sequence[int] = ()
                try:
                    new = next(pieces).tokens
                except StopIteration as end:
                    result = cast("Completion", end.value)
                except SantaCoderError as error:
                    result = error
                self._put(streamer, new)
                sent += len(new)
        row = self._row(result, hooks.get(0))
        self._put(streamer, row.tokens[sent:])
        streamer.end()
        return [row]

    def _put(self, streamer: Any, tokens: Sequence[int]) -> None:
        for token in tokens:
            streamer.put(as_kind(np.array([token]), self._hooks.kind))

    def _requests(self, hooks: dict[int, RowHook]) -> Iterator[Request]:
        """Yield the request of each row, and note its hook by its position.

        A prompt's samples depend only on the seed, not on its neighbours. A prompt that occurs several times gets
        samples with further numbers, so that its rows differ.
        """
        heals = self._hooks.config.token_healing
        asked: Counter[tuple[int, ...]] = Counter()
        for i, prompt in enumerate(self._prompts):
            first = asked[tuple(prompt)]
            asked[tuple(prompt)] += self._count
            for k in range(self._count):
                options = self._options.copy()
                if self._ends_at < math.inf:
                    options["deadline"] = max(self._ends_at - monotonic(), 0.0)
                if self._hooks:
                    hook = hooks[i * self._count + k] = RowHook(self._hooks, self._ids[i], max(len(prompt), 1))
                    options["logits_processor"] = hook
                yield Request(_healable(self._model, prompt) if heals else prompt, options, first + k)

    def _row(self, result: Completion | SantaCoderError, hook: RowHook | None) -> Row:
        if isinstance(result, Completion):
            healed, tokens = result.healed, result.tokens
        elif hook is not None and hook.ended:
            healed, tokens = hook.healed, hook.tokens
        elif hook is not None and hook.error is not None:
            raise hook.error
        else:
            raise result
        if hook is None:
            return Row(healed, tokens)
        hook.finish(tokens)
        return Row(healed, tokens, hook.scores[: len(tokens)], hook.logits[: len(tokens)])


def _healable(model: SantaCoder, prompt: Sequence[int]) -> str | Sequence[int]:
    """Return the text of a prompt, which can be healed, or its ids if it is not what a text becomes."""
    text = model.tokenizer.decode(prompt)
    return text if model.tokenizer.encode(text) == list(prompt) else prompt


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def join(ids: NDArray[np.int64], rows: Sequence[Row], pad: int | None) -> NDArray[np.int64]:
    """Join prompts (B, T) with what was generated for each, the same number of rows for every prompt: (B * n, L).

    Raises:
        InvalidRequestError: the rows differ in length, and there is nothing to pad them with.
    """
    each = len(rows) // max(len(ids), 1)
    whole = [[*ids[i // each, : ids.shape[1] - row.healed].tolist(), *row.tokens] for i, row in enumerate(rows)]
    longest = max(map(len, whole), default=ids.shape[1])
    if pad is None and any(len(row) < longest for row in whole):
        raise InvalidRequestError("the sequences differ in length, and the model has no end of text: set pad_token_id")
    joined = np.full((len(whole), longest), pad or 0, dtype=np.int64)
    for out, row in zip(joined, whole, strict=True):
        out[: len(row)] = row
    return joined


def result(hooks: Hooks, sequences: Any, rows: Sequence[Row], vocab_size: int) -> GenerateOutput:
    """Return what the call asked for, with arrays or tensors of its kind."""
    return GenerateOutput(
        sequences=sequences,
        scores=_steps([row.scores for row in rows], vocab_size, hooks.kind) if hooks.keeps_scores else None,
        logits=_steps([row.logits for row in rows], vocab_size, hooks.kind) if hooks.keeps_logits else None,
    )


def _steps(rows: Sequence[Sequence[Scores]], vocab_size: int, kind: Kind) -> tuple[Any, ...]:
    """Return the values (N, V) of each step, given those (V,) that each row has; 0 after its end."""
    joined = np.zeros((max(map(len, rows), default=0), len(rows), vocab_size), dtype=np.float32)
    for i, row in enumerate(rows):
        if row:
            joined[: len(row), i] = row
    return tuple(as_kind(step, kind) for step in joined)
