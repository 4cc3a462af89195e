"""A server that has the page and answers its requests from a script, at the pace of the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import santacoder
from santacoder.server.page_files import PAGE, POLICY
from tests.support.waiting import HANG

FOLDER: Final = Path(santacoder.__file__).parent / "server" / "page"
MODEL: Final = {"id": "some-model", "meta": {"n_params": 1124886528, "license": "some-license"}}


class Refusal:
    """An answer with an error in place of a stream."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        self.status = status
        self.error = {"message": message, "code": code}


class Cut:
    """Closes the connection in the middle of a stream."""


class PageServer(ThreadingHTTPServer):
    """Serves the page; each completion is answered by `script`.

    Attributes:
        script: events to send; a `threading.Event` is waited for, a `Cut` closes the connection. Or a refusal.
        bodies: of the completions that were asked for.
        headers: of all requests, by path.
        params: the sampling options of requests that do not say.
        key: what is asked for, if anything.
        loading: how many times /health says that the model is being loaded.
        gone: set when a client closes its connection while the script waits.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: Sequence[object] | Refusal = []
        self.bodies: list[bytes] = []
        self.headers: list[tuple[str, Message]] = []
        self.params = {"temperature": 0.2, "top_p": 0.95, "repeat_penalty": 1.0}
        self.key: str | None = None
        self.loading = 0
        self.gone = threading.Event()
        self.address = f"http://127.0.0.1:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: PageServer

    def do_GET(self) -> None:
        """Send a file of the page, or what the server says of itself."""
        self.server.headers.append((self.path, self.headers))
        if self.path in PAGE:
            name, kind = PAGE[self.path]
            return self._send(200, kind, (FOLDER / name).read_bytes())
        if self.path == "/health":
            if self.server.loading:
                self.server.loading -= 1
                return self._refuse(Refusal(503, "the model is being loaded", "loading"))
            return self._send_json(200, {"status": "ok"})
        if self._lacks_key():
            return None
        if self.path == "/v1/models":
            return self._send_json(200, {"object": "list", "data": [MODEL]})
        if self.path == "/props":
            return self._send_json(200, {"default_generation_settings": {"n_ctx": 2048, "params": self.server.params}})
        return self._refuse(Refusal(404, f"there is nothing at {self.path}", "not_found"))

    def do_POST(self) -> None:
        """Send what the script says."""
        self.server.headers.append((self.path, self.headers))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._lacks_key():
            return None
        self.server.bodies.append(body)
        if isinstance(self.server.script, Refusal):
            return self._refuse(self.server.script)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for item in self.server.script:
            if isinstance(item, Cut):
                return None
            if isinstance(item, threading.Event):
                if not self._wait(item):
                    return None
            else:
                text = item if isinstance(item, str) else "data: " + json.dumps(item)
                self.wfile.write(text.encode() + b"\n\n")
        return None

    def _wait(self, event: threading.Event) -> bool:
        """Return whether the event came before the client left."""
        self.connection.settimeout(0.01)
        while not event.is_set():
            try:
                if not self.connection.recv(1):
                    self.server.gone.set()
                    return False
            except TimeoutError:
                continue
        self.connection.settimeout(HANG)
        return True

    def _lacks_key(self) -> bool:
        if self.server.key is None or self.headers["Authorization"] == f"Bearer {self.server.key}":
            return False
        self._refuse(Refusal(401, "the key is missing or wrong", "invalid_api_key"))
        return True

    def _refuse(self, refusal: Refusal) -> None:
        self._send_json(refusal.status, {"error": refusal.error})

    def _send_json(self, status: int, value: Any) -> None:
        self._send(status, "application/json; charset=utf-8", json.dumps(value).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def events(
    texts: Sequence[str], index: int = 0, at: int = 0, finish: str = "stop", logprob: float = -0.1
) -> list[dict[str, Any]]:
    """Return one event for each text, a token of its own, beginning with character `at` of prompt and text."""
    result = []
    for number, text in enumerate(texts):
        logprobs = {
            "tokens": [text],
            "token_logprobs": [logprob * (number + 1)],
            "top_logprobs": [{text: logprob * (number + 1), " other": -4.5}],
            "text_offset": [at + sum(map(len, texts[:number]))],
        }
        last = finish if number == len(texts) - 1 else None
        choice = {"index": index, "text": text, "finish_reason": last, "logprobs": logprobs, "seed": 7}
        result.append({"system_fingerprint": "model-a", "choices": [choice], "usage": None})
    return result


def ending(tokens: int) -> list[object]:
    """Return the last two events of a stream."""
    usage = {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens}
    return [{"system_fingerprint": "model-a", "choices": [], "usage": usage}, "data: [DONE]"]
