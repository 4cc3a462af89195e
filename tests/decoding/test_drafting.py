"""Drafts: copied from the request's own text or from others, whichever is likely to save more."""

from __future__ import annotations

import numpy as np
import pytest

from santacoder.decoding.drafting import Drafter, Guessing
from santacoder.decoding.guess_store import GuessStore
from santacoder.text.token_ids import TokenIds
from tests.support.fixed_costs import FixedCosts

FREE = FixedCosts([1.0] * 16)


def ids(*tokens: int) -> TokenIds:
    return np.array(tokens, dtype=np.int32)


def text(kind: str, *tokens: int) -> GuessStore:
    store = GuessStore(kind, 1000)
    store.add(ids(*tokens))
    return store


def drafts(known: TokenIds, prompt: int, *sources: GuessStore, gap: int | None = None, most: int = 4) -> list[int]:
    drafter = Drafter(Guessing(FREE, sources), prompt, 100, gap)
    return list(drafter.propose(known, most))


def test_the_text_itself() -> None:
    assert drafts(ids(1, 2, 3, 4, 5, 6, 7, 1, 2), 3) == [3, 4, 5, 6]


def test_what_recurs_goes_on() -> None:
    assert drafts(ids(1, 7, 8, 7, 8), 1) == [7, 8, 7, 8]
    assert drafts(ids(1, 7, 7), 1) == [7, 7, 7, 7]


def test_nothing_where_nothing_occurred_before() -> None:
    assert drafts(ids(1, 2, 3), 1) == []


def test_the_longer_run_wins() -> None:
    other, worse = text("other", 9, 1, 2, 3, 50, 51), text("worse", 3, 60)
    assert drafts(ids(3, 40, 1, 2, 3), 1, other, worse) == [50, 51]
    assert drafts(ids(1, 2, 3, 70, 1, 2, 3), 1, other) == [70, 1, 2, 3]


def test_the_better_source_wins() -> None:
    """One kind was always wrong, and the other right."""
    good, bad = text("good", 1, 2, 30, 31), text("bad", 1, 2, 40, 41)
    guessing = Guessing(FREE, [bad, good])
    for _ in range(50):
        guessing.chances["bad"].learn(2, 1, 0)
        guessing.chances["good"].learn(2, 1, 1)
    assert list(Drafter(guessing, 1, 100).propose(ids(5, 1, 2), 2)) == [30, 31]


def test_results_count_for_the_source() -> None:
    good = text("good", 1, 2, 30, 31)
    guessing = Guessing(FREE, [good])
    drafter = Drafter(guessing, 1, 100)
    before = guessing.chances["good"].right[2]
    drafter.learn(drafter.propose(ids(5, 1, 2), 2).size, 0)
    assert guessing.chances["good"].right[2] < before


@pytest.mark.parametrize("generated", [0, 1, 20])
def test_a_gap_goes_on_from_the_text_before_it(generated: int) -> None:
    """Prefix 1 2 3, suffix 10 to 13; another text has the prefix, and what was generated behind it."""
    prompt, answer = ids(90, 1, 2, 3, 91, 10, 11, 12, 13, 92), range(20, 20 + generated)
    other = text("other", 1, 2, 3, *range(20, 60))
    assert drafts(ids(*prompt, *answer), prompt.size, other, gap=4) == [*range(20 + generated, 24 + generated)]
