"""The rules of `generate` for the scores of the next token, as `transformers` defines them and in its order.

Each changes the scores (V,) of one row in place.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from santacoder._util.validation import check_integer, invalid_argument
from santacoder.hf.generation_config import GenerationConfig

Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Step:
    """Where a row stands.

    Attributes:
        ids: (L,) the row as the caller gave it, padding included, and what was generated.
        read: (N,) the same without padding: what the model has read.
        generated: how many tokens were generated.
    """

    ids: NDArray[np.int64]
    read: NDArray[np.int32]
    generated: int


Rule = Callable[[Step, Scores], None]


def rules(config: GenerationConfig, ends: Sequence[int], vocab_size: int) -> list[Rule]:
    """Return the rules that a request asks for, without the repetition penalty.

    Raises:
        InvalidRequestError: an option has a wrong type or is out of range.
    """
    found: list[Rule] = []
    words = [] if config.bad_words_ids is None else _words(config.bad_words_ids, vocab_size)
    found += [_ban_word(word) for word in words if not (len(word) == 1 and word[0] in ends)]
    for name, whole in (("min_length", True), ("min_new_tokens", False)):
        least = getattr(config, name)
        least = 0 if least is None else check_integer(name, least, 0, None)
        if least and whole and config.min_new_tokens is not None:
            warnings.warn("min_length has no effect beside min_new_tokens", stacklevel=4)
        elif least and ends:
            found.append(_ban_ends(ends, least, whole))
    if config.suppress_tokens is not None:
        found.append(_ban(_ids("suppress_tokens", config.suppress_tokens, vocab_size)))
    return found


def penalty(factor: float) -> Rule:
    """Return the rule of `repetition_penalty`."""
    divisor = np.float32(factor)

    def apply(step: Step, scores: Scores) -> None:
        seen = np.unique(step.read)
        values = scores[seen]
        scores[seen] = np.where(values < 0, values * divisor, values / divisor)

    return apply


def _ban(tokens: Sequence[int]) -> Rule:
    where = np.array(tokens, dtype=np.intp)

    def apply(step: Step, scores: Scores) -> None:
        scores[where] = -np.inf

    return apply


def _ban_word(word: Sequence[int]) -> Rule:
    *before, last = word
    length = len(before)

    def apply(step: Step, scores: Scores) -> None:
        if step.ids.size >= length and step.ids[step.ids.size - length :].tolist() == before:
            scores[last] = -np.inf

    return apply


def _ban_ends(ends: Sequence[int], least: int, whole: bool) -> Rule:
    where = np.array(ends, dtype=np.intp)

    def apply(step: Step, scores: Scores) -> None:
        if (step.ids.size if whole else step.generated) < least:
            scores[where] = -np.inf

    return apply


def _ids(name: str, tokens: object, vocab_size: int) -> list[int]:
    if isinstance(tokens, str) or not isinstance(tokens, Sequence | np.ndarray):
        raise invalid_argument(name, tokens, "a list of token ids")
    return [check_integer(f"a token id of {name}", token, 0, vocab_size - 1) for token in tokens]


def _words(words: object, vocab_size: int) -> Iterator[list[int]]:
    name = "bad_words_ids"
    if isinstance(words, str) or not isinstance(words, Sequence) or not all(map(_is_word, words)):
        raise invalid_argument(name, words, "a list of lists of token ids, none of them empty")
    yield from (_ids(name, word, vocab_size) for word in words)


def _is_word(word: object) -> bool:
    return isinstance(word, Sequence) and not isinstance(word, str) and bool(word)


def warp(config: GenerationConfig, scores: Scores) -> Scores:
    """Return the scores (V,) that sampling draws from: divided by the temperature, those of excluded tokens -inf."""
    if not config.do_sample:
        return scores
    scores = scores / np.float32(1.0 if config.temperature is None else config.temperature)
    if config.top_k and config.top_k < scores.size:
        scores[scores < np.partition(scores, -config.top_k)[-config.top_k]] = -np.inf
    if config.top_p is not None and config.top_p < 1:
        order = np.argsort(scores, kind="stable")
        dropped = np.cumsum(_softmax(scores[order])) <= 1 - config.top_p
        dropped[-1] = False
        scores[order[dropped]] = -np.inf
    if config.min_p:
        probabilities = _softmax(scores)
        scores[probabilities < config.min_p * probabilities.max()] = -np.inf
    return scores


def _softmax(scores: Scores) -> Scores:
    exponentials = np.exp(scores - scores.max())
    probabilities: Scores = exponentials / exponentials.sum()
    return probabilities
