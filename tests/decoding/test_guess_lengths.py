"""How many tokens are guessed, by the cost of rows and the chances that were counted."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from santacoder.decoding.guess_lengths import (
    FIRST_CHANCES,
    MOST,
    REFRESH,
    STALE,
    TRIES,
    Chances,
    StepCosts,
    best_length,
    curve,
)
from santacoder.decoding.guess_store import RUN

ZEN4 = curve({1: 20.3, 2: 18.7, 4: 22.0, 8: 39.0, 16: 73.0})
AMX = curve({1: 1.0, 2: 1.0, 4: 1.1, 8: 1.35, 16: 1.9})


def length(chance: float, costs: list[float], most: int = 15, beside: int = 0) -> int:
    return best_length([chance] * (RUN + 1), 8, costs, most, beside)[0]


class TestBestLength:
    @pytest.mark.parametrize(
        ("chance", "zen4", "amx"), [(0.1, 1, 1), (0.3, 1, 2), (0.5, 2, 3), (0.7, 3, 5), (0.9, 3, 11), (0.98, 9, 15)]
    )
    def test_is_longer_where_rows_are_free(self, chance: float, zen4: int, amx: int) -> None:
        assert (length(chance, ZEN4), length(chance, AMX)) == (zen4, amx)

    def test_never_rests_while_a_row_is_free(self) -> None:
        assert length(0.001, ZEN4) == 1

    def test_is_0_where_a_row_costs_more_than_it_may_bring(self) -> None:
        linear = [*map(float, range(17))]
        assert [length(chance, linear) for chance in (0.1, 0.5, 0.99)] == [0, 0, 0]

    def test_rows_of_others_leave_fewer_free(self) -> None:
        assert [length(0.5, ZEN4, beside=beside) for beside in range(5)] == [2, 2, 1, 0, 0]

    @given(
        st.lists(st.floats(0, 1), min_size=RUN + 1, max_size=RUN + 1),
        st.integers(1, RUN),
        st.lists(st.floats(0.5, 20), min_size=2, max_size=40),
        st.integers(0, 20),
        st.integers(0, 5),
    )
    def test_is_the_best_of_all(
        self, chances: list[float], run: int, costs: list[float], most: int, beside: int
    ) -> None:
        found, value = best_length(chances, run, costs, most, beside)
        values, tokens, chance = [], beside + 1.0, 1.0
        for number in range(most + 1):
            if beside + 1 + number < len(costs):
                values.append(tokens / costs[beside + 1 + number])
            chance *= chances[min(run + number, RUN)]
            tokens += chance
        assert value == pytest.approx(max(values, default=0.0))
        assert 0 <= found <= most
        if values:
            assert values[found] == pytest.approx(value)


class TestCosts:
    def test_are_interpolated_and_go_on(self) -> None:
        assert curve({1: 2.0, 2: 2.0, 4: 4.0}) == [1, 1, 1, 1.5, 2, 2.5, 3, 3.5, 4]
        assert curve({2: 3.0, 3: 1.5}) == [1, 1, 1, 0.5, 0.5, 0.5, 0.5]
        assert curve({}) == [1, 1, 1]

    def test_that_are_far_apart_leave_room_for_a_try(self) -> None:
        """A batch has shown what 16 rows cost, but nothing what 4 do."""
        assert curve({1: 1.0, 2: 1.0, 16: 4.0})[:11] == [1, 1, 1, 1, 1, 1, 1, 1, 1, 1.375, 1.75]
        assert curve({1: 1.0, 2: 1.5, 8: 2.0})[2:9] == [1.5, 1.75, 2.0, 2.0, 2.0, 2.0, 2.0]

    def test_guesses_reach_twice_as_far_as_is_known(self) -> None:
        costs = StepCosts()
        reached = []
        for _ in range(5 * TRIES):
            rows = len(costs.curve) - 1
            reached.append(rows)
            costs.note(rows, 1.0)
        assert sorted(set(reached)) == [2, 4, 8, 16, 32]

    def test_the_fastest_of_the_newest_counts(self) -> None:
        costs = StepCosts()
        for seconds in (2.0, 1.0, 3.0):
            costs.note(1, seconds)
        costs.note(4, 9.0)
        assert costs.known == {1: 1.0}
        costs.note(4, 8.0)
        assert costs.known == {1: 1.0, 4: 8.0}
        for _ in range(REFRESH):
            costs.note(1, 4.0)
        assert costs.known == {1: 4.0, 4: 8.0}
        assert costs.curve[4] == 2.0

    def test_old_ones_are_forgotten(self) -> None:
        costs = StepCosts()
        for rows in (4, 4, *[1] * (2 * STALE - 2)):
            costs.note(rows, 1.0)
        assert list(costs.known) == [1]

    def test_large_steps_do_not_count(self) -> None:
        costs = StepCosts()
        costs.note(1000, 1.0)
        costs.note(1000, 1.0)
        assert costs.known == {}


class TestChances:
    @given(st.integers(0, 10_000))
    def test_remember_no_length_that_is_out_of_date(self, seed: int) -> None:
        random, chances = Random(seed), Chances()
        for _ in range(30):
            costs = random.choice([ZEN4, AMX])
            run, most, beside = random.randint(1, RUN), random.randint(1, 15), random.randint(0, 3)
            assert chances.best_length(run, costs, most, beside) == best_length(chances.right, run, costs, most, beside)
            found = [best_length(chances.right, length, costs, MOST, beside)[0] for length in range(1, RUN + 1)]
            worth = [length for length, guess in enumerate(found, 1) if guess]
            assert chances.least_run(costs, beside) == min([*worth, RUN + 1])
            if random.random() < 0.3:
                chances.learn(run, most, random.randint(0, most))

    def test_tokens_behind_the_first_wrong_one_do_not_count(self) -> None:
        chances = Chances()
        for _ in range(1000):
            chances.learn(3, proposed=5, right=1)
        assert chances.right[3] > 0.99
        assert chances.right[4] < 0.01
        assert chances.right[5:] == [*FIRST_CHANCES[5:]]

    def test_the_newest_count_most(self) -> None:
        chances = Chances()
        for right in (0, 1):
            for _ in range(3000):
                chances.learn(RUN, proposed=1, right=right)
        assert chances.right[RUN] > 0.95
