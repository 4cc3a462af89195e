"""The life of a server and of its requests: loading, disconnects, the queue, and the end."""

from __future__ import annotations

import json
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import santacoder
from santacoder.model import SantaCoder
from santacoder.server import Settings
from tests.support.http_server import GOOD, LiveServer, Reply, serving
from tests.support.paths import FILE
from tests.support.waiting import wait_for

LONG = {"prompt": "a", "max_tokens": 1 << 20, "ignore_eos": True, "seed": 1, "temperature": 2.0}
POST = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}"


def send(server: LiveServer, body: object) -> socket.socket:
    connection = server.connect()
    data = json.dumps(body)
    connection.sendall(POST.format(len(data), data).encode())
    return connection


class Slow:
    """Stands between a model and its steps: none goes on before the gate is open, or each takes a moment."""

    def __init__(self, model: SantaCoder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = threading.Event()
        self.steps = 0
        self.creeps = False
        transformer = model._scheduler.engine
        forward = transformer.forward_batch

        def slow(*args: Any) -> Any:
            self.steps += 1
            while not self.gate.wait(0.01):
                if self.creeps or args[2]():  # nobody wants it any more
                    break
            return forward(*args)

        monkeypatch.setattr(transformer, "forward_batch", slow)


@pytest.fixture
def slow(own: SantaCoder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    slow = Slow(own, monkeypatch)
    yield slow
    slow.gate.set()


def test_loading(model: SantaCoder) -> None:
    go = threading.Event()

    def load() -> SantaCoder:
        go.wait()
        return santacoder.load(FILE, threads=1)

    with serving(load) as server:
        for path in ("/health", "/v1/models", "/props"):
            reply = server.get(path)
            assert (reply.status, reply.error["type"]) == (503, "unavailable_error")
            assert 1 <= int(reply.headers["retry-after"]) <= 60
        assert server.post("/v1/completions", GOOD).error["code"] == "loading"
        go.set()
        wait_for(lambda: server.get("/health").status == 200)
        expected = model.complete(GOOD["prompt"], max_tokens=6, temperature=0.8, seed=7)  # type: ignore[arg-type]
        assert server.good()[0]["text"] == expected.text


def test_a_model_that_cannot_be_loaded_in_another_server(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("santacoder.server"), "propagate", True)  # the command sets it otherwise

    def load() -> SantaCoder:
        return santacoder.load("no-such-file.gguf")

    with serving(load, stops=False) as server:
        wait_for(lambda: server.get("/v1/health").error["code"] == "load_failed")
        assert "the model could not be loaded: [Errno 2]" in caplog.text


def test_a_model_that_cannot_be_loaded_ends_the_server() -> None:
    def load() -> SantaCoder:
        return santacoder.load("no-such-file.gguf")

    with serving(load) as server:
        server.thread.join(30)
        assert not server.thread.is_alive()
        assert isinstance(server.server.service.failure, FileNotFoundError)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_stops_the_work(own: SantaCoder, slow: Slow, stream: bool) -> None:
    with serving(own) as server:
        connection = send(server, {**LONG, "n": 3, "stream": stream})
        wait_for(lambda: own.counters().running == 3)
        connection.close()
        wait_for(lambda: own.counters().running == 0)
        slow.gate.set()
        wait_for(lambda: server.server.service.metrics.requests["completions", "cancelled"] == 1)
        assert server.good()


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_are_counted_before_the_end(
    own: SantaCoder, slow: Slow, stream: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("santacoder.server"), "propagate", True)  # the command sets it otherwise
    slow.creeps = True
    with caplog.at_level(logging.INFO, "santacoder.server"), serving(own) as server:
        connection = send(server, {**LONG, "n": 2, "stream": stream})

        def decoded() -> list[int]:
            return [slot["next_token"][0]["n_decoded"] for slot in server.get("/slots").json]

        wait_for(lambda: len(found := decoded()) == 2 and min(found) >= 3)
        connection.close()
        wait_for(lambda: server.server.service.metrics.requests["completions", "cancelled"] == 1)
    [counts] = set(re.findall(r"/v1/completions \d+ \d+ ms (\S+) tokens cancelled", caplog.text))
    prompt, cached, generated = map(int, counts.split("/"))
    assert (prompt, cached) == (1, 0)
    assert generated >= 6


def test_a_client_that_closes_its_half_is_gone(own: SantaCoder, slow: Slow) -> None:
    with serving(own) as server:
        connection = send(server, LONG)
        wait_for(lambda: own.counters().running == 1)
        connection.shutdown(socket.SHUT_WR)
        wait_for(lambda: own.counters().running == 0)
        connection.close()


def in_thread(server: LiveServer, body: object, replies: list[Reply]) -> threading.Thread:
    thread = threading.Thread(target=lambda: replies.append(server.post("/v1/completions", body)))
    thread.start()
    return thread


def test_a_full_queue(own: SantaCoder, slow: Slow) -> None:
    with serving(own, Settings(max_running=2, max_queue=1, drain=5)) as server:
        replies: list[Reply] = []
        threads = [in_thread(server, {**GOOD, "prompt": "a", "n": 2}, replies)]
        wait_for(lambda: own.counters().running == 2)
        threads.append(in_thread(server, GOOD, replies))
        wait_for(lambda: own.counters().waiting == 1)
        reply = server.post("/v1/completions", GOOD)
        assert (reply.status, reply.error["type"], reply.error["code"]) == (429, "overloaded_error", "queue_full")
        assert 1 <= int(reply.headers["retry-after"]) <= 60
        assert server.get("/health").status == 200
        assert server.get("/slots?fail_on_no_slot=1").status == 503
        slow.gate.set()
        for thread in threads:
            thread.join()
        assert [reply.status for reply in replies] == [200, 200]
        assert server.get("/slots?fail_on_no_slot=1").status == 200


def test_requests_that_come_at_once_are_counted_before_they_wait(own: SantaCoder, slow: Slow) -> None:
    with serving(own, Settings(max_running=2, max_queue=3, drain=5)) as server:
        connections = [server.connect() for _ in range(20)]
        data = json.dumps({**GOOD, "prompt": "a"})
        for connection in connections:
            connection.sendall(POST.format(len(data), data).encode())
        wait_for(lambda: server.server.service.metrics.requests["completions", "rejected"] == 15)
        wait_for(lambda: own.counters().running + own.counters().waiting == 5)
        slow.gate.set()
        statuses = sorted(connection.recv(1 << 16).split()[1] for connection in connections)
        assert statuses == [b"200"] * 5 + [b"429"] * 15
        for connection in connections:
            connection.close()
        wait_for(lambda: own.counters().running == 0)
        assert server.good()


def read_answer(connection: socket.socket) -> bytes:
    """Read an answer that says how long it is: it may come in parts."""
    received = b""
    while not (found := re.search(rb"content-length: (\d+)\r\n(?:.+\r\n)*\r\n", received)):
        received += connection.recv(1 << 16)
    while len(received) < found.end() + int(found[1]):
        received += connection.recv(1 << 16)
    return received


def test_a_body_that_has_not_come_keeps_nobody_out(own: SantaCoder) -> None:
    with serving(own, Settings(max_running=1, max_queue=1, drain=5)) as server:
        data = json.dumps(GOOD).encode()
        slow = [server.connect() for _ in range(2)]
        for connection, part in zip(slow, (b"", data[:9]), strict=True):
            connection.sendall(POST.format(len(data), "").encode() + part)
        wait_for(lambda: server.post("/v1/completions", GOOD).status == 200)  # long before their time is over
        good = server.good()
        slow[1].sendall(data[9:])
        answer = read_answer(slow[1])
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["choices"] == good
        for connection in slow:
            connection.close()


def test_a_request_larger_than_an_empty_queue(own: SantaCoder) -> None:
    with serving(own, Settings(max_running=2, max_queue=1)) as server:
        reply = server.post("/v1/completions", {**GOOD, "n": 8})
        assert len(reply.json["choices"]) == 8


def test_a_request_that_waits_too_long(own: SantaCoder, slow: Slow) -> None:
    slow.creeps = True  # the first request would take seconds
    with serving(own, Settings(max_running=1, queue_timeout=0.05, drain=5)) as server:
        first = send(server, LONG)
        wait_for(lambda: own.counters().running == 1)
        reply = server.post("/v1/completions", GOOD)
        assert (reply.status, reply.error["code"]) == (503, "queue_timeout")
        first.close()
        wait_for(lambda: own.counters().running == 0)


def test_the_end(own: SantaCoder, slow: Slow) -> None:
    """What waits is refused, what runs may end, and after the time for that its stream ends with an error."""
    with serving(own, Settings(max_running=1, drain=0.3)) as server:
        slow.creeps = True  # the first request would take seconds
        running = send(server, {**LONG, "stream": True})
        wait_for(lambda: own.counters().running == 1)
        replies: list[Reply] = []
        waiting = in_thread(server, GOOD, replies)
        wait_for(lambda: own.counters().waiting == 1)
        server.server.stop()
        waiting.join()
        assert (replies[0].status, replies[0].error["code"]) == (503, "shutting_down")
        received = b""
        while part := running.recv(1 << 16):
            received += part
        assert received.endswith(b"0\r\n\r\n")
        assert b'data: {"error":{"message":"the server is shutting down"' in received
        assert b"[DONE]" not in received
        server.thread.join(30)
        assert not server.thread.is_alive()
        running.close()
        with pytest.raises(ConnectionRefusedError):
            server.connect()
    with serving(own) as again:  # the model is the caller's, and lives on
        assert again.get("/health").status == 200


@pytest.mark.parametrize("path", ["/v1/completions", "/completion", "/infill"])
def test_requests_that_run_may_end(own: SantaCoder, slow: Slow, path: str) -> None:
    limits = own.limits
    with serving(own, Settings(drain=30, max_queue=3)) as server:
        assert own.limits.max_waiting == 3
        replies: list[Reply] = []
        body = {**GOOD, "input_prefix": "", "input_suffix": ""}
        running = threading.Thread(target=lambda: replies.append(server.post(path, body)))
        running.start()
        wait_for(lambda: own.counters().running == 1)
        server.server.stop()
        wait_for(lambda: server.server.service.state == "stopping")
        slow.gate.set()
        running.join()
        assert replies[0].status == 200
    assert own.limits == limits


def test_a_fault_in_a_stream(own: SantaCoder, slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error after the first event is an event, without the end of a stream."""
    transformer = own._scheduler.engine
    forward, broken = transformer.forward_batch, threading.Event()

    def failing(*args: Any) -> Any:
        logits = forward(*args)
        if broken.is_set():
            logits[:] = float("nan")
        return logits

    monkeypatch.setattr(transformer, "forward_batch", failing)
    slow.creeps = True
    with serving(own) as server:
        good = server.good()
        connection = send(server, {**LONG, "stream": True})
        received = b""
        while part := connection.recv(1 << 16):
            received += part
            if b"data: " in received:
                broken.set()
        connection.close()
        assert b"200 OK" in received
        *_, last = re.findall(rb"data: (.*)\n\n", received)
        assert json.loads(last)["error"]["code"] == "internal"
        reply = server.post("/v1/completions", LONG)
        assert (reply.status, reply.error["type"]) == (500, "server_error")
        broken.clear()
        assert server.good() == good


def test_slots_and_metrics(own: SantaCoder, slow: Slow) -> None:
    with serving(own) as server:
        slow.gate.set()
        server.good()
        connection = send(server, {**LONG, "stream": True, "temperature": 0})
        wait_for(lambda: server.get("/slots").json != [])
        [slot] = server.get("/slots").json
        assert set(slot) == {"id", "id_task", "n_ctx", "is_processing", "speculative", "params", "next_token"}
        connection.close()
        wait_for(lambda: server.get("/slots").json == [])
        text = server.get("/metrics").body.decode()
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        assert lines['santacoder_requests_total{endpoint="completions",outcome="length"}'] == "1"
        assert float(lines["llamacpp:tokens_predicted_total"]) == float(lines["santacoder_generated_tokens_total"]) >= 6
    with serving(own, Settings(metrics=False, slots=False, page=False)) as server:
        assert [server.get(path).status for path in ("/metrics", "/slots", "/")] == [404] * 3


def test_silence_is_broken(own: SantaCoder, slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    from santacoder.server import events

    monkeypatch.setattr(events, "SILENCE", 0.05)
    with serving(own) as server:
        connection = send(server, {**GOOD, "stream": True})
        received = b""
        while received.count(b":\n\n") < 2:
            received += connection.recv(1 << 16)
        slow.gate.set()
        while b"[DONE]" not in received:
            received += connection.recv(1 << 16)
        connection.close()


def test_rejections_and_health_do_not_wait_for_a_step(own: SantaCoder, slow: Slow) -> None:
    """A step that takes long holds up nobody who needs no step."""
    with serving(own, Settings(max_running=1, max_queue=0)) as server:
        connection = send(server, LONG)
        wait_for(lambda: slow.steps > 0)
        began = time.monotonic()
        assert server.post("/v1/completions", GOOD).status == 429
        assert server.get("/health").status == 200
        assert server.post("/tokenize", {"content": "a"}).status == 200
        assert slow.steps == 1
        assert time.monotonic() >= began
        connection.close()


def test_a_server_that_is_stopped_while_it_loads() -> None:
    go = threading.Event()

    def load() -> SantaCoder:
        go.wait()
        return santacoder.load(FILE, threads=1)

    with serving(load) as server:
        assert server.get("/health").status == 503
    assert not server.thread.is_alive()
    go.set()


def test_a_deadline_is_counted(own: SantaCoder) -> None:
    with serving(own, Settings(request_timeout=0)) as server:
        reply = server.post("/completion", {"prompt": "a"})
        assert (reply.json["content"], reply.json["stop_type"]) == ("", "limit")
        wait_for(lambda: server.server.service.metrics.requests["completion", "deadline"] == 1)


def test_health_tells_when_nothing_moves(own: SantaCoder, slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    from santacoder.server import service

    monkeypatch.setattr(service, "STALLED", 0.0)
    with serving(own, Settings(drain=5)) as server:
        assert server.get("/health").json == {"status": "ok"}
        connection = send(server, GOOD)
        wait_for(lambda: slow.steps > 0)
        wait_for(lambda: server.get("/health").status == 503)
        assert server.get("/v1/health").error["type"] == "unavailable_error"
        slow.gate.set()
        wait_for(lambda: server.get("/health").status == 200)
        connection.close()
