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
from tests.support.recorded_requests import answered, recorded
from tests.support.waiting import wait_for

COUNT = 200


@pytest.fixture(scope="module")
def server(model: SantaCoder) -> Iterator[LiveServer]:
    with serving(model, Settings(max_queue=1000)) as server:
        yield server


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
