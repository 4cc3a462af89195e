"""Lexemes and chosen grams: the same as in the oracle, and what searching relies on."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from santacoder.attribution.lexemes import Follower, Winnowing, fingerprints, split, winnow
from santacoder.attribution.state import EXACT, RENAMED
from santacoder.errors import InvalidRequestError
from tests.support import lexeme_oracle as oracle

ALPHABET = [b"x", b"if", b"_a$1", b"12", b"(", b"=", b" ", b"\n", b"\t\r\f\v", b"\xc3\xa9", b"\x00", b"synchronized"]
TEXTS = st.one_of(st.binary(max_size=300), st.lists(st.sampled_from(ALPHABET), max_size=200).map(b"".join))


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.booleans())
@example(b"", False)
@example(bytes(range(256)) * 2, True)
@example(b"a" * 1000, False)
def test_lexemes(text: bytes, renamed: bool) -> None:
    found, expected = split(text, renamed=renamed), oracle.lexemes(text)
    hashed = oracle.renamed_hash if renamed else oracle.lexeme_hash
    assert found.starts.tolist() == [start for start, _ in expected]
    assert found.hashes.tolist() == [hashed(lexeme) for _, lexeme in expected]
    assert found.words(0, len(found)) == [lexeme for _, lexeme in expected]
    assert [found.end(at) for at in range(len(found))] == [start + len(lexeme) for start, lexeme in expected]


def test_renamed_keeps_keywords() -> None:
    """And nothing else: a name with a keyword in it is a name."""
    for word in oracle.KEYWORDS:
        assert split(word, renamed=True).hashes.tolist() == [oracle.lexeme_hash(word)]
        for name in (word + b"_", b"x_" + word, word[:-1] + b"_", word.upper() + b"_"):
            assert split(name, renamed=True).hashes.tolist() == split(b"name", renamed=True).hashes.tolist()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([oracle.lexeme_hash(bytes([byte])) for byte in range(33, 60)]), max_size=150),
    st.integers(1, 64), st.integers(1, 64), st.integers(0, 10),
)  # fmt: skip
@example([5] * 100, 16, 25, 0)
@example([5] * 100, 16, 25, 6)
def test_chosen_grams(hashes: list[int], gram: int, window: int, least: int) -> None:
    keys, firsts = winnow(np.array(hashes, np.uint64), Winnowing(gram, window, least))
    assert list(zip(keys.tolist(), firsts.tolist(), strict=True)) == oracle.winnow(hashes, gram, window, least)


@pytest.mark.parametrize("how", [EXACT, RENAMED])
def test_guarantee(how: Winnowing) -> None:
    """Wherever a run stands, one of its grams is chosen there, and by the smaller window of a search."""
    source = random.Random(1)
    for _ in range(300):
        run = [source.randrange(1 << 64) for _ in range(how.guarantee)]
        chosen = []
        for window in (how.window, 8):
            before, after = ([source.randrange(1 << 64) for _ in range(source.randrange(60))] for _ in range(2))
            keys, firsts = winnow(np.array(before + run + after, np.uint64), how._replace(window=window))
            inside = zip(keys.tolist(), (firsts.astype(int) - len(before)).tolist(), strict=True)
            chosen.append({each for each in inside if 0 <= each[1] <= how.guarantee - how.gram})
        assert chosen[0] & chosen[1]


def test_density() -> None:
    """About two grams for each window and one more, so that an index stays small."""
    hashes = np.random.default_rng(1).integers(0, 1 << 63, 200_000, np.uint64)
    assert len(winnow(hashes, EXACT)[0]) / len(hashes) == pytest.approx(2 / (EXACT.window + 1), rel=0.02)


@pytest.mark.parametrize("renamed", [False, True])
def test_fingerprints(renamed: bool) -> None:
    """Of several texts at once; of those with less than 128 lexemes more grams are stored."""
    line = b"def f%d(a, b):\n    return [g(x) for x in a if x > b]\n"
    texts = [b"".join(line % (10 * times + at) for at in range(times)) for times in (1, 6, 0, 2, 5, 3)]
    counts = [len(split(text)) for text in texts]
    assert counts == [23, 138, 0, 46, 115, 69]
    found = fingerprints(texts, EXACT, renamed=renamed)
    assert found.lexemes.tolist() == counts
    begin = 0
    for text, lexemes, chosen in zip(texts, counts, found.counts.tolist(), strict=True):
        how = EXACT if lexemes >= 128 else EXACT._replace(window=8)
        keys, firsts = winnow(split(text, renamed=renamed).hashes, how)
        assert found.keys[begin : begin + chosen].tolist() == keys.tolist()
        assert found.firsts[begin : begin + chosen].tolist() == firsts.tolist()
        begin += chosen
    assert begin == len(found.keys) == len(found.firsts)
    assert fingerprints([], EXACT, renamed=renamed).keys.tolist() == []


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(ALPHABET), max_size=300), st.randoms(use_true_random=False))
def test_follower(parts: list[bytes], source: random.Random) -> None:
    """A text that is still written has the choices of the whole text, each as soon as its window is there."""
    text = b"".join(parts)
    how = Winnowing(3, 5, 2)
    chosen = [key for key, _ in oracle.winnow(split(text).hashes.tolist(), *how)]
    follower = Follower(how)
    found = []
    begin = end = 0
    while end < len(text):
        end = min(source.randrange(end, end + 40) + 1, len(text))
        while True:
            begin += follower.read(text[begin:end], 0, ended=end == len(text))
            if follower.key is None:
                break
            found.append(follower.key)
    assert found == (chosen if len(split(text)) >= how.guarantee else [])


def test_follower_waits() -> None:
    """For so many lexemes, of which the last may go on."""
    follower = Follower(EXACT)
    follower.wait(3)
    assert follower.read(b" one two(x", 0, ended=False) == 9
    assert follower.is_due
    assert follower.start == 8
    assert follower.read(b"x", 0, ended=False) == 0
    assert not follower.state.paused


def test_shared_run() -> None:
    one, other = split(b"a b c d e f"), split(b"x b c d e y b")
    assert one.shared_run(2, other, 2) == (1, 5)
    assert one.shared_run(0, other, 0) == (0, 0)
    assert one.shared_run(1, other, 6) == (1, 2)
    assert one.shared_run(0, one, 0) == (0, 6)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (Winnowing(0, 25, 6), "gram is 0, but it must be an integer in 1..64"),
        (Winnowing(16, 65, 6), "window is 65, but it must be an integer in 1..64"),
        (Winnowing(16, 25, -1), "least is -1, but it must be an integer in 0..64"),
    ],
)
def test_numbers_for_c(how: Winnowing, said: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        how.check()
    assert str(caught.value) == said
