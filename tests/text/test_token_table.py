"""Tokens by how their bytes begin."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

import santacoder
from santacoder.text.token_table import NO_RANK, TokenTable

LETTERS = st.lists(st.sampled_from([b"a", b"b", b"\xff"]), max_size=3).map(b"".join)
VOCABULARIES = st.lists(LETTERS, max_size=30)  # of few letters, so that tokens often begin alike, or are repeated
OWED = st.lists(st.sampled_from([b"a", b"b", b"\xff"]), min_size=1, max_size=5).map(b"".join)


def spells(tokens: list[bytes], owed: bytes) -> bool:
    """Whether tokens can spell `owed`, the last one perhaps with more bytes: by trying."""
    return any(
        token.startswith(owed) or (owed.startswith(token) and spells(tokens, owed[len(token) :]))
        for token in tokens
        if token
    )


@given(VOCABULARIES, OWED)
def test_exactly_the_tokens_that_agree(tokens: list[bytes], owed: bytes) -> None:
    table = TokenTable(range(len(tokens)), tokens, len(tokens) + 3)
    found = table.agreeing(owed)
    in_range = {i for i, rank in enumerate(found.ranks.tolist()) if found.first <= rank < found.last}
    assert in_range == {i for i, token in enumerate(tokens) if token and token.startswith(owed)}
    beginnings = [i for i, token in enumerate(tokens) if token and owed.startswith(token)]
    possible = [i for i in beginnings if not in_range and spells(tokens, owed[len(tokens[i]) :])]
    longest = max((len(tokens[i]) for i in possible), default=0)
    assert sorted(found.shorter.tolist()) == [i for i in possible if len(tokens[i]) == longest]


@given(VOCABULARIES, OWED)
def test_what_can_be_spelled(tokens: list[bytes], owed: bytes) -> None:
    assert TokenTable(range(len(tokens)), tokens, len(tokens)).can_spell(owed) == spells(tokens, owed)


@given(VOCABULARIES)
def test_ranks_are_the_order_of_bytes(tokens: list[bytes]) -> None:
    table = TokenTable(range(len(tokens)), tokens, len(tokens) + 2)
    assert table.ranks[len(tokens) :].tolist() == [NO_RANK] * 2
    placed = sorted((rank, tokens[i]) for i, rank in enumerate(table.ranks[: len(tokens)].tolist()) if rank != NO_RANK)
    assert [rank for rank, _ in placed] == list(range(len(placed)))
    assert len(placed) == sum(bool(token) for token in tokens)
    assert all(a <= b for (_, a), (_, b) in pairwise(placed))


def test_the_table_of_a_tokenizer(model: santacoder.SantaCoder) -> None:
    """All ordinary tokens, each in the place of its bytes."""
    tokenizer = model.tokenizer
    ranked = [token for token in range(tokenizer.n_tokens) if tokenizer.table.ranks[token] != NO_RANK]
    assert set(range(tokenizer.n_tokens)) - set(ranked) == set(tokenizer.special_ids) | set(tokenizer.never_sampled)
    in_order = sorted(ranked, key=tokenizer.table.ranks.__getitem__)
    assert [tokenizer.token_bytes(token) for token in in_order] == sorted(map(tokenizer.token_bytes, ranked))


def test_a_vocabulary_with_all_bytes_spells_everything() -> None:
    table = TokenTable(range(256), [bytes([byte]) for byte in range(256)], 256)
    assert table.can_spell(bytes(range(256)))
    found = table.agreeing(b"ab")
    assert (found.first, found.last, found.shorter.tolist()) == (98, 98, [97])
