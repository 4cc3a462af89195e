"""Attribution of generated text: what counts as generated, and a text that ends before it is a copy."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import santacoder
from santacoder.attribution.generated import EnclosingText, MatchFilter
from santacoder.attribution.index import AttributionIndex
from santacoder.attribution.lexemes import split
from tests.support.attribution_corpus import code, make_index

FILES = {f"m{seed}.py": code(seed) for seed in range(20)}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> AttributionIndex:
    header = code(900, 12)
    common = {f"c{number}.py": header + code(1000 + number, 8) for number in range(25)}
    return AttributionIndex.open(make_index(tmp_path_factory.mktemp("index"), {**FILES, **common}))


def filtered(index: AttributionIndex, before: str, text: str, source: random.Random) -> tuple[str, bool]:
    """What passes, cut up at random, and whether the text was ended."""
    made = MatchFilter(index, EnclosingText(before))
    out, at = "", 0
    while at < len(text) and not made.stopped:
        step = source.choice((1, 2, 3, 5, 20, 200))
        out += made.feed(text[at : at + step])
        assert text.startswith(out)
        at += step
    return (out, True) if made.stopped else (out + made.flush(), made.stopped)


def matches(index: AttributionIndex, before: str, text: str) -> list[santacoder.Match]:
    return [match for match in EnclosingText(before).matches(index, text) if not match.common]


def span(text: str, first: int, lexemes: int) -> str:
    return split(text.encode()).part(first, first + lexemes).decode()


@pytest.mark.parametrize("seed", range(6))
def test_ends_before_a_match(index: AttributionIndex, seed: int) -> None:
    """Exactly one lexeme before it, wherever the copy begins, and whatever the pieces."""
    source = random.Random(seed)
    for number in range(12):
        copied = FILES[f"m{source.randrange(20)}.py"]
        first = source.randrange(200)
        own = "own\n" if number % 2 else code(source.randrange(10**6, 10**7), 4) + "own\n"
        text = own + span(copied, first, 100)
        out, stopped = filtered(index, "", text, source)
        assert stopped
        assert matches(index, "", out) == []
        assert out.rstrip() == (own + span(copied, first, 39)).rstrip()
        assert filtered(index, "", own + span(copied, first, 39), source) == (own + span(copied, first, 39), False)


@pytest.mark.parametrize("known", [1, 10, 16, 20, 24, 30, 60])
def test_the_prompt_is_a_copy_already(index: AttributionIndex, known: int) -> None:
    """Then 16 lexemes of it may be generated, less one."""
    source = random.Random(known)
    for path in list(FILES)[:8]:
        text = FILES[path]
        first = source.randrange(150)
        before = "own\n" + span(text, first, known) + "\n"
        after = span(text, first + known, 120)
        out, stopped = filtered(index, before, after, source)
        assert stopped
        assert len(split(out.encode())) == max(39 - known, 15)
        assert matches(index, before, out) == []


def test_goes_on_with_a_word_of_the_prompt(index: AttributionIndex) -> None:
    """Half of a word is not a lexeme of a copy, but the whole word is."""
    for path in list(FILES)[:8]:
        text = FILES[path]
        lexemes = split(text.encode())
        at = next(at for at in range(100, 200) if len(lexemes.words(at, at + 1)[0]) > 3)
        cut = int(lexemes.starts[at]) + 2
        before = "own\n" + text[int(lexemes.starts[at - 30]) : cut]
        out, stopped = filtered(index, before, text[cut:], random.Random(1))
        assert stopped
        assert matches(index, before, out) == []
        assert len(split(out.encode())) == 15


def test_goes_on_in_what_is_common(index: AttributionIndex) -> None:
    header = code(900, 12)
    assert filtered(index, "", "x\n" + header + "y\n", random.Random(1)) == ("x\n" + header + "y\n", False)
    text = "x\n" + header + code(1003, 8)
    out, stopped = filtered(index, "", text, random.Random(1))
    assert stopped
    assert len(out) > len(header)
    assert matches(index, "", out) == []


def test_all_else_passes(index: AttributionIndex) -> None:
    """Unchanged, and soon: at most a word is held back."""
    for text in (code(5000), "", "é" * 50, "word" * 20 + "\n\n", " \t\n", "\U0001f600 = '\u00df' # \u0000\n" * 30):
        assert filtered(index, "def ", text, random.Random(1)) == (text, False)
    made = MatchFilter(index, EnclosingText())
    assert made.feed("for item in ite") == "for item in "
    assert made.feed("ms:\n    ") == "items:\n    "


def test_surroundings(index: AttributionIndex) -> None:
    """Spans may begin in the text before and end in the text after; 16 lexemes must be generated."""
    text = FILES["m3.py"]
    lexemes = split(text.encode())
    for generated, found in ((15, 0), (16, 1), (40, 1)):
        cut = int(lexemes.starts[100]), int(lexemes.starts[100 + generated])
        around = EnclosingText(text[: cut[0]], text[cut[1] :])
        assert len(split(around.before.encode())) == len(split(around.after.encode())) == 64
        made = around.matches(index, text[cut[0] : cut[1]])
        assert len(made) == found
        for match in made:
            assert (match.lexemes, match.own) == (128 + generated, 128 + generated)
            assert match.start == -len(around.before)
            assert match.start_line == 1 - around.before.count("\n")


def test_what_was_looked_up_is_not_searched_again(
    index: AttributionIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only if no gram was stored, nothing comes after, the text is the same and copies have the same names."""
    with_names = AttributionIndex.open(make_index(tmp_path, {"a.py": code(1)}, renamed=True))
    own, copied = code(5000, 8), span(FILES["m3.py"], 7, 39)
    searched: list[str] = []

    def find(_: AttributionIndex, text: str, *rest: object, **named: object) -> list[object]:
        searched.append(text)
        return []

    monkeypatch.setattr(AttributionIndex, "find", find)
    for opened, after, text, shown, min_length, times in (
        (index, "", own, own, 40, 0),
        (index, "", own, own, 39, 1),
        (index, "", own, own[:-2], 40, 1),
        (index, "y", own, own, 40, 1),
        (with_names, "", own, own, 40, 1),
        (index, "", own + copied, own + copied, 40, 1),
        (index, "", "", "", 40, 0),
    ):
        around = EnclosingText("def f():\n", after)
        made = MatchFilter(opened, around)
        assert made.feed(text) + made.flush() == text
        del searched[:]
        assert around.matches(opened, shown, min_length) == []
        assert len(searched) == times


def test_index_is_closed_meanwhile(tmp_path: Path) -> None:
    index = AttributionIndex.open(make_index(tmp_path, {"a.py": code(1)}))
    made = MatchFilter(index, EnclosingText())
    made.feed("x = 1\n")
    index.close()
    with pytest.raises(santacoder.InvalidRequestError, match="is closed"):
        made.feed(code(2))
