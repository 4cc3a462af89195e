"""Many requests of all dialects at once, some of them cut off: each answer is the one in process, to the byte."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from santacoder.model import SantaCoder
from santacoder.server import Settings
from tests.support.http_server import LiveServer, serving
from tests.support.waiting import wait_for

PIECES = [
    "def add(a, b):\n",
    "    return",
    " x",
    "é",
    "\U0001f600",
    "import os\n",
    "class A:\n\n",
    "# ",
    "<|endoftext|>",
    "1",
]
COUNT = 200


@pytest.fixture(scope="module")
def server(model: SantaCoder) -> Iterator[LiveServer]:
    with serving(model, Settings(max_queue=1000)) as server:
        yield server


def text(chance: random.Random) -> str:
    return "".join(chance.choices(PIECES, k=chance.randint(0, 6)))


def options(chance: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {
        "max_tokens": chance.randint(0, 24),
        "temperature": chance.choice([0, 0.2, 0.8, 2.0]),
        "top_p": chance.choice([1, 0.9, 0.5]),
        "seed": chance.randrange(1 << 64),
        "stop": chance.sample(["\n", "e", "ab", ")"], chance.randint(0, 2)),
        "presence_penalty": chance.choice([0, 0.5]),
        "ignore_eos": chance.random() < 0.5,
    }
    if chance.random() < 0.3:
        found |= {"top_k": 40, "min_p": 0.05}
    return found


def recorded(model: SantaCoder, number: int) -> tuple[str, dict[str, Any], Any]:
    """Make request number `number`: its path, its body, and what the library answers."""
    chance = random.Random(number)
    keywords, n = options(chance), chance.choice([1, 1, 2, 4])
    kind = number % 5
    if kind == 0:
        prompts = [text(chance) for _ in range(chance.randint(1, 3))]
        rows = model.complete_many(prompts, n=n, progress=False, **keywords)
        return "/v1/completions", {"prompt": prompts, "n": n, **keywords}, [each.text for row in rows for each in row]
    if kind == 1:
        ids = [chance.randrange(model.config.vocab_size) for _ in range(chance.randint(1, 30))]
        keywords["max_tokens"] = 1
        score = model.score(ids)
        body = {"prompt": [ids], "echo": True, "logprobs": 1, **keywords}
        return "/v1/completions", body, score.logprobs
    before, after = text(chance), text(chance)
    if kind == 2:
        rows = model.infill_many([(before, after)], n=n, progress=False, **keywords)
        body = {"prompt": before, "suffix": after, "n": n, **keywords}
        return "/v1/completions", body, [each.text for row in rows for each in row]
    n_predict = keywords.pop("max_tokens")
    if kind == 3:
        rows = model.complete_many([before], n=n, progress=False, max_tokens=n_predict, **keywords)
        body = {"prompt": before, "n_cmpl": n, "n_predict": n_predict, **keywords}
        return "/completion", body, [each.text for each in rows[0]]
    rows = model.infill_many([(before, after)], n=n, mode="spm", progress=False, max_tokens=n_predict, **keywords)
    body = {
        "input_prefix": "",
        "prompt": before,
        "input_suffix": after,
        "n_cmpl": n,
        "n_predict": n_predict,
        **keywords,
    }
    return "/infill", body, [each.text for each in rows[0]]


def answered(server: LiveServer, path: str, body: dict[str, Any], stream: bool) -> Any:
    """Ask, and return the texts, or the log-probabilities of the prompt."""
    reply = server.post(path, {**body, "stream": stream})
    assert reply.status == 200, reply.body
    if path == "/v1/completions":
        choices = (
            [each for event in reply.events[:-1] for each in event["choices"]] if stream else reply.json["choices"]
        )
        if "logprobs" in body:
            return [value for each in choices for value in each["logprobs"]["token_logprobs"]][: len(body["prompt"][0])]
    else:
        found = reply.events if stream else reply.json
        choices = found if isinstance(found, list) else [found]
    texts: dict[int, str] = {}
    for choice in choices:
        index = choice["index"]
        texts[index] = texts.get(index, "") + choice["text" if path == "/v1/completions" else "content"]
    return [texts[index] for index in sorted(texts)]


def cut_off(server: LiveServer, path: str, body: dict[str, Any], chance: random.Random) -> None:
    """Ask for a stream, and leave at any moment."""
    data = json.dumps({**body, "stream": True, "ignore_eos": True}).encode()
    with server.connect() as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data
        )
        left = chance.randint(0, 3000)
        while left > 0 and (part := connection.recv(left)):
            left -= len(part)
            if b"0\r\n\r\n" in part:
                break


def test_answers_are_those_in_process(server: LiveServer, model: SantaCoder) -> None:
    requests = [recorded(model, number) for number in range(COUNT)]

    def ask(number: int) -> None:
        path, body, expected = requests[number]
        chance = random.Random(number)
        for _ in range(chance.choice([0, 0, 1])):
            cut_off(server, path, requests[number - 1][1] if requests[number - 1][0] == path else body, chance)
        stream = chance.random() < 0.5
        assert answered(server, path, body, stream) == expected, (number, path, body, stream)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(COUNT)))
    wait_for(lambda: model.counters().running + model.counters().waiting == 0)
