"""A server in a thread, on a free port, and what tests ask of it."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from santacoder.model import SantaCoder
from santacoder.server import Settings, create_app
from santacoder.server.serving import Server, bind
from tests.support.waiting import wait_for

GOOD = {"prompt": "def add(a, b):\n    return", "max_tokens": 6, "temperature": 0.8, "seed": 7}


@dataclass(frozen=True)
class Reply:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The JSON in it."""
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        """The error in it."""
        return self.json["error"]

    @property
    def events(self) -> list[Any]:
        """The events in it; `[DONE]` as a text."""
        lines = [line for line in self.body.decode().split("\n\n") if line]
        assert all(line.startswith("data: ") for line in lines), lines
        return ["[DONE]" if line == "data: [DONE]" else json.loads(line[6:]) for line in lines]


class HttpClient:
    """Asks a server on this machine."""

    def __init__(self, port: int) -> None:
        self.port = port

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Ask on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def post(self, path: str, value: object, headers: Mapping[str, str] | None = None) -> Reply:
        """Post JSON."""
        return self.request("POST", path, json.dumps(value).encode(), headers)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        """Get a path."""
        return self.request("GET", path, None, headers)

    def connect(self) -> socket.socket:
        """Open a connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def raw(self, data: bytes) -> bytes:
        """Send bytes and return all that comes back until the server closes the connection."""
        with self.connect() as connection:
            received = b""
            with suppress(BrokenPipeError, ConnectionResetError):  # it had enough
                connection.sendall(data)
            with suppress(ConnectionResetError):
                while part := connection.recv(1 << 16):
                    received += part
            return received

    def good(self) -> Any:
        """Return the choices of a good request."""
        reply = self.post("/v1/completions", GOOD)
        assert reply.status == 200, reply.body
        return reply.json["choices"]


class LiveServer(HttpClient):
    """A server that runs in a thread."""

    def __init__(self, server: Server, port: int, thread: threading.Thread) -> None:
        super().__init__(port)
        self.server = server
        self.thread = thread


@contextmanager
def serving(
    model: SantaCoder | Callable[[], SantaCoder], settings: Settings | None = None, stops: bool = True
) -> Iterator[LiveServer]:
    """Serve a model until the block ends, or, if it `stops`, until the model cannot be loaded."""
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    app = create_app(model, settings or Settings(drain=5))
    on_failure = app.state.service.on_failure
    server = Server(app)
    if not stops:
        server.service.on_failure = on_failure
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), name="server")
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield LiveServer(server, port, thread)
    finally:
        server.stop()
        thread.join(30)
        assert not thread.is_alive()
