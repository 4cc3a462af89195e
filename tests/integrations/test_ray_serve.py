"""Replicas on a local Ray cluster answer as the library does in process, even while they are killed."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

import santacoder
from santacoder.model import SantaCoder
from santacoder.sources.packaged import packaged_model
from tests.support.http_server import HttpClient
from tests.support.ray_processes import ray_processes
from tests.support.recorded_requests import answered, recorded
from tests.support.waiting import HANG, wait_for

router: Any = pytest.importorskip("santacoder.integrations.ray_serve.router")
pytestmark = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two replicas need two CPUs")

COUNT = 200
KEY = "secret"
COMMAND = [sys.executable, "-m", "santacoder.integrations.ray_serve", "-m", str(packaged_model())]


class Replicas(HttpClient):
    """Two replicas behind a door."""

    def __init__(self, process: subprocess.Popen[str], port: int, log: list[str]) -> None:
        super().__init__(port)
        self.process = process
        self.log = log

    def connect(self) -> socket.socket:
        connection = super().connect()
        connection.settimeout(HANG)
        return connection

    def processes(self) -> list[int]:
        """Return the process ids of the replicas."""
        return ray_processes("ServeReplica:santacoder:santacoder-replica", self.process.pid)


@contextmanager
def started(*arguments: str) -> Iterator[Replicas]:
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    environment.pop("RAY_ADDRESS", None)
    command = [*COMMAND, "--port", "0", "--threads", "1", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if found := re.search(r"replicas answer at http://127\.0\.0\.1:(\d+)", line):
            break
    assert found, lines
    log = threading.Thread(target=lines.extend, args=[process.stderr])
    log.start()
    try:
        yield Replicas(process, int(found[1]), lines)
    finally:
        process.terminate()
        status = process.wait(HANG)
        log.join()
        process.stderr.close()
    assert status == 0, lines
    ours = [line for line in lines if "ServeController" not in line]  # which tells of each replica that died
    assert not any("Traceback" in line for line in ours), lines


@pytest.fixture(scope="module")
def model() -> Iterator[SantaCoder]:
    with santacoder.load(threads=1) as model:
        yield model


@pytest.fixture(scope="module")
def requests(model: SantaCoder) -> list[tuple[str, dict[str, Any], Any]]:
    return [recorded(model, number) for number in range(COUNT)]


@pytest.fixture(scope="module")
def replicas() -> Iterator[Replicas]:
    with started("--replicas", "2", "--max-queue", "1000") as replicas:
        yield replicas


def ask_all(replicas: Replicas, requests: list[tuple[str, dict[str, Any], Any]], done: list[int]) -> None:
    """Ask 16 at a time, half of them for streams."""

    def ask(number: int) -> None:
        path, body, expected = requests[number]
        stream = random.Random(number).random() < 0.5
        assert answered(replicas, path, body, stream) == expected, (number, path, body, stream)
        done.append(number)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(COUNT)))


def test_answers_are_those_in_process(replicas: Replicas, requests: list[tuple[str, dict[str, Any], Any]]) -> None:
    ask_all(replicas, requests, [])


def test_equal_beginnings_go_to_the_replica_that_has_them(replicas: Replicas) -> None:
    """All requests but the first of each group find their beginning in a cache."""
    chance = random.Random(0)
    groups = [f"# {chance.random()}\n" + "".join(f"x{i} = {i}\n" for i in range(40)) for _ in range(12)]
    for text in groups:  # a replica keeps only the last few
        for number in range(6):
            reply = replicas.post("/v1/completions", {"prompt": f"{text}y{number} = ", "max_tokens": 2})
            cached = reply.json["usage"]["prompt_tokens_details"]["cached_tokens"]
            assert (cached > 200) == (number > 0)


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


def test_killed_replicas(replicas: Replicas, requests: list[tuple[str, dict[str, Any], Any]]) -> None:
    """Two are killed under load, the second one when the first one is there again."""
    done: list[int] = []
    killed: list[int] = []

    def kill_one(after: int) -> None:
        wait_for(lambda: len(done) >= after and len(replicas.processes()) == 2)
        killed.append(replicas.processes()[0])
        kill(killed[-1])

    def kill_two() -> None:
        kill_one(after=20)
        kill_one(after=60)

    killer = threading.Thread(target=kill_two)
    killer.start()
    for _ in range(3):
        ask_all(replicas, requests, done)
    killer.join()
    assert len(set(killed)) == 2


def test_a_stream_whose_replicas_all_die(replicas: Replicas, model: SantaCoder) -> None:
    """It goes on where it was, with the seed that was drawn for it."""
    wait_for(lambda: len(replicas.processes()) == 2)
    body = {"prompt": ["def f", "def f"], "n": 8, "max_tokens": 1000, "ignore_eos": True, "stream": True}
    data = json.dumps(body).encode()
    with replicas.connect() as connection:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n")
        connection.sendall(b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        received = connection.recv(1 << 16)
        while b'"index":15' not in received:
            received += connection.recv(1 << 16)
        for process in replicas.processes():
            kill(process)
        while part := connection.recv(1 << 16):
            received += part
    events = [json.loads(line[6:]) for line in received.split(b"\n") if line.startswith(b"data: {")]
    texts, seeds = [""] * 16, [0] * 16
    for event in events:
        [choice] = event["choices"]
        texts[choice["index"]] += choice["text"]
        seeds[choice["index"]] = choice["seed"]
    assert len({event["id"] for event in events}) == 1
    assert seeds == [seeds[0]] * 8 + [seeds[8]] * 8
    assert seeds[0] != seeds[8]
    for first in (0, 8):
        options: Any = {"max_tokens": 1000, "ignore_eos": True, "temperature": 0.2, "top_p": 0.95}
        [row] = model.complete_many(["def f"], n=8, seed=seeds[first], progress=False, **options)
        assert [each.text for each in row] == texts[first : first + 8]


def test_beginnings_move_only_when_their_replica_goes() -> None:
    beginnings = [bytes([number]) for number in range(200)]
    loads = dict.fromkeys("abcd", 0)
    first = {beginning: router.ranked(beginning, loads)[0] for beginning in beginnings}
    assert all(list(first.values()).count(id) > 30 for id in loads)
    for gone in loads:
        rest = {id: 0 for id in loads if id != gone}
        moved = {beginning for beginning in beginnings if router.ranked(beginning, rest)[0] != first[beginning]}
        assert moved == {beginning for beginning in beginnings if first[beginning] == gone}


def test_a_replica_with_much_more_to_do_comes_last() -> None:
    first, second, *_ = router.ranked(b"x", dict.fromkeys("abcd", 0))
    for others, most in ((0, 1), (4, 7), (100, 125)):  # the request itself is one more
        loads = dict.fromkeys("abcd", others)
        assert router.ranked(b"x", {**loads, first: most})[0] == first
        assert router.ranked(b"x", {**loads, first: most + 60})[0] == second
        assert router.ranked(b"x", {**loads, first: most + 60})[-1] == first


def test_what_the_application_refuses(replicas: Replicas) -> None:
    for path, body, status in [
        ("/v1/completions", {"prompt": 5}, 400),
        ("/v1/completions", {"prompt": "x" * (5 << 20)}, 413),
        ("/nope", {}, 404),
        ("/metrics", {}, 404),
    ]:
        reply = replicas.post(path, body)
        assert (reply.status, list(reply.json)) == (status, ["error"])
        assert replicas.post("/v1/completions", {"prompt": "a", "max_tokens": 1}).status == 200
    reply = replicas.get("/health", {"Host": "evil.example"})
    assert (reply.status, reply.error["code"]) == (403, 403)
    assert replicas.get("/").status == 200


def test_a_client_that_leaves(replicas: Replicas) -> None:
    """Its work ends: what fills the whole batch for long would keep the next request waiting."""
    body = {"prompt": "a", "n": 64, "max_tokens": 1000, "ignore_eos": True, "stream": True}
    data = json.dumps(body).encode()
    for _ in range(8):
        with replicas.connect() as connection:
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n")
            connection.sendall(b"Content-Length: %d\r\n\r\n" % len(data) + data)
            assert b'"index"' in connection.recv(1 << 16) + connection.recv(1 << 16)
    assert replicas.post("/v1/completions", {"prompt": "a", "max_tokens": 1}).status == 200


def test_keys_and_the_log(tmp_path: Any) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n")
    with started("--max-replicas", "2", "--api-key-file", str(keys)) as one:
        good = {"prompt": "zebra", "max_tokens": 1}
        reply = one.post("/v1/completions", good)
        assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")
        answers = [one.post("/v1/completions", good, {"Authorization": f"Bearer {KEY}"}) for _ in range(5)]
        assert [answer.status for answer in answers] == [200] * 5
        assert len(one.processes()) == 1
        ids = [answer.headers["x-request-id"] for answer in answers]
        wait_for(lambda: all(id in "".join(one.log) for id in ids))
    assert not any(secret in line for line in one.log for secret in (KEY, "zebra"))


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--replicas", "0"], 1, "santacoder: replicas is 0, but it must be an integer of 1 or more"),
        (["--replicas", "3", "--max-replicas", "2"], 1, "santacoder: max_replicas is 2, but it must be "),
        (["--replicas", "1000", "--threads", "1"], 1, "santacoder: 1000 replicas of 1 threads need 1000 CPUs, but "),
        (["--host", "0.0.0.0"], 2, "santacoder: 0.0.0.0 can be reached from other machines: set a key with "),
        (["--no-metrics"], 2, "santacoder: unrecognized arguments: --no-metrics"),
        (["-m", "nowhere.gguf"], 1, "santacoder: nowhere.gguf: "),
    ],
)
def test_bad_arguments(arguments: list[str], status: int, message: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=HANG, check=False, env=environment
    )
    assert done.returncode == status, done.stderr
    assert done.stderr.splitlines()[-1].startswith(message)
    assert "Traceback" not in done.stderr
