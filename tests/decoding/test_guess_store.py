"""The store that guesses are copied from, against a search through the text."""

from __future__ import annotations

import argparse
import inspect
import pickle
import re
import tarfile
import typing
import unittest.mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from santacoder.decoding.guess_store import RUN, GuessStore, Match
from santacoder.errors import InvalidRequestError
from santacoder.text.token_ids import TokenIds

LENGTHS = (1, 2, 3, 4, 6, 8, 12, RUN)
texts = st.lists(st.lists(st.integers(0, 3), max_size=60), max_size=6)


def ids(*tokens: int) -> TokenIds:
    return np.array(tokens, dtype=np.int32)


def expected(held: list[int], last: list[int]) -> Match | None:
    """The latest place behind the longest run of one of the lengths; then as many more tokens as agree."""
    for length in reversed(LENGTHS):
        for place in range(len(held) - 1, length - 1, -1):
            run = held[place - length : place]
            if length <= len(last) and held[place] >= 0 and -1 not in run and run == last[-length:]:
                while length < min(len(last), place) and held[place - length - 1] == last[-length - 1]:
                    length += 1
                return Match(place, length)
    return None


@given(texts, st.lists(st.integers(0, 3), min_size=1, max_size=RUN), st.integers(1, 20))
def test_finds_what_a_search_finds(added: list[list[int]], last: list[int], most: int) -> None:
    """Texts come in pieces; what is looked for may be the end of one, or anything."""
    store, held = GuessStore("text", 1 << 12), list[int]()
    for text in added:
        for part in (text[: len(text) // 2], text[len(text) // 2 :]):
            store.add(ids(*part))
        held += text
        for query in (last, text[-RUN:]):
            if query:
                match = store.find(ids(*query))
                assert match == expected(held, query)
                if match is not None:
                    following = held[match.place : match.place + most]
                    ends = following.index(-1) if -1 in following else len(following)
                    assert store.copy(match, most).tolist() == following[:ends]
        store.end_text()
        held.append(-1)
    assert len(store) == len(held)


@given(st.integers(2, 40), texts)
def test_the_newest_stay(most: int, added: list[list[int]]) -> None:
    """A full store drops its older half; what it finds is in the rest."""
    store, held = GuessStore("text", most), list[int]()
    for token in [token for text in added for token in [*text, -1]]:
        store.add(ids(token))
        if len(held) == most:
            held = held[len(held) - most // 2 :]
        held.append(token)
        assert len(store) == len(held)
        query = [token for token in held[-3:] if token >= 0] or [0]
        assert store.find(ids(*query)) == expected(held, query)


def test_a_run_of_sixteen_counts_in_full() -> None:
    store = GuessStore("text", 100)
    store.add(ids(*range(20), 50, *range(4, 19), 60))
    assert store.find(ids(*range(3, 19))) == Match(19, RUN)
    assert store.find(ids(*range(5, 19))) == Match(36, 14)
    assert store.copy(Match(19, RUN), 5).tolist() == [19, 50, 4, 5, 6]


@pytest.mark.parametrize("tokens", [1000, 30_000, 80_000, 120_000])
def test_memory(tokens: int) -> None:
    """A store of code; of random tokens, which nearly all make runs of their own, twice as much."""
    code, noise = GuessStore("code", 1 << 21), GuessStore("noise", 1 << 21)
    text = "\n".join(map(inspect.getsource, (argparse, inspect, pickle, tarfile, typing, unittest.mock)))
    words = re.findall(r"\w+|\s+|[^\w\s]", text)[:tokens]
    number = {word: index for index, word in enumerate(dict.fromkeys(words))}
    code.add(ids(*map(number.__getitem__, words)))
    assert 12 * len(code) < code.n_bytes <= max(48 * len(code), 80_000)
    noise.add(np.random.default_rng(0).integers(0, 49152, tokens, dtype=np.int32))
    assert noise.n_bytes <= max(70 * tokens, 80_000)


@pytest.mark.parametrize("most", [1, (1 << 26) + 1])
def test_sizes_are_checked(most: int) -> None:
    with pytest.raises(InvalidRequestError, match=rf"^the tokens of a store is {most}, but it must be"):
        GuessStore("text", most)
