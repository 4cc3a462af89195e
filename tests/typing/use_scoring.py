"""Scores, logits and tokens as users write them; checked by mypy and pyright, never run."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

from santacoder import SantaCoder, Score, Tokenizer


def score(model: SantaCoder) -> None:
    score = model.score("def f():")
    assert_type(score, Score)
    assert_type(score.tokens, list[int])
    assert_type(score.logprobs, list[float | None])
    assert_type(score.greedy, list[int | None])
    assert_type(score.is_greedy, list[bool | None])
    assert_type(score.total, float)
    assert_type(model.score_many(["a", [1, 2], np.array([3])], progress=False), list[Score])
    assert_type(model.fits("a", max_tokens=64), bool)

    model.score(5)  # type: ignore[arg-type]
    model.score_many("a", False)  # type: ignore[call-arg]
    model.score("a", max_tokens=1)  # type: ignore[call-arg]
    model.fits("a", 0.5)  # type: ignore[arg-type]
    sum(score.logprobs)  # type: ignore[arg-type]


def logits(model: SantaCoder) -> None:
    assert_type(model.logits("def f():"), NDArray[np.float32])
    assert_type(model.iter_logits([1, 2, 3], start=1, piece=2), Iterator[NDArray[np.float32]])

    model.logits(1.5)  # type: ignore[arg-type]
    model.iter_logits("a", start="0")  # type: ignore[arg-type]


def tokenizer(model: SantaCoder) -> None:
    tokenizer = model.tokenizer
    assert_type(tokenizer, Tokenizer)
    assert_type(tokenizer.encode("def f():"), list[int])
    assert_type(tokenizer.encode("<fim-prefix>", special=False), list[int])
    assert_type(tokenizer.decode([1, 2]), str)
    assert_type(tokenizer.decode(np.array([1, 2])), str)
    assert_type(tokenizer.token_bytes(np.int64(3)), bytes)
    assert_type(tokenizer.token_id("def"), int | None)
    assert_type(tokenizer.vocabulary, Sequence[str])
    assert_type((tokenizer.n_tokens, tokenizer.vocab_size), tuple[int, int])
    assert_type(tokenizer.eot_id, int | None)
    assert_type(tokenizer.end_ids, frozenset[int])
    assert_type(tokenizer.special_ids, frozenset[int])
    assert_type(tokenizer.fim_mode, Literal["psm", "spm"])

    tokenizer.encode(b"a")  # type: ignore[arg-type]
    tokenizer.encode(["a"])  # type: ignore[arg-type]
    tokenizer.decode(5)  # type: ignore[arg-type]
    tokenizer.decode("a")  # type: ignore[arg-type]
    tokenizer.eot_id + 1  # type: ignore[operator]
