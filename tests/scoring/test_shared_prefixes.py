"""Which segments are planned for sequences that begin alike, and how they are packed into steps."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from santacoder.engine.kv_cache import KV_BLOCK, KVCache
from santacoder.scoring.shared_prefixes import Packer, PrefixPlan, PrefixSegment, plan_prefixes
from santacoder.text.token_ids import TokenIds, common_prefix

FEW_TOKENS = st.lists(st.integers(0, 2), max_size=9)
SEQUENCES = st.lists(st.one_of(FEW_TOKENS, st.lists(st.just(1), max_size=9)), max_size=20)


def arrays(sequences: list[list[int]]) -> list[TokenIds]:
    return [np.array(tokens, dtype=np.int32) for tokens in sequences]


def all_segments(plan: PrefixPlan) -> list[PrefixSegment]:
    segments, stack = [], list(plan.roots)
    while stack:
        segments.append(stack.pop())
        stack += segments[-1].children
    return segments


@given(SEQUENCES)
def test_every_beginning_runs_once(sequences: list[list[int]]) -> None:
    plan = plan_prefixes(arrays(sequences))
    ran = [
        tuple(segment.tokens[: position + 1])
        for segment in all_segments(plan)
        for position in range(segment.start, len(segment.tokens))
    ]
    assert len(ran) == len(set(ran))
    assert set(ran) == {tuple(tokens[:stop]) for tokens in sequences for stop in range(1, len(tokens) + 1)}


@given(SEQUENCES)
def test_every_row_serves_all_that_begin_alike(sequences: list[list[int]]) -> None:
    plan = plan_prefixes(arrays(sequences))
    for segment in all_segments(plan):
        for position in range(segment.start, len(segment.tokens)):
            beginning = segment.tokens[: position + 1].tolist()
            expected = [index for index, tokens in enumerate(sequences) if tokens[: position + 1] == beginning]
            assert sorted(plan.served(segment, position)) == expected


@given(SEQUENCES)
def test_a_parent_has_what_its_children_need(sequences: list[list[int]]) -> None:
    for segment in all_segments(plan_prefixes(arrays(sequences))):
        assert all(child.parent is segment for child in segment.children)
        assert all(common_prefix(child.tokens, segment.tokens) >= child.start for child in segment.children)
        assert [child.start for child in segment.children] == sorted(child.start for child in segment.children)
        assert [child.turn for child in segment.children] == sorted(
            (child.turn for child in segment.children), reverse=True
        )


def test_branches_of_one_trunk_need_no_chain() -> None:
    """A branch at every position: first the whole trunk, then all branches, whatever their order."""
    trunk = [5] * 30
    branches = [[*trunk[:stop], token, token] for stop in range(1, 28) for token in (1, 9)]
    [root] = plan_prefixes(arrays([*branches, trunk])).roots
    assert root.tokens.tolist() == trunk
    assert {child.start for child in root.children} == set(range(1, 28))
    assert not any(child.children for child in root.children)


class Recorder:
    """Runs steps on caches without contents, and knows how many blocks there were at once."""

    def __init__(self, sequences: list[list[int]], chunk: int, context: int) -> None:
        self.caches: list[KVCache] = []
        self.context = context
        plan = plan_prefixes(arrays(sequences))
        self.steps: list[list[tuple[int, int, int]]] = []
        self.peak = 0
        segments = all_segments(plan)
        scheduler = Packer(plan.roots, self.new_cache, chunk, context)
        while parts := scheduler.next_step():
            self.steps.append([(segment.place, start, stop) for segment, _, start, stop in parts])
            for segment, cache, start, stop in parts:
                assert len(cache) == start
                assert start == segment.start or (segment.place, start) in [
                    (p, b) for step in self.steps for p, _, b in step
                ]
                cache.reserve(stop - start)
                cache.append(stop - start)
            held = [segment.cache for segment in segments if segment.cache is not None]
            self.peak = max(self.peak, len({block.ctypes.data for cache in held for block in cache._blocks}))
            scheduler.finish_step(parts)
        assert all(segment.cache is None and segment.ended for segment in segments)

    def new_cache(self) -> KVCache:
        return KVCache(64, self.context, dim=1, item_bytes=1)


@given(SEQUENCES, st.integers(1, 12))
def test_steps_hold_up_to_a_chunk(sequences: list[list[int]], chunk: int) -> None:
    steps = Recorder(sequences, chunk, 16).steps
    rows = [sum(stop - start for _, start, stop in step) for step in steps]
    assert all(0 < count <= chunk for count in rows)
    assert sum(rows) == len({tuple(tokens[:stop]) for tokens in sequences for stop in range(1, len(tokens) + 1)})


def test_groups_share_steps() -> None:
    """Four answers to each of many questions: the first of a later question runs with the others of an earlier one."""
    questions = [[group] * 20 + [100 + answer] * 3 for group in range(30) for answer in range(4)]
    steps = Recorder(questions, 64, 1024).steps
    rows = 30 * (23 + 3 * 3)
    assert len(steps) <= rows // 64 + 2


def test_memory_for_caches_is_bounded() -> None:
    context = 16 * KV_BLOCK
    trunk = [7] * (context - 8)
    continuations = [trunk + [token] * 3 for token in range(500) if token != 7]
    limit = 3 * context // KV_BLOCK
    assert Recorder(continuations, 512, context).peak <= limit
    assert Recorder([[token] * 2 for token in range(500)], 512, context).peak <= limit
    combs = [trunk[:stop] + [token] * 4 for stop in range(1, context - 8, 7) for token in (1, 9)]
    assert Recorder([*combs, trunk], 512, context).peak <= limit


def test_nothing_to_run() -> None:
    assert plan_prefixes([]) == PrefixPlan([], [], [])
    assert plan_prefixes(arrays([[], []])).roots == []
    assert Recorder([[], []], 4, 16).steps == []
