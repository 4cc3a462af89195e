"""Attribution over HTTP: what of an answer is a copy, answers that end before they are one, and POST /attribute."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import santacoder
from santacoder.attribution.index import AttributionIndex
from santacoder.attribution.lexemes import split
from santacoder.model import SantaCoder
from santacoder.server import Settings, create_app
from santacoder.server.openapi import describe
from santacoder.sources.packaged import packaged_model
from tests.support.attribution_corpus import code, make_index
from tests.support.http_server import LiveServer, serving

C = "/v1/completions"
PROMPT = "import os\n\n\ndef main():\n"
OPTIONS: dict[str, Any] = {"max_tokens": 120, "temperature": 0.9, "seed": 3}
ASKED = {"prompt": PROMPT, **OPTIONS}


@pytest.fixture(scope="module")
def writer() -> Iterator[SantaCoder]:
    """The packaged model, which writes text that is long enough for a copy."""
    with santacoder.load(packaged_model()) as model:
        yield model


@pytest.fixture(scope="module")
def plain(writer: SantaCoder) -> str:
    return writer.complete(PROMPT, **OPTIONS).text


@pytest.fixture(scope="module")
def path(plain: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index in which that text is a part of a file."""
    copied = split(plain.encode()).part(3, len(split(plain.encode()))).decode()
    files = {"source.py": f"own = 1\n{copied}\nown\n", "other.py": code(1)}
    return make_index(tmp_path_factory.mktemp("index"), files)


@pytest.fixture(scope="module")
def reporting(writer: SantaCoder, path: Path) -> Iterator[LiveServer]:
    with serving(writer, Settings(drain=5, attribution=str(path))) as server:
        yield server


@pytest.fixture
def stopping(writer: SantaCoder, path: Path) -> Iterator[LiveServer]:
    with serving(writer, Settings(attribution=str(path), on_match="stop")) as server:
        yield server


def expected(path: Path, writer: SantaCoder, **more: Any) -> list[dict[str, Any]]:
    """What the library says of the text."""
    with AttributionIndex.open(path) as index:
        found = writer.complete(PROMPT, **OPTIONS, attribution=index, **more).attribution
    assert found is not None
    return [{**asdict(match), "sources": [asdict(source) for source in match.sources]} for match in found]


def test_choices_say_what_is_a_copy(reporting: LiveServer, writer: SantaCoder, plain: str, path: Path) -> None:
    """As the library does; the text is the same as without an index."""
    [choice] = reporting.post(C, ASKED).json["choices"]
    assert (choice["text"], choice["finish_reason"]) == (plain, "length")
    [match] = choice["attribution"]
    assert [match] == expected(path, writer)
    assert match["sources"][0]["path"] == "source.py"
    for asked in ({"n": 2}, {"suffix": "\n"}, {"max_tokens": 1}):
        for each in reporting.post(C, {**ASKED, **asked}).json["choices"]:
            assert isinstance(each["attribution"], list)


def test_the_last_event_of_a_choice_has_it(reporting: LiveServer, writer: SantaCoder, plain: str, path: Path) -> None:
    *events, done = reporting.post(C, {**ASKED, "stream": True}).events
    assert done == "[DONE]"
    assert "".join(event["choices"][0]["text"] for event in events) == plain
    assert ["attribution" in event["choices"][0] for event in events] == [False] * (len(events) - 1) + [True]
    assert events[-1]["choices"][0]["attribution"] == expected(path, writer)


@pytest.mark.parametrize("route", ["/completion", "/infill"])
def test_llama_cpp(reporting: LiveServer, route: str) -> None:
    body = {"prompt": PROMPT, "input_prefix": PROMPT, "input_suffix": "\n", "n_predict": 30}
    if route == "/infill":
        body["prompt"] = ""
    whole = reporting.post(route, {**body, "seed": 1}).json
    *events, last = reporting.post(route, {**body, "seed": 1, "stream": True}).events
    assert isinstance(whole["attribution"], list)
    assert last["attribution"] == whole["attribution"]
    assert all("attribution" not in event for event in events)


def test_stop(stopping: LiveServer, plain: str) -> None:
    """The text ends before it is a match; OpenAI's name for that is content_filter."""
    [choice] = stopping.post(C, ASKED).json["choices"]
    assert (choice["finish_reason"], choice["attribution"]) == ("content_filter", [])
    assert plain.startswith(choice["text"])
    assert len(split(choice["text"].encode())) == 3 + 39
    *events, _ = stopping.post(C, {**ASKED, "stream": True}).events
    assert "".join(event["choices"][0]["text"] for event in events) == choice["text"]
    assert events[-1]["choices"][0]["finish_reason"] == "content_filter"
    body = {"prompt": PROMPT, "temperature": 0.9, "seed": 3, "n_predict": 120}
    answer = stopping.post("/completion", body).json
    assert (answer["content"], answer["stop_type"], answer["attribution"]) == (choice["text"], "limit", [])
    assert 'endpoint="completions",outcome="attribution"} 2' in stopping.get("/metrics").body.decode()


def test_attribute(reporting: LiveServer, path: Path) -> None:
    text = "own\n" + code(1, 12)
    with AttributionIndex.open(path) as index:
        [match] = index.find(text)
    [found] = reporting.post("/attribute", {"text": text}).json["matches"]
    assert (found["start"], found["end"], found["lexemes"]) == (match.start, match.end, match.lexemes)
    assert found["sources"][0]["path"] == "other.py"
    more = {"text": text, "min_length": match.lexemes + 1, "path": "/etc/passwd"}
    reply = reporting.post("/attribute", more)
    assert (reply.json, reply.headers["x-santacoder-ignored"]) == ({"matches": []}, "path")
    assert reporting.post("/attribute", {"text": ""}).json == {"matches": []}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "text is missing: it must be a text"),
        ({"text": 5}, "text is a number, but it must be a text"),
        ({"text": "x" * 262145}, "text has 262145 characters, but 262144 are the most"),
        ({"text": "x", "min_length": 15}, "min_length is 15, but it must be an integer in 16..2147483647"),
    ],
)
def test_bad_checks(reporting: LiveServer, body: object, said: str) -> None:
    reply = reporting.post("/attribute", body)
    assert (reply.status, reply.error["message"]) == (400, said)


def test_no_request_names_an_index(reporting: LiveServer, path: Path) -> None:
    """Nor how it is used: that is for whoever starts the server."""
    fields = {"attribution": str(path), "on_match": "stop", "match_length": 1}
    reply = reporting.post(C, {**ASKED, **fields})
    assert reply.json["choices"][0]["finish_reason"] == "length"
    assert reply.headers["x-santacoder-ignored"] == "attribution,on_match,match_length"


def test_what_the_server_says_of_itself(reporting: LiveServer, path: Path) -> None:
    props = reporting.get("/props")
    size = sum(each.stat().st_size for each in (path.parent / "corpus").iterdir())
    assert props.json["attribution"] == {
        "on_match": "report", "match_length": 40, "guarantee": 40, "files": 2, "size": size,
    }  # fmt: skip
    assert str(path).encode() not in props.body
    description = reporting.get("/openapi.json").json
    assert description == describe(Settings(drain=5, attribution=str(path)))
    schema = description["components"]["schemas"]["Match"]
    [match] = reporting.post("/attribute", {"text": code(1)}).json["matches"]
    assert set(match) == set(schema["required"])
    assert set(match["sources"][0]) == set(schema["properties"]["sources"]["items"]["required"])
    fields = description["paths"]["/attribute"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(fields["properties"]) == {"text", "min_length"}


def test_without_an_index(server: LiveServer) -> None:
    assert server.get("/props").json["attribution"] is None
    assert "attribution" not in server.post(C, {"prompt": "a", "max_tokens": 1}).json["choices"][0]
    reply = server.post("/attribute", {"text": "a"})
    assert (reply.status, reply.error["message"]) == (
        404, "'/attribute' is not found: the server was started without --attribution",
    )  # fmt: skip


def test_an_index_that_cannot_be_used(writer: SantaCoder, path: Path, tmp_path: Path) -> None:
    """The server does not start."""
    (tmp_path / "text").write_text("x" * 5000)
    for settings, error in (
        ({"attribution": str(tmp_path / "none")}, FileNotFoundError),
        ({"attribution": str(tmp_path / "text")}, santacoder.AttributionIndexError),
        ({"attribution": str(path), "on_match": "stop", "match_length": 39}, santacoder.InvalidRequestError),
    ):
        with pytest.raises(error):
            create_app(writer, Settings(**settings))


def test_a_damaged_index(writer: SantaCoder, plain: str, tmp_path: Path) -> None:
    """Requests fail, and the server goes on."""
    path = make_index(tmp_path, {"source.py": plain})
    with serving(writer, Settings(drain=5, attribution=str(path))) as server:
        data = path.read_bytes()
        path.write_bytes(data[:4096] + bytes(len(data) - 4096))
        assert server.post(C, ASKED).status == 500
        assert server.post("/attribute", {"text": plain}).status == 500
        assert server.get("/health").status == 200
