"""The index of a project: what it holds, and when files change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import santacoder
from santacoder.errors import InvalidRequestError
from santacoder.project import files as project_files
from santacoder.project import index as project_index
from santacoder.project.index import ProjectIndex
from tests.support.fixed_costs import FixedCosts
from tests.support.paths import FILE


@pytest.fixture(scope="module")
def model() -> Iterator[santacoder.SantaCoder]:
    with santacoder.load(FILE, threads=1) as model:
        yield model


def read(index: ProjectIndex) -> ProjectIndex:
    assert index.wait(60)
    return index


def look(index: ProjectIndex) -> None:
    """Have an index read what has changed."""
    index._next_look = 0.0
    index.look()
    read(index)


def following(index: ProjectIndex, model: santacoder.SantaCoder, text: str, most: int = 100) -> str | None:
    match = index.find(np.array(model.tokenizer.encode(text), dtype=np.int32))
    return None if match is None else model.tokenizer.decode(index.copy(match, most).tolist())


def test_it_holds_the_texts(model: santacoder.SantaCoder, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("alpha beta gamma\r\nnext\n", newline="")
    (tmp_path / "b.py").write_text("delta")
    (tmp_path / "c.bin").write_bytes(b"\0abcd")
    index = read(ProjectIndex(model.tokenizer, [tmp_path]))
    assert (index.files, index.left_out) == (2, [f"{tmp_path / 'c.bin'} is binary: character 0 is a NUL"])
    assert following(index, model, "alpha beta") == " gamma\nnext\n"
    assert index.tokens == sum(len(model.tokenizer.encode(text)) + 1 for text in ("alpha beta gamma\nnext\n", "delta"))
    assert index.n_bytes < 100_000
    look(index)
    assert (index.files, len(index.left_out)) == (2, 1)
    (tmp_path / "b.py").unlink()
    (tmp_path / "c.bin").write_text("now a text")
    look(index)
    assert (index.files, index.left_out) == (2, [])
    assert following(index, model, "now a") == " text"


def test_a_file_that_changes_is_read_again(model: santacoder.SantaCoder, tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("alpha beta gamma")
    index = read(ProjectIndex(model.tokenizer, [tmp_path]))
    tokens = index.tokens
    look(index)
    assert index.tokens == tokens
    path.write_text("alpha beta delta!")
    (tmp_path / "new.py").write_text("one two three")
    look(index)
    assert following(index, model, "alpha beta") == " delta!"
    assert following(index, model, "one two") == " three"


def test_a_full_index_begins_anew(
    model: santacoder.SantaCoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a file held before is not kept for ever."""
    monkeypatch.setattr(project_index, "MOST_TOKENS", 40)
    path = tmp_path / "a.py"
    path.write_text("alpha beta gamma")
    index = read(ProjectIndex(model.tokenizer, [path]))
    for number in range(8):
        path.write_text(f"alpha beta {number} delta" + "!" * number)
        look(index)
        assert following(index, model, f"alpha beta {number}") == " delta" + "!" * number
        assert index.tokens <= 40


def test_without_room_the_newest_files_are_held(
    model: santacoder.SantaCoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_index, "MOST_TOKENS", 20)
    for number in range(4):
        path = tmp_path / f"{number}.py"
        path.write_text(f"{number} " + "x" * 20)
        os.utime(path, (1000 + number, 1000 + number))
    index = read(ProjectIndex(model.tokenizer, [tmp_path]))
    assert (index.files, index.left_out) == (2, ["2 files that were not changed of late: no room"])


def test_bad_paths(model: santacoder.SantaCoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is half done: what was indexed before stays."""
    (tmp_path / "a.py").write_text("alpha beta gamma")
    before = model.index([tmp_path])
    bad: list[Any] = [[tmp_path / "none"], [tmp_path / "a.py", 3], 3, b"x", [b"x"]]
    for paths in bad:
        with pytest.raises((OSError, InvalidRequestError)):
            model.index(paths)
    monkeypatch.setattr(project_files, "MOST_ENTRIES", 0)
    with pytest.raises(InvalidRequestError, match="more than 0 files and folders"):
        model.index([tmp_path])
    assert model._scheduler.guesses.project is before
    model.index([])
    assert before._closed


def test_nothing_is_found_while_a_file_is_added(model: santacoder.SantaCoder, tmp_path: Path) -> None:
    """Nobody waits."""
    (tmp_path / "a.py").write_text("alpha beta gamma")
    index = read(ProjectIndex(model.tokenizer, str(tmp_path)))
    match = index.find(np.array(model.tokenizer.encode("alpha"), dtype=np.int32))
    assert match is not None
    with index._lock:
        assert following(index, model, "alpha beta") is None
        assert index.copy(match, 5).size == 0


def test_a_forked_child_reads_the_files_itself(model: santacoder.SantaCoder, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("alpha beta gamma")
    index = read(ProjectIndex(model.tokenizer, [tmp_path]))
    index._lock.acquire()  # as if another thread were adding a file
    index.after_fork()
    assert index.tokens == 0
    look(index)
    assert following(index, model, "alpha beta") == " gamma"


def test_answers_are_the_same(model: santacoder.SantaCoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the project holds, and while it is read; with the answers themselves there are fewer steps."""
    monkeypatch.setattr(model._scheduler.guesses.guessing, "costs", FixedCosts([1.0] * 16))
    options: dict[str, Any] = {"max_tokens": 40, "seed": 3, "ignore_eos": True, "temperature": 0.0}
    expected = model.complete("def f", lookup=False, **options)
    (tmp_path / "a.py").write_text("def f" + expected.text)
    index = model.index([tmp_path])
    assert model.complete("def f", **options).tokens == expected.tokens
    read(index)
    before = model.counters().steps
    assert model.complete("def f", **options).tokens == expected.tokens
    assert model.counters().steps - before <= 20
    model.index([])


def test_a_closed_model_reads_no_more(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("alpha")
    with santacoder.load(FILE, threads=1) as model:
        index = model.index([tmp_path])
    assert index.wait(60)
    look(index)
    with pytest.raises(santacoder.ModelClosedError):
        model.index([tmp_path])
