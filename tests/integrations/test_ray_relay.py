"""What of a server on a Ray cluster needs no Ray: answers that begin again, and the beginnings of prompts."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest
from starlette.types import Message

from santacoder.integrations.ray_serve.call import CHARACTERS, TOKENS, digest_of_beginning
from santacoder.integrations.ray_serve.command import main, make_parser
from santacoder.integrations.ray_serve.relay import RefusedAgainError, Relay
from santacoder.server.strict_json import write_json

STREAM = [(b"content-type", b"text/event-stream; charset=utf-8")]


def start(status: int = 200, headers: list[tuple[bytes, bytes]] = STREAM) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(*events: Any, more: bool = True) -> Message:
    data = b"".join(event if isinstance(event, bytes) else b"data: " + write_json(event) + b"\n\n" for event in events)
    return {"type": "http.response.body", "body": data, "more_body": more}


def choice(index: int, text: str, id: str = "a") -> dict[str, Any]:
    return {"id": id, "created": len(id), "choices": [{"index": index, "text": text}]}


DONE = b"data: [DONE]\n\n"


def passed_on(*runs: list[Message]) -> list[Message]:
    """What a client gets when each run but the last breaks off."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def take_all() -> None:
        relay = Relay(send)
        for number, run in enumerate(runs):
            if number:
                relay.begin_again()
            for message in run:
                await relay.take(message)

    asyncio.run(take_all())
    return sent


def data(sent: list[Message]) -> bytes:
    return b"".join(message.get("body", b"") for message in sent)


WHOLE = [
    start(), body(choice(0, "x"), choice(1, "p")), body(choice(0, "y")), body(b":\n\n"), body(choice(1, "q")),
    body({"id": "a", "created": 1, "choices": [], "usage": {}}, DONE), body(more=False),
]  # fmt: skip


def test_an_answer_that_does_not_break_off_passes_unchanged() -> None:
    assert passed_on(WHOLE) == WHOLE


@pytest.mark.parametrize("got", range(len(WHOLE)))
def test_a_stream_that_begins_again_has_each_event_once(got: int) -> None:
    """The second run has other names, and its samples come in another order."""
    again = [
        start(), body(choice(1, "p", "bb")), body(choice(1, "q", "bb")), body(choice(0, "x", "bb")),
        body(choice(0, "y", "bb")), body({"id": "bb", "created": 2, "choices": [], "usage": {}}, DONE),
        body(more=False),
    ]  # fmt: skip
    sent = passed_on(WHOLE[:got], again)
    assert [message["type"] for message in sent].count("http.response.start") == 1
    assert sent[-1] == body(more=False)
    events = [event for event in data(sent).split(b"\n\n") if event and event != b":"]
    values = [json.loads(event[6:]) for event in events[:-1]]
    assert events[-1] == b"data: [DONE]"
    assert len({(value["id"], value["created"]) for value in values}) == 1
    assert values[0]["id"] == ("a" if got > 1 else "bb")
    texts = ["", ""]
    for value in values[:-1]:
        texts[value["choices"][0]["index"]] += value["choices"][0]["text"]
    assert texts == ["xy", "pq"]


def test_final_objects_without_an_index() -> None:
    """`response_fields` may leave nothing of them."""
    event = {"index": 0, "content": "x"}
    first = [start(), body(event), body({"stop": True})]
    again = [start(), body(event), body({"stop": True}), body({"index": 1, "content": "y"}), body({"stop": True})]
    assert data(passed_on(first, [*again, body(more=False)])) == data(again)


def test_an_error_of_the_second_run_is_shown() -> None:
    error = {"error": {"message": "it failed"}}
    sent = passed_on([start(), body(choice(0, "x"))], [start(), body(choice(0, "x")), body(error), body(more=False)])
    assert data(sent) == data([body(choice(0, "x"), error)])


def test_an_answer_that_is_no_stream_is_passed_on_when_it_is_complete() -> None:
    head = start(headers=[(b"content-type", b"application/json")])
    half, rest = body(b'{"a":'), body(b"1}", more=False)
    assert passed_on([head, half]) == []
    assert passed_on([head, half], [head, half, rest]) == [head, half, rest]


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_counts_only_the_first_time(status: int) -> None:
    refusal = [start(status, headers=[]), body(b"{}", more=False)]
    assert passed_on(refusal) == refusal
    with pytest.raises(RefusedAgainError):
        passed_on([], refusal)
    with pytest.raises(RefusedAgainError):
        passed_on([start(), body(choice(0, "x"))], refusal)


def test_the_command_without_ray(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([]) == 1
    told = "python -m santacoder.integrations.ray_serve needs Ray: `pip install santacoder[ray-serve]`"
    assert capsys.readouterr().err == f"santacoder: {told}\n"


def beginning(path: str, suffix_first: bool = True, **fields: Any) -> bytes | None:
    return digest_of_beginning(path, json.dumps(fields).encode(), suffix_first)


LONG = "x" * CHARACTERS


@pytest.mark.parametrize("option", ["--no-metrics", "--no-slots", "--project=.", "--no-prefix-cache"])
def test_options_of_one_machine_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        make_parser().parse_args([option])
    assert ended.value.code == 2
    assert f"unrecognized arguments: {option}" in capsys.readouterr().err


def test_equal_beginnings() -> None:
    """Of texts, of the first of several, and of ids; what comes after the first block does not count."""
    at = "/v1/completions"
    assert beginning(at, prompt=LONG + "a", seed=1) == beginning("/completion", prompt=[LONG + "b", "c"], n_predict=2)
    assert beginning(at, prompt=LONG[1:] + "a") != beginning(at, prompt=LONG[1:] + "b")
    assert beginning(at, prompt=[*range(TOKENS), 7]) == beginning(at, prompt=[[*range(TOKENS), 8], [1]])
    assert beginning(at, prompt="\ud800") is not None


def test_the_beginning_to_infill_is_what_the_model_reads_first() -> None:
    at = "/infill"
    assert beginning(at, input_prefix="a", input_suffix=LONG) == beginning(at, prompt="c", input_suffix=LONG)
    assert beginning(at, False, input_prefix=LONG, prompt="a") == beginning(at, False, input_prefix=LONG)
    assert beginning(at, input_prefix="a", prompt="b", input_suffix="") == beginning(at, input_prefix="ab")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"5", b"[" * 100_000, b"\xff"])
def test_bodies_without_a_beginning(data: bytes) -> None:
    assert digest_of_beginning("/completion", data, True) is None
    assert digest_of_beginning("/tokenize", b'{"prompt":"a"}', True) is None


@pytest.mark.parametrize("fields", [{}, {"prompt": 5}, {"prompt": None}, {"prompt": []}, {"prompt": [[], 1]}])
def test_prompts_that_are_none(fields: dict[str, Any]) -> None:
    """A replica refuses them, any."""
    assert beginning("/completion", **fields) is not None
