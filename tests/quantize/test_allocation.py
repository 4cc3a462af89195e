"""The choice of types: within the budget, as good as trying all; sizes as people write them."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from santacoder.errors import InvalidRequestError
from santacoder.quantize.allocation import CANDIDATES, Choice, choose_types, read_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("680MB", 680_000_000), ("0.7GB", 700_000_000), ("650MiB", 650 * 2**20), ("1.5 kib", 1536), ("12345", 12345),
        ("7b", 7), (" 2GiB ", 2**31), (99, 99), (np.int64(5), 5), ("0.1GB", 100_000_000),
    ],
)  # fmt: skip
def test_sizes(text: Any, expected: int) -> None:
    assert read_size(text) == expected


@pytest.mark.parametrize("text", ["", "MB", "1,5MB", "-3MB", "680XB", "1e9", "nan", "0x10", "1.MB", "9" * 5000, "६MB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"^size is .*, but it must be bytes, or a number with KB, MB, GB"):
        read_size(text)


@pytest.mark.parametrize("value", [0, "0MB", "0.1", True, 1.5, -1, [1], 2**64, "999999999999999999GiB"])
def test_what_is_out_of_range(value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"^size is .*, but it must be an integer"):
        read_size(value)


def random_choices(rng: np.random.Generator, count: int) -> dict[str, list[Choice]]:
    choices = {}
    for i in range(count):
        weights = int(rng.integers(1, 5)) * 32
        loss = float(rng.uniform(0, 9))
        steps = [loss := loss * float(rng.uniform(0.1, 1.1)) for _ in CANDIDATES]
        sizes = [weights * n for n in (18, 22, 26, 34)]
        choices[str(i)] = [Choice(*each) for each in zip(CANDIDATES, sizes, steps, strict=True)]
    return choices


def totals(choices: dict[str, list[Choice]], types: dict[str, str]) -> tuple[int, float]:
    chosen = [next(c for c in options if c.type_name == types[name]) for name, options in choices.items()]
    return sum(c.n_bytes for c in chosen), sum(c.loss for c in chosen)


@pytest.mark.parametrize("seed", range(30))
def test_near_the_best_of_all(seed: int) -> None:
    """Never over the budget, and the loss is at most what the best choice has with one step fewer."""
    rng = np.random.default_rng(seed)
    choices = random_choices(rng, 5)
    mixtures = itertools.product(CANDIDATES, repeat=5)
    every = [totals(choices, dict(zip(choices, kinds, strict=True))) for kinds in mixtures]
    least, most = min(every)[0], max(every)[0]
    step = max(after.n_bytes - options[0].n_bytes for options in choices.values() for after in options)
    for budget in np.linspace(least, most, 9).astype(int).tolist():
        n_bytes, loss = totals(choices, choose_types(choices, budget))
        assert n_bytes <= budget
        # The steps before the first that does not fit are optimal for their bytes, which are more than budget - step.
        best = min((other for used, other in every if used <= budget - step), default=math.inf)
        assert loss <= best * (1 + 1e-12)
    everything = choose_types(choices, most)
    assert totals(choices, everything)[1] == min(loss for _, loss in every)


def test_a_type_above_the_hull_is_passed_over() -> None:
    """From Q4_K to Q6_K at once, where Q5_K saves too little for its bytes."""
    choices = {"a": [Choice("Q4_K", 10, 9.0), Choice("Q5_K", 20, 8.9), Choice("Q6_K", 30, 1.0)]}
    assert [choose_types(choices, budget)["a"] for budget in (10, 20, 29, 30)] == ["Q4_K", "Q4_K", "Q4_K", "Q6_K"]


def test_equal_losses_go_in_the_order_of_the_file() -> None:
    options = [Choice("Q4_K", 10, 2.0), Choice("Q5_K", 20, 1.0)]
    assert choose_types({"b": options, "a": options}, 30) == {"b": "Q5_K", "a": "Q4_K"}


def test_no_bytes_for_nothing() -> None:
    """A matrix of zeros loses nothing with four bits."""
    choices = {"a": [Choice(kind, n, 0.0) for n, kind in enumerate(CANDIDATES, 1)]}
    assert choose_types(choices, 100) == {"a": "Q4_K"}
