"""A server in a process of its own, and clients that ask it all at once."""

from __future__ import annotations

import http.client
import json
import os
import re
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE = 120.0  # seconds until a server or an answer counts as lost
PROBE = 0.02  # seconds between two questions of a probe


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    process: subprocess.Popen[str]
    port: int

    @property
    def folder(self) -> Path:
        """What the kernel says of the process."""
        return Path(f"/proc/{self.process.pid}")

    @property
    def resident(self) -> int:
        """Bytes of memory."""
        pages = (self.folder / "statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    @property
    def threads(self) -> int:
        """How many there are."""
        return len([*(self.folder / "task").iterdir()])

    @property
    def descriptors(self) -> int:
        """How many are open."""
        return len([*(self.folder / "fd").iterdir()])

    def cpu_seconds(self, loop: bool = False) -> float:
        """Return the CPU time of the process, or only that of its first thread, which has the loop."""
        path = self.folder / "task" / str(self.process.pid) if loop else self.folder
        ticks = (path / "stat").read_text(encoding="ascii").rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def metrics(self) -> dict[str, float]:
        """Return what the server counts, by name."""
        lines = self.get("/metrics").decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    def get(self, path: str) -> bytes:
        """Return the body of an answer."""
        return _body(self.port, "GET", path, None)

    def post(self, path: str, value: object) -> Any:
        """Return the JSON of an answer to JSON."""
        return json.loads(_body(self.port, "POST", path, json.dumps(value).encode()))


def _body(port: int, method: str, path: str, body: bytes | None) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{method} {path} was answered {answer.status}: {data[:200]!r}")
        return data
    finally:
        connection.close()


@contextmanager
def serving(model: Path | str, *options: str) -> Iterator[Served]:
    """Run `santacoder serve` on a free port until the block ends."""
    command = [sys.executable, "-m", "santacoder", "serve", "--port", "0", "--quiet", "--model", str(model), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = re.search(r"http://127\.0\.0\.1:(\d+)$", process.stderr.readline().strip())
            if found is None:
                raise SystemExit("the server does not start: santacoder serve says why")
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield Served(process, int(found[1]))
        finally:
            process.terminate()


@contextmanager
def serving_peer(python: str, model: Path, threads: int) -> Iterator[Served]:
    """Run the server of llama-cpp-python, which `python` has with its extra "server", until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"model": model, "port": port, "n_threads": threads, "n_ctx": 2048, "verbose": False}
    command = [python, "-m", "llama_cpp.server", *(f"--{name}={value}" for name, value in options.items())]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            begin = time.monotonic()
            while process.poll() is None and time.monotonic() - begin < PATIENCE:
                try:
                    _body(port, "GET", "/v1/models", None)
                except OSError:
                    time.sleep(0.1)
                else:
                    break
            yield Served(process, port)
        finally:
            process.terminate()


def request(path: str, value: object) -> bytes:
    """Return a request on a connection of its own."""
    body = json.dumps(value).encode()
    return b"POST %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n" % (
        path.encode()
    ) + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


@dataclass
class Answer:
    """What came back; times by `time.perf_counter`.

    Attributes:
        sent: before the connection was opened.
        first: when the first bytes of the body came.
        ended: when all was there.
    """

    sent: float
    first: float = 0.0
    ended: float = 0.0
    data: bytearray = field(default_factory=bytearray)

    @property
    def status(self) -> int:
        """The HTTP status; 0 if there is none."""
        return int(self.data[9:12] or 0)

    @property
    def retry_after(self) -> bool:
        """Whether it says when to come again."""
        return b"\r\nretry-after: " in self.data.partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        """The body, without the lengths of its chunks."""
        head, _, body = bytes(self.data).partition(b"\r\n\r\n")
        if b"\r\ntransfer-encoding: chunked" not in head.lower():
            return body
        parts = []
        while body:
            size, _, body = body.partition(b"\r\n")
            length = int(size, 16)
            parts.append(body[:length])
            body = body[length + 2 :]
        return b"".join(parts)

    @property
    def events(self) -> list[Any]:
        """The JSON of its events."""
        lines = self.body.decode().split("\n\n")
        return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def burst(port: int, requests: Sequence[bytes]) -> list[Answer]:
    """Send requests at once, each on a connection of its own, and return their answers."""
    answers = []
    with selectors.DefaultSelector() as selector:
        for each in requests:
            answer = Answer(time.perf_counter())
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(each)
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ, answer)
            answers.append(answer)
        left = len(answers)
        while left:
            for key, _ in selector.select(PATIENCE):
                connection, answer = key.fileobj, key.data  # type: ignore[assignment]
                data = connection.recv(1 << 16)
                now = time.perf_counter()
                if data:
                    answer.data += data
                    if not answer.first and answer.data.partition(b"\r\n\r\n")[2]:
                        answer.first = now
                else:
                    answer.ended = now
                    selector.unregister(connection)
                    connection.close()
                    left -= 1
    return answers


class Probe:
    """Asks /health again and again, in a thread, while a block runs.

    Attributes:
        seconds: how long each answer took.
    """

    def __init__(self, port: int) -> None:
        self.seconds: list[float] = []
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._over.wait(PROBE):
            begin = time.perf_counter()
            _body(self._port, "GET", "/health", None)
            self.seconds.append(time.perf_counter() - begin)

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of the values do not exceed."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]
