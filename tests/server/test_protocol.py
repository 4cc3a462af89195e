"""The wire: heads, bodies, slow and silent clients, what is refused before the application sees it."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from santacoder.model import SantaCoder
from santacoder.server import Settings, protocol
from tests.support.http_server import GOOD, LiveServer, serving
from tests.support.waiting import wait_for

HOST = b"Host: localhost\r\n"
POST = b"POST /v1/completions HTTP/1.1\r\n" + HOST
GET = b"GET /health HTTP/1.1\r\n" + HOST
LAST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
BODY = json.dumps(GOOD).encode()


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", received)]


def only_error(received: bytes) -> dict[str, Any]:
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    assert b"x-request-id: " in head
    error: dict[str, Any] = json.loads(body)["error"]
    return error


LENGTHS = {
    "negative": b"Content-Length: -1\r\n",
    "letters": b"Content-Length: abc\r\n",
    "two": b"Content-Length: 3\r\nContent-Length: 4\r\n",
    "both": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    "unknown encoding": b"Transfer-Encoding: gzip\r\n",
}


@pytest.mark.parametrize("header", LENGTHS.values(), ids=LENGTHS)
def test_lengths_that_are_wrong(server: LiveServer, good: Any, header: bytes) -> None:
    received = server.raw(POST + header + b"\r\nabc")
    assert statuses(received) in ([400], [501])
    only_error(received)
    assert server.good() == good


HEADS = {
    "a header of 1 MB": (POST + b"X: " + b"y" * 1_000_000 + b"\r\n\r\n", 431),
    "a header of 40 KB": (POST + b"X: " + b"y" * 40_000 + b"\r\n\r\n", 431),
    "1000 headers": (POST + b"".join(b"X%d: y\r\n" % i for i in range(1000)) + b"\r\n", 431),
    "101 headers": (GET + b"".join(b"X%d: y\r\n" % i for i in range(100)) + b"\r\n", 431),
    "a URI of 1 MB": (b"GET /" + b"y" * 1_000_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "a URI of 9 KB": (b"GET /" + b"y" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    "no host": (b"GET /health HTTP/1.1\r\n\r\n", 400),
}


@pytest.mark.parametrize(("data", "status"), HEADS.values(), ids=HEADS)
def test_heads_that_are_too_large(server: LiveServer, good: Any, data: bytes, status: int) -> None:
    received = server.raw(data)
    assert statuses(received) == [status]
    only_error(received)
    assert server.good() == good


def test_the_largest_head_passes(server: LiveServer) -> None:
    head = b"".join(b"X%d: %s\r\n" % (i, b"y" * 300) for i in range(90)) + b"Connection: close\r\n"
    assert statuses(server.raw(GET + head + b"\r\n")) == [200]
    assert statuses(server.raw(b"GET /" + b"y" * 8000 + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")) == [
        404
    ]


def test_bodies_that_are_too_large(server: LiveServer, good: Any) -> None:
    received = server.raw(POST + b"Content-Length: 4194305\r\nExpect: 100-continue\r\n\r\n")
    assert statuses(received) == [413]
    only_error(received)
    assert statuses(server.raw(POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n")) in ([400], [413])
    received = server.raw(POST + b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 80)
    assert statuses(received) == [413]
    only_error(received)
    assert server.good() == good


def test_no_body(server: LiveServer, good: Any) -> None:
    """Without a length there is nothing to wait for: the body is empty."""
    assert statuses(server.raw(POST + b"Connection: close\r\n\r\n")) == [400]
    assert server.good() == good


def test_a_connection_goes_on_after_errors_and_takes_requests_in_a_row(server: LiveServer, good: Any) -> None:
    wrong = b'{"prompt":5}'
    request = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    received = server.raw(
        POST + b"Content-Length: %d\r\n\r\n" % len(wrong) + wrong
        + POST.replace(b"POST", b"PUT") + b"Content-Length: 3\r\n\r\nabc" + GET + b"\r\n" + request + LAST
    )  # fmt: skip
    assert statuses(received) == [400, 405, 200, 200, 200]
    assert json.dumps(good, separators=(",", ":"), ensure_ascii=False).encode()[1:-1] in received


def test_http_1_0(server: LiveServer, good: Any) -> None:
    body = json.dumps({**GOOD, "stream": True}).encode()
    received = server.raw(b"POST /v1/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    head, _, events = received.partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert events.startswith(b"data: {")
    assert events.endswith(b"data: [DONE]\n\n")


def test_bodies_in_pieces(server: LiveServer, good: Any) -> None:
    with server.connect() as connection:
        for byte in POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY:
            connection.sendall(bytes([byte]))
        received = b""
        while b"usage" not in received:
            received += connection.recv(1 << 16)
    assert statuses(received) == [200]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch, model: SantaCoder) -> Iterator[LiveServer]:
    """A server whose patience is short."""
    monkeypatch.setattr(protocol, "SECONDS", 0.2)
    with serving(model) as server:
        yield server


@pytest.mark.parametrize("data", [b"GET /health HT", GET + b"X: ", POST + b"Content-Length: 30\r\n\r\n{"])
def test_requests_that_do_not_come(hasty: LiveServer, good: Any, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    received = hasty.raw(data)
    assert statuses(received) == [408]
    assert only_error(received)["code"] == "request_timeout"
    monkeypatch.setattr(protocol, "SECONDS", 10.0)  # a busy machine may take more than the short patience
    assert hasty.good() == good


def test_a_second_request_that_does_not_come(hasty: LiveServer) -> None:
    assert statuses(hasty.raw(GET + b"\r\nGET /hea")) == [200, 408]


def test_connections_that_send_nothing(hasty: LiveServer) -> None:
    assert hasty.raw(b"") == b""


def test_a_head_byte_by_byte(hasty: LiveServer, good: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, but not the whole."""
    stop = threading.Event()
    with hasty.connect() as connection:

        def drip() -> None:
            while not stop.wait(0.02):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        connection.sendall(GET + b"X-Never-Ends: ")
        thread.start()
        received = connection.recv(1 << 16)
        stop.set()
        thread.join()
    assert statuses(received) == [408]
    monkeypatch.setattr(protocol, "SECONDS", 10.0)  # a busy machine may take more than the short patience
    assert hasty.good() == good


def test_silent_connections_keep_nobody_out(server: LiveServer, good: Any) -> None:
    silent = [server.connect() for _ in range(200)]
    assert server.good() == good
    for connection in silent:
        connection.close()


def test_the_oldest_idle_connection_makes_room(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for(lambda: len(server.server.connections) == 0)
    monkeypatch.setattr(protocol, "CONNECTIONS", 5)
    with ExitStack() as stack:
        connections = []
        for most in (1, 2, 3, 4, 5, 5):
            connections.append(stack.enter_context(server.connect()))
            wait_for(lambda most=most: len(server.server.connections) == most)  # type: ignore[misc]
        assert connections[0].recv(1) == b""
        connections[1].sendall(LAST)
        assert connections[1].recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_a_client_that_does_not_read_is_given_up(model: SantaCoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "UNSENT_BYTES", 2000)
    monkeypatch.setattr(protocol, "READER_SECONDS", 0.2)
    with serving(model, Settings(drain=5)) as server:
        body = json.dumps(
            {"prompt": "a", "max_tokens": 200, "n": 64, "ignore_eos": True, "stream": True, "logprobs": 20}
        ).encode()
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            wait_for(lambda: len(server.server.connections) == 1)
            wait_for(lambda: len(server.server.connections) == 0)
            wait_for(lambda: model.counters().running == 0)
