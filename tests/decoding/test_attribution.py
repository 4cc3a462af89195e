"""Completions with an attribution index: what of a text is a copy, and texts that end before they are one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import santacoder
from santacoder.attribution.generated import EnclosingText
from santacoder.attribution.index import AttributionIndex
from santacoder.attribution.lexemes import split
from santacoder.sources.packaged import packaged_model
from tests.support.attribution_corpus import make_index

PROMPT = "import os\n\n\ndef main():\n"
OPTIONS: dict[str, Any] = {"max_tokens": 120, "temperature": 0.9, "seed": 3}


@pytest.fixture(scope="module")
def model() -> Any:
    with santacoder.load(packaged_model()) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def plain(model: santacoder.SantaCoder) -> santacoder.Completion:
    """What the model writes without an index: long enough for a copy."""
    completion = model.complete(PROMPT, **OPTIONS)
    assert len(split(completion.text.encode())) > 60
    return completion


@pytest.fixture(scope="module")
def index(plain: santacoder.Completion, tmp_path_factory: pytest.TempPathFactory) -> AttributionIndex:
    """An index in which that text is a part of a file."""
    lexemes = split(plain.text.encode())
    copied = lexemes.part(3, len(lexemes)).decode()
    return AttributionIndex.open(
        make_index(tmp_path_factory.mktemp("index"), {"source.py": f"own = 1\n{copied}\nown\n"})
    )


def test_report(model: santacoder.SantaCoder, plain: santacoder.Completion, index: AttributionIndex) -> None:
    """The text is the same, and its match is there."""
    completion = model.complete(PROMPT, attribution=index, **OPTIONS)
    assert (completion.text, completion.tokens) == (plain.text, plain.tokens)
    assert completion.finish_reason == plain.finish_reason
    assert completion.attribution is not None
    [match] = completion.attribution
    assert (match.sources[0].path, match.lexemes) == ("source.py", len(split(plain.text.encode())) - 3)
    assert plain.text[match.start : match.end] == plain.text.rstrip()[match.start :]
    assert plain.attribution is None


def test_nothing_to_report(model: santacoder.SantaCoder, index: AttributionIndex) -> None:
    assert model.complete("x = 1", max_tokens=4, attribution=index).attribution == []


def stopped(completion: santacoder.Completion, index: AttributionIndex, plain: santacoder.Completion) -> bool:
    """Whether it ended, as late as possible, before the match."""
    assert completion.attribution == []
    assert plain.text.startswith(completion.text)
    return completion.finish_reason == "attribution" and len(split(completion.text.encode())) == 3 + 39


def test_stop(model: santacoder.SantaCoder, plain: santacoder.Completion, index: AttributionIndex) -> None:
    """In every way to ask for a completion."""
    keywords: dict[str, Any] = {**OPTIONS, "attribution": index, "on_match": "stop"}
    assert stopped(model.complete(PROMPT, **keywords), index, plain)
    for completions in model.complete_many([PROMPT] * 2, **keywords):
        assert stopped(completions[0], index, plain)
    pieces = list(model.stream(PROMPT, **keywords))
    assert plain.text.startswith("".join(piece.text for piece in pieces))
    assert (pieces[-1].finish_reason, pieces[-1].attribution) == ("attribution", ())
    assert all(piece.attribution is None for piece in pieces[:-1])
    assert stopped(asyncio.run(model.acomplete(PROMPT, **keywords)), index, plain)
    assert stopped(model.session().complete(PROMPT, **keywords), index, plain)
    requests = [santacoder.Request(PROMPT, keywords), santacoder.Request(PROMPT, OPTIONS)]  # type: ignore[arg-type]
    answers = dict(model.complete_each(requests))
    assert stopped(answers[0], index, plain)
    assert answers[1].text == plain.text


def test_longer_matches(model: santacoder.SantaCoder, plain: santacoder.Completion, index: AttributionIndex) -> None:
    completion = model.complete(PROMPT, attribution=index, on_match="stop", match_length=50, **OPTIONS)
    assert len(split(completion.text.encode())) == 3 + 49


def test_the_prompt_counts(model: santacoder.SantaCoder, plain: santacoder.Completion, index: AttributionIndex) -> None:
    """A match may begin in it, also in token ids; of what the caller wrote, nothing is reported."""
    lexemes = split(plain.text.encode())
    prompt = PROMPT + lexemes.part(0, 40).decode()
    for given, more in ((prompt, {}), (model.tokenizer.encode(prompt), {"token_healing": False})):
        keywords: dict[str, Any] = {**OPTIONS, **more, "attribution": index, "on_match": "stop"}
        assert model.complete(given, **keywords).attribution == []
    assert EnclosingText(prompt).matches(index, "") == []


def test_infilling(model: santacoder.SantaCoder, plain: santacoder.Completion, index: AttributionIndex) -> None:
    completion = model.infill(PROMPT, "\n", max_tokens=20, temperature=0, attribution=index)
    assert completion.attribution is not None
    assert completion.text == model.infill(PROMPT, "\n", max_tokens=20, temperature=0).text


def test_damaged_index(model: santacoder.SantaCoder, plain: santacoder.Completion, tmp_path: Path) -> None:
    """An error of its own request only."""
    path = make_index(tmp_path, {"source.py": plain.text})
    with AttributionIndex.open(path) as damaged:
        data = path.read_bytes()
        path.write_bytes(data[:4096] + bytes(len(data) - 4096))
        keywords: dict[str, Any] = {**OPTIONS, "attribution": damaged}
        with pytest.raises(santacoder.AttributionIndexError):
            model.complete(PROMPT, **keywords)
    with pytest.raises(santacoder.InvalidRequestError, match="is closed"):
        model.complete(PROMPT, **keywords)
    assert model.complete(PROMPT, **OPTIONS).text == plain.text


def test_bad_options(model: santacoder.SantaCoder, index: AttributionIndex) -> None:
    for keywords, said in (
        ({"attribution": "corpus.scidx"}, "attribution is 'corpus.scidx', but it must be an AttributionIndex"),
        ({"on_match": "warn"}, "on_match is 'warn', but it must be 'report' or 'stop'"),
        ({"match_length": 15}, "match_length is 15, but it must be an integer of 16 or more"),
        (
            {"attribution": index, "on_match": "stop", "match_length": 39},
            "match_length is 39, but it must be 40 or more with on_match 'stop': shorter spans are not always found",
        ),
    ):
        with pytest.raises(santacoder.InvalidRequestError) as caught:
            model.complete(PROMPT, **keywords)
        assert str(caught.value) == said
