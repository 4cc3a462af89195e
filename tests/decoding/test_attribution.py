"""Completions with an attribution index: what of a text is a copy, and texts that end before they are one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import santacoder
from santacoder.attribution.generated import EnclosingText
from santacoder.attribution.index import AttributionIndex
from santacoder.attribution.lexemes import split
from santacoder.requests import check_request, new_sequences, sampling_params
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
    return index_of(plain.text, tmp_path_factory.mktemp("index"))


def index_of(text: str, folder: Path) -> AttributionIndex:
    """An index of a file of which a text, but for its first three lexemes, is a part."""
    lexemes = split(text.encode())
    copied = lexemes.part(3, len(lexemes)).decode()
    return AttributionIndex.open(make_index(folder, {"source.py": f"own = 1\n{copied}\nown\n"}))


def test_nothing_to_report(model: santacoder.SantaCoder, index: AttributionIndex) -> None:
    assert model.complete("x = 1", max_tokens=4, attribution=index).attribution == []


def stopped(completion: santacoder.Completion, index: AttributionIndex, plain: santacoder.Completion) -> bool:
    """Whether it ended, as late as possible, before the match."""
    assert completion.attribution == []
    assert plain.text.startswith(completion.text)
    return completion.finish_reason == "attribution" and len(split(completion.text.encode())) == 3 + 39


def joined(pieces: list[santacoder.Piece]) -> santacoder.Completion:
    """The completion of a stream, of which only the last piece says what is a copy."""
    assert all(piece.attribution is None for piece in pieces[:-1])
    completion = pieces[-1].completion
    assert completion is not None
    assert "".join(piece.text for piece in pieces) == completion.text
    assert pieces[-1].attribution == tuple(completion.attribution or ())
    return completion


async def gathered(stream: Any) -> list[Any]:
    return [each async for each in stream]


def first(rows: Any) -> santacoder.Completion:
    """One of several completions that are the same."""
    [[one], [other]] = rows
    assert (one.text, one.attribution) == (other.text, other.attribution)
    found: santacoder.Completion = one
    return found


def of_many(found: list[tuple[int, int, santacoder.Piece]]) -> santacoder.Completion:
    return first([[joined([piece for prompt, _, piece in found if prompt == each])] for each in (0, 1)])


def two_requests(keywords: dict[str, Any]) -> list[santacoder.Request]:
    return [santacoder.Request(PROMPT, each) for each in (keywords, OPTIONS)]  # type: ignore[arg-type]


def each_of(requests: Any) -> santacoder.Completion:
    """One of several whose other one has no index."""
    answers = dict(requests)
    assert answers[1].attribution is None
    found: santacoder.Completion = answers[0]
    return found


COMPLETE: dict[str, Callable[[santacoder.SantaCoder, dict[str, Any]], santacoder.Completion]] = {
    "complete": lambda model, k: model.complete(PROMPT, **k),
    "complete_many": lambda model, k: first(model.complete_many([PROMPT] * 2, **k)),
    "complete_each": lambda model, k: each_of(model.complete_each(two_requests(k))),
    "stream": lambda model, k: joined(list(model.stream(PROMPT, **k))),
    "session": lambda model, k: model.session().complete(PROMPT, **k),
    "session.stream": lambda model, k: joined(list(model.session().stream(PROMPT, **k))),
    "acomplete": lambda model, k: asyncio.run(model.acomplete(PROMPT, **k)),
    "astream": lambda model, k: joined(asyncio.run(gathered(model.astream(PROMPT, **k)))),
    "acomplete_each": lambda model, k: each_of(asyncio.run(gathered(model.acomplete_each(two_requests(k))))),
    "session.acomplete": lambda model, k: asyncio.run(model.session().acomplete(PROMPT, **k)),
    "session.astream": lambda model, k: joined(asyncio.run(gathered(model.session().astream(PROMPT, **k)))),
    "acomplete_many": lambda model, k: first(asyncio.run(model.acomplete_many([PROMPT] * 2, **k))),
    "astream_many": lambda model, k: of_many(asyncio.run(gathered(model.astream_many([PROMPT] * 2, **k)))),
}
GAP = PROMPT, "\n\nmain()\n"
INFILL: dict[str, Callable[[santacoder.SantaCoder, dict[str, Any]], santacoder.Completion]] = {
    "infill": lambda model, k: model.infill(*GAP, **k),
    "infill_many": lambda model, k: first(model.infill_many([GAP] * 2, **k)),
    "stream_infill": lambda model, k: joined(list(model.stream_infill(*GAP, **k))),
    "session": lambda model, k: model.session().infill(*GAP, **k),
    "session.stream": lambda model, k: joined(list(model.session().stream_infill(*GAP, **k))),
    "ainfill": lambda model, k: asyncio.run(model.ainfill(*GAP, **k)),
    "astream_infill": lambda model, k: joined(asyncio.run(gathered(model.astream_infill(*GAP, **k)))),
    "session.ainfill": lambda model, k: asyncio.run(model.session().ainfill(*GAP, **k)),
    "session.astream_infill": lambda model, k: joined(asyncio.run(gathered(model.session().astream_infill(*GAP, **k)))),
    "ainfill_many": lambda model, k: first(asyncio.run(model.ainfill_many([GAP] * 2, **k))),
    "astream_infill_many": lambda model, k: of_many(asyncio.run(gathered(model.astream_infill_many([GAP] * 2, **k)))),
}


@pytest.mark.parametrize("door", COMPLETE)
def test_every_call_that_completes(
    model: santacoder.SantaCoder, plain: santacoder.Completion, index: AttributionIndex, door: str
) -> None:
    check_door(COMPLETE[door], model, plain, index)


@pytest.mark.parametrize("door", INFILL)
def test_every_call_that_infills(model: santacoder.SantaCoder, door: str, tmp_path: Path) -> None:
    plain = model.infill(*GAP, ignore_eos=True, **OPTIONS)
    with index_of(plain.text, tmp_path) as index:
        check_door(lambda model, k: INFILL[door](model, {"ignore_eos": True, **k}), model, plain, index)


def check_door(
    door: Callable[[santacoder.SantaCoder, dict[str, Any]], santacoder.Completion],
    model: santacoder.SantaCoder,
    plain: santacoder.Completion,
    index: AttributionIndex,
) -> None:
    """A report leaves the text as it is; "stop" ends it, as late as possible, before the match."""
    reported = door(model, {**OPTIONS, "attribution": index})
    assert (reported.text, reported.tokens, reported.finish_reason) == (plain.text, plain.tokens, plain.finish_reason)
    assert reported.attribution is not None
    [match] = reported.attribution
    assert (match.sources[0].path, match.lexemes) == ("source.py", len(split(plain.text.encode())) - 3)
    stopped = door(model, {**OPTIONS, "attribution": index, "on_match": "stop"})
    assert plain.text.startswith(stopped.text)
    assert (stopped.finish_reason, stopped.attribution) == ("attribution", [])
    assert len(split(stopped.text.encode())) == 3 + 39


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


def test_an_index_is_closed_when_a_deadline_comes(model: santacoder.SantaCoder, tmp_path: Path) -> None:
    """The request has the error: raised where it ends, others would get it."""
    with index_of(PROMPT * 9, tmp_path) as closed:
        params = sampling_params({"attribution": closed})
    [sequence] = new_sequences(check_request(model.tokenizer, model.context, PROMPT, params))
    sequence.expire()
    with pytest.raises(santacoder.InvalidRequestError, match="is closed"):
        sequence.completion()


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
