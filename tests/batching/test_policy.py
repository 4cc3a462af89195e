"""The scheduler's decisions, without a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from santacoder.batching.policy import (
    MAX_DRAFTING,
    PROMPT_ROWS,
    WORTH_WAITING,
    Prefix,
    count_dropped,
    find_prefix,
    in_turn,
    plan_step,
)
from santacoder.text.token_ids import TokenIds


def ids(*tokens: int) -> TokenIds:
    return np.array(tokens, dtype=np.int32)


@dataclass(eq=False)
class Fake:
    """The part of a sequence that the policy sees: `left` tokens to run; it drafts as many tokens as allowed."""

    left: int = 1
    generated: int = 0
    prompt: Any = None
    cache: Any = None
    drafts: int = 0
    beside: int | None = None

    def pending(self, room: int, beside: int | None) -> tuple[TokenIds, int]:
        self.beside = beside
        if self.left > room:
            return ids(*range(room)), 0
        drafts = min(self.drafts, room - self.left) if beside is not None else 0
        return ids(*range(self.left + drafts)), 1 + drafts


@dataclass(frozen=True)
class Entry:
    tokens: Any
    cache: Any


@given(st.lists(st.lists(st.integers(), max_size=6), max_size=6))
def test_queues_are_asked_in_turn(queues: list[list[int]]) -> None:
    found = list(in_turn(iter(queue) for queue in queues))
    assert found == [queue[i] for i in range(6) for queue in queues if i < len(queue)]


def test_no_queue_is_asked_before_its_turn() -> None:
    asked = []

    def queue(number: int) -> Any:
        asked.append(number)
        yield number

    turns = in_turn(queue(number) for number in range(1000))
    assert [next(turns), next(turns)] == [0, 1]
    assert asked == [0, 1]


class TestPrefix:
    PROMPT = ids(*range(100))

    def test_of_nothing(self) -> None:
        assert find_prefix(self.PROMPT, [], []) == Prefix(0, None)

    def test_the_longest_counts_and_the_last_token_runs_anyway(self) -> None:
        short, whole = [0] * 30, [0] * 100
        kept = [Entry(self.PROMPT[:30], short), Entry(self.PROMPT, whole), Entry(self.PROMPT[:50], [])]
        assert find_prefix(self.PROMPT, [], kept) == Prefix(99, whole)  # type: ignore[arg-type]
        assert find_prefix(self.PROMPT[:1], [], kept) == Prefix(0, None)

    def test_of_a_running_sequence_what_its_cache_holds(self) -> None:
        running = [Fake(prompt=self.PROMPT, cache=[0] * 90)]
        assert find_prefix(self.PROMPT, running, []) == Prefix(90, running[0].cache)

    @pytest.mark.parametrize("missing", [WORTH_WAITING - 1, WORTH_WAITING])
    def test_one_that_is_being_read_is_worth_waiting_for(self, missing: int) -> None:
        running = [Fake(prompt=self.PROMPT, cache=[0] * (99 - missing))]
        found = find_prefix(self.PROMPT, running, [])
        assert (found is None) == (missing >= WORTH_WAITING)


@pytest.mark.parametrize(
    ("excess", "kept", "dropped"),
    [(-3, [], 0), (0, [5], 0), (1, [], None), (1, [5, 9], 1), (6, [5, 9], 2), (14, [5, 9], 2), (15, [5, 9], None)],
)
def test_oldest_caches_are_dropped_first(excess: int, kept: list[int], dropped: int | None) -> None:
    assert count_dropped(excess, kept) == dropped


class TestStep:
    def rows(self, batch: list[Fake], chunk: int) -> list[tuple[int, int, int]]:
        return [(batch.index(r.sequence), r.token_ids.size, r.wanted) for r in plan_step(batch, chunk)]

    def test_who_generates_comes_first_and_prompts_fill_up(self) -> None:
        batch = [Fake(left=1000), Fake(generated=3), Fake(left=40), Fake(generated=1)]
        assert self.rows(batch, 512) == [(1, 1, 1), (3, 1, 1), (0, PROMPT_ROWS, 0)]
        assert self.rows(batch[2:] + batch[:2], 512) == [(1, 1, 1), (3, 1, 1), (0, 40, 1), (2, PROMPT_ROWS - 40, 0)]

    def test_prompts_without_anybody_who_waits_take_the_whole_step(self) -> None:
        assert self.rows([Fake(left=300), Fake(left=300)], 512) == [(0, 300, 1), (1, 212, 0)]

    def test_no_more_rows_than_the_chunk(self) -> None:
        assert self.rows([Fake(generated=1) for _ in range(9)] + [Fake(left=5)], 8) == [(i, 1, 1) for i in range(8)]

    def test_drafts_leave_a_row_for_everybody(self) -> None:
        batch = [Fake(generated=1, drafts=15) for _ in range(3)]
        found = [(r.token_ids.size, r.wanted) for r in plan_step(batch, 8)]
        assert found == [(6, 6), (1, 1), (1, 1)]

    @pytest.mark.parametrize("count", [MAX_DRAFTING, MAX_DRAFTING + 1])
    def test_drafts_only_in_small_batches(self, count: int) -> None:
        batch = [Fake(generated=1) for _ in range(count)]
        plan_step(batch, 512)
        assert {sequence.beside for sequence in batch} == {count - 1 if count <= MAX_DRAFTING else None}

    def test_who_drafts_knows_the_rows_of_the_others(self) -> None:
        batch = [Fake(generated=1, drafts=5), Fake(generated=1, drafts=2), Fake(generated=1)]
        plan_step(batch, 512)
        assert [sequence.beside for sequence in batch] == [2, 7, 9]
