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


def looks(looking: float, tokens: int) -> list[int]:
    """Return where a text without repeats is looked at, if that takes so much of a step of one row."""
    costs = FixedCosts([1.0] * 16)
    costs.looking = looking
    drafter, text, found = Drafter(Guessing(costs), 1, tokens), ids(*range(tokens)), []
    for known in range(1, tokens):
        if known >= drafter.look_at:
            found.append(known)
            assert not drafter.propose(text[:known], 4).size
    return found


def test_looking_in_vain_takes_at_most_a_thousandth_of_the_time() -> None:
    assert looks(0.0, 50) == [*range(1, 50)]
    assert looks(0.0009, 50) == [*range(1, 50)]
    assert looks(0.0099, 60) == [1, 2, 4, 8, 16, 26, 36, 46, 56]
    assert looks(1.0, 600) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]


def test_a_find_ends_the_rest() -> None:
    costs = FixedCosts([1.0] * 16)
    costs.looking = 0.01
    drafter, text = Drafter(Guessing(costs), 1, 60), ids(*range(40), *range(20))
    for known in range(1, 49):
        if known >= drafter.look_at:
            assert not drafter.propose(text[:known], 4).size
    assert drafter.look_at == 49
    assert list(drafter.propose(text[:49], 2)) == [9, 10]
    assert drafter.propose(ids(*text[:49], 99), 2).size == 0
    assert drafter.look_at == 51


def test_no_look_before_a_run_can_be_long_enough() -> None:
    """Runs of one or two tokens are never worth their cost here."""
    guessing = Guessing(FixedCosts([1.0, 1.45, 2.0]))
    drafter = Drafter(guessing, 1, 60)
    least = guessing.chances["own"].least_run(guessing.costs.curve, 0)
    assert least > 2
    drafter.propose(ids(1, 2, 3), 4)
    assert drafter.look_at == 3 + least


@pytest.mark.parametrize("generated", [0, 1, 20])
def test_a_gap_goes_on_from_the_text_before_it(generated: int) -> None:
    """Prefix 1 2 3, suffix 10 to 13; another text has the prefix, and what was generated behind it."""
    prompt, answer = ids(90, 1, 2, 3, 91, 10, 11, 12, 13, 92), range(20, 20 + generated)
    other = text("other", 1, 2, 3, *range(20, 60))
    assert drafts(ids(*prompt, *answer), prompt.size, other, gap=4) == [*range(20 + generated, 24 + generated)]
