"""What a search finds in an index, and what it says of it."""

from __future__ import annotations

import gc
import random
import re
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import santacoder
from santacoder.attribution.index import AttributionIndex
from santacoder.attribution.indexing import add_to_index
from santacoder.attribution.lexemes import split
from santacoder.attribution.matches import Match
from tests.support.attribution_corpus import code, make_index, write_corpus
from tests.support.needs import needs_fork

FILES = {f"src/m{seed}.py": code(seed) for seed in range(40)}


@pytest.fixture(scope="module")
def index_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_index(tmp_path_factory.mktemp("index"), FILES)


@pytest.fixture
def index(index_path: Path) -> Iterator[AttributionIndex]:
    with AttributionIndex.open(index_path) as opened:
        yield opened


def span(text: str, first: int, lexemes: int) -> str:
    """Return so many lexemes of a text."""
    return split(text.encode()).part(first, first + lexemes).decode()


def names(matches: list[Match]) -> list[list[str]]:
    return [[source.path for source in match.sources] for match in matches]


@pytest.mark.parametrize("seed", range(5))
def test_planted_spans(index: AttributionIndex, seed: int) -> None:
    """A span of the guaranteed length is found wherever it is, with the right lines on both sides."""
    source = random.Random(seed)
    for _ in range(40):
        path, text = source.choice(list(FILES.items()))
        copied = span(text, source.randrange(len(split(text.encode())) - 40), 40)
        before, after = (code(source.randrange(10**6, 10**9), 3) + "own\n" for _ in range(2))
        [match] = index.find(f"{before}{copied} own\n{after}")
        assert (match.start, match.end) == (len(before), len(before) + len(copied))
        assert (match.start_line, match.end_line) == (5, 5 + copied.count("\n"))
        assert (match.kind, match.lexemes, match.common, match.files) == ("exact", 40, False, 1)
        begin = text.index(copied)
        [found] = match.sources
        assert (found.repository, found.path, found.kind) == ("corpus", path, "exact")
        assert found.start_line == text[:begin].count("\n") + 1
        assert found.end_line == found.start_line + copied.count("\n")


@pytest.mark.parametrize(
    ("old", "new"), [("    ", "\t"), ("    ", "  "), ("\n", "\r\n"), (" = ", "="), (", ", ",\n        ")]
)
def test_white_space(index: AttributionIndex, old: str, new: str) -> None:
    for path, text in list(FILES.items())[:10]:
        [match] = index.find(text.replace(old, new))
        assert (match.kind, match.lexemes) == ("whitespace", len(split(text.encode())))
        assert names([match]) == [[path]]


def test_nothing_is_found(index: AttributionIndex) -> None:
    for text in ("", " \n", "x", code(10**6), "é" * 1000, "\ud800 \udfff", "0, " * 500):
        assert index.find(text) == []


def test_characters_are_counted(index: AttributionIndex) -> None:
    """Not bytes."""
    text = FILES["src/m3.py"].lstrip()
    [match] = index.find("# éßて😀\n" + text)
    assert (match.start, match.end) == (7, 7 + len(text.rstrip()))
    assert match.characters == len(text.rstrip())


def test_changed_copies(index: AttributionIndex) -> None:
    """A lexeme changed here and there splits a copy into shorter matches."""
    text = FILES["src/m5.py"].split()
    changed = " ".join(word + ("_changed" if place % 20 == 19 else "") for place, word in enumerate(text))
    found = index.find(changed, 20)
    assert sum(match.lexemes for match in found) > 0.5 * len(split(changed.encode()))
    assert {path for group in names(found) for path in group} == {"src/m5.py"}


def test_two_sources_in_a_text(index: AttributionIndex) -> None:
    found = index.find(FILES["src/m1.py"] + code(10**6, 2) + FILES["src/m2.py"])
    assert names(found) == [["src/m1.py"], ["src/m2.py"]]


def test_overlapping_copies(tmp_path: Path) -> None:
    """The longest span goes first; one that another file has only a part of names both for that part."""
    text = code(1)
    index = AttributionIndex.open(
        make_index(tmp_path, {"whole.py": text, "half.py": "".join(text.splitlines(True)[:15])})
    )
    [match] = index.find(text)
    assert names([match]) == [["whole.py"]]
    [match] = index.find("".join(text.splitlines(True)[:15]))
    assert names([match]) == [["half.py", "whole.py"]]


def test_identical_files(tmp_path: Path) -> None:
    text = code(1)
    index = AttributionIndex.open(make_index(tmp_path, {f"copy{number}.py": text for number in range(12)}))
    [match] = index.find(text)
    assert (match.files, len(match.sources), match.common) == (12, 10, False)


def test_short_file(tmp_path: Path) -> None:
    """Shorter than the guarantee: found as a whole."""
    text = span(code(7), 0, 20)
    index = AttributionIndex.open(make_index(tmp_path, {"short.py": text}))
    [match] = index.find("x\n" + text + "\ny", 16)
    assert (match.lexemes, names([match])) == (20, [["short.py"]])


@pytest.mark.parametrize(
    ("repositories", "files", "common"), [(4, 1, False), (5, 1, True), (1, 19, False), (1, 20, True)]
)
def test_common_text(tmp_path: Path, repositories: int, files: int, common: bool) -> None:
    """What many files share is common, also where the rest of each differs."""
    shared = "x = 1\n" + code(1, 10)
    index = tmp_path / "corpus.scidx"
    for repository in range(repositories):
        names = {f"f{number}.py": code(1000 + 50 * repository + number, 5) + shared for number in range(files)}
        add_to_index(index, [write_corpus(tmp_path / str(repository), names)])
    [match] = AttributionIndex.open(index).find(shared)
    assert match.common == common
    assert match.files >= repositories * files if not common else match.files >= 5


@pytest.mark.parametrize("seed", range(3))
def test_short_files_of_one_shape(tmp_path: Path, seed: int) -> None:
    """What most of the stored grams of such a file stand in is common, but not all."""
    source = random.Random(seed)
    parts = [source.choice("abcdefgh") + str(number) for number in range(60)]
    files = {f"f{number}.js": " ".join([*parts[:30], f"name{number}", *parts[31:]]) for number in range(300)}
    index = AttributionIndex.open(make_index(tmp_path, files))
    for number in (0, 150, 299):
        text = files[f"f{number}.js"]
        found = index.find(text)
        assert names([match for match in found if match.lexemes == 60]) == [[f"f{number}.js"]]


def test_common_text_with_more(tmp_path: Path) -> None:
    """A header that many share does not make common what follows it; but a line or two more are not worth a match."""
    header, own = code(1, 10), code(2, 10)
    files = {f"f{number}.py": header + code(1000 + number, 10) for number in range(25)}
    index = AttributionIndex.open(make_index(tmp_path, {**files, "own.py": header + own}))
    [match] = index.find(header + own)
    assert not match.common
    assert names([match]) == [["own.py"]]
    found = index.find(header + own.splitlines()[0])
    assert [match.common for match in found] == [True]


def test_leading_comment(tmp_path: Path) -> None:
    """The comment that a file begins with is a licence header, most of the time."""
    words = " ".join(code(1, 10).split())
    for number, header in enumerate(
        (f"# {words}\n", f"/* {words} */\n", f"#!/bin/sh\n\n// {words}\n", f"<!-- {words} -->\n")
    ):
        index = AttributionIndex.open(make_index(tmp_path, {"a": header + code(2)}, name=f"c{number}"))
        assert [match.common for match in index.find(header)] == [True]
        assert [match.common for match in index.find(header + code(2))] == [False]


def test_hardly_any_variety(tmp_path: Path) -> None:
    text = "a, b, c, d, e, f, " * 10
    index = AttributionIndex.open(make_index(tmp_path, {"table.py": text}))
    assert [match.common for match in index.find(text)] == [True]


def functions(names: str) -> str:
    """Return functions that call each other, with names from these words."""
    words = names.split()
    made = []
    for number in range(12):
        f, a, b = (f"{word}{number}" for word in words)
        made.append(f"def {f}({a}, {b}):\n    if {a} > {number}:\n        return [{b}.{words[0]}, {a} * {b}]\n")
    return "".join(made)


def test_renamed(tmp_path: Path) -> None:
    """Other names are found if one mapping explains them; a verbatim copy is not reported twice."""
    text = functions("f a b")
    index = AttributionIndex.open(make_index(tmp_path, {"f.py": text, "g.py": code(3)}, renamed=True))
    found = index.find(functions("call left right"))
    assert [match.kind for match in found] == ["renamed"]
    assert names(found) == [["f.py"]]
    assert found[0].lexemes == len(split(text.encode()))
    assert [match.kind for match in index.find(text)] == ["exact"]


def test_same_shape_is_not_renamed(tmp_path: Path) -> None:
    """Names that no mapping explains, or that never occur again."""
    index = AttributionIndex.open(make_index(tmp_path, {"f.py": code(3, 60), "g.py": functions("f a b")}, renamed=True))
    assert index.find(code(4, 60)) == []
    source = random.Random(1)
    mixed = re.sub(r"\b[fab]\d*\b", lambda _: f"name{source.randrange(20)}", functions("f a b"))
    assert index.find(mixed) == []


def test_without_texts(tmp_path: Path) -> None:
    """Matches are those of the hashes."""
    index = tmp_path / "corpus.scidx"
    add_to_index(index, [write_corpus(tmp_path / "corpus", FILES)], texts=False)
    assert FILES["src/m3.py"].split()[0].encode() not in index.read_bytes()
    with AttributionIndex.open(index) as opened:
        [match] = opened.find(FILES["src/m3.py"])
        assert (match.kind, names([match])) == ("unverified", [["src/m3.py"]])
        assert match.sources[0].start_line == 0
        assert opened.find(code(10**6)) == []


def test_threads(index: AttributionIndex) -> None:
    expected = {path: index.find(text) for path, text in FILES.items()}
    wrong: list[str] = []

    def check(paths: list[str]) -> None:
        wrong.extend(path for path in paths if index.find(FILES[path]) != expected[path])

    threads = [threading.Thread(target=check, args=(list(FILES)[start:] + list(FILES)[:start],)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_bad_arguments(index: AttributionIndex) -> None:
    for text, min_length, said in (
        (b"x", 40, "the text is a bytes, but it must be a str"),
        ("x", 15, "min_length is 15, but it must be an integer of 16 or more"),
        ("x", 2.5, "min_length is 2.5, but it must be an integer of 16 or more"),
        ("x" * (4 << 20) + "y", 40, "the text has 4194305 bytes, but at most 4194304 can be checked"),
    ):
        with pytest.raises(santacoder.InvalidRequestError) as caught:
            index.find(text, min_length)  # type: ignore[arg-type]
        assert str(caught.value) == said


def test_an_index_that_nobody_has_any_more_is_closed(index_path: Path) -> None:
    index = AttributionIndex.open(index_path)
    connection = index._connection
    assert connection is not None
    del index
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        connection.execute("BEGIN")


def test_an_index_in_a_ring_of_objects_is_closed_before_sqlite_warns(index_path: Path) -> None:
    """From Python 3.13 on it warns of each connection that ends open."""
    ring: list[object] = [AttributionIndex.open(index_path)]
    ring.append(ring)
    del ring
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        gc.collect()
    assert [str(each.message) for each in said] == []


FORKED = """
import os, sys
from santacoder.attribution.index import AttributionIndex
index = AttributionIndex.open(sys.argv[1])
child = os.fork()
if child:
    os.waitpid(child, 0)
"""


@needs_fork
def test_a_child_ends_without_a_warning(index_path: Path) -> None:
    """Its parent's connection is left as it is."""
    done = subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", FORKED, str(index_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""


def test_closed(index_path: Path) -> None:
    index = AttributionIndex.open(index_path)
    index.close()
    index.close()
    with pytest.raises(santacoder.InvalidRequestError, match=r"the index .*corpus.scidx is closed"):
        index.find("x")
