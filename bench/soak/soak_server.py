"""Load on a server for a while: good, bad, slow and cut clients at once, and a kill of the process in the middle.

Every good answer must be the one that the library gives in process, and every bad request must get its status. A line
of JSON every few seconds reports progress: good answers, requests that came while the server was busy or loading, bad,
slow and cut clients, wrong answers, hangs, kills, and bytes of memory that each request leaked. Standard error says
what was wrong. `python bench/soak/soak_server.py MODEL SECONDS`, for `soak.py`; it needs the extra "serve".
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder of bench and tests

import santacoder
from bench.soak.soak_load import slope

CLIENTS, REPORT_SECONDS, WARM_UP = 12, 5.0, 2000
HANG_SECONDS = 30.0
BUSY = (429, 503)  # the queue is full, or the model is being loaded
TEXT = "def fib(n):\n    if n < 2:\n        return n\n    return fib(n - 1) + fib(n - 2)\n"
HEAD = "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n"
#: Requests that get this status, whatever else runs.
BAD: list[tuple[int, str, bytes]] = [
    (400, "/v1/completions", b""),
    (400, "/v1/completions", b"[" * 100_000),
    (400, "/v1/completions", b'{"prompt":"\\ud800"}'),
    (400, "/v1/completions", b'{"prompt":"a","temperature":1e999}'),
    (400, "/v1/completions", json.dumps({"prompt": [1, 1 << 40]}).encode()),
    (400, "/v1/completions", json.dumps({"prompt": "x" * 3_000_000}).encode()),
    (400, "/completion", json.dumps({"prompt": "a", "n_cmpl": 1000}).encode()),
    (400, "/infill", b'{"input_prefix":"a"}'),
    (404, "/v1/chat/completions", b"{}"),
    (405, "/health", b"{}"),
    (413, "/tokenize", b" " * ((4 << 20) + 1)),
]


class WrongAnswerError(Exception):
    """An answer that is not the right one."""


class Served:
    """A server in a process of its own, which may be killed.

    Attributes:
        life: counts its starts.
        is_down: nobody answers just now.
    """

    def __init__(self, model: str) -> None:
        self._command = [sys.executable, "-m", "santacoder", "serve", "--model", model, "--quiet", "--threads", "2"]
        self.port = 0
        self.life = 0
        self.is_down = True
        self.start()

    def start(self) -> None:
        """Start it, where it was if it was before, and wait until it can answer."""
        self.process = subprocess.Popen([*self._command, "--port", str(self.port)], stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        found = re.search(r":(\d+)$", line.strip())
        if found is None:
            raise SystemExit(f"the server does not start: {line}")
        self.port = int(found[1])
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self.life += 1
        self.is_down = False

    def kill(self) -> None:
        """End it at once."""
        self.is_down = True
        self.process.kill()
        self.process.wait()

    @property
    def resident(self) -> int:
        """Bytes of memory."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")


class Load:
    """The requests, their right answers, and the counts so far."""

    def __init__(self, model: santacoder.SantaCoder, served: Served) -> None:
        self.served = served
        draw = random.Random(1)
        self.requests: list[tuple[str, dict[str, Any], list[str]]] = []
        for seed in range(48):
            prompt, after = TEXT[: draw.randrange(len(TEXT))], TEXT[draw.randrange(len(TEXT)) :]
            options: Any = {"temperature": draw.choice([0.0, 0.3, 1.0]), "seed": seed, "ignore_eos": True}
            tokens, n = draw.randrange(1, 24), draw.choice([1, 1, 4])
            if seed % 2:
                rows = model.complete_many([prompt], n, max_tokens=tokens, **options)
                body = {"prompt": prompt, "n": n, "max_tokens": tokens, **options}
                self.requests.append(("/v1/completions", body, [each.text for each in rows[0]]))
            else:
                rows = model.infill_many([(prompt, after)], n, mode="spm", max_tokens=tokens, **options)
                body = {"input_prefix": prompt, "input_suffix": after, "n_cmpl": n, "n_predict": tokens, **options}
                self.requests.append(("/infill", body, [each.text for each in rows[0]]))
        self.counts: Counter[str] = Counter()
        self.memory: list[tuple[int, int]] = []  # requests, resident bytes
        self.stop = threading.Event()
        self.lock = threading.Lock()

    def work(self, seed: int) -> None:
        """Be one client after another."""
        draw = random.Random(seed)
        kinds = (self.good, self.bad, self.cut, self.slow)
        while not self.stop.is_set():
            life = self.served.life
            [kind] = draw.choices(kinds, (70, 15, 14, 1))
            try:
                outcome = kind(draw)
            except TimeoutError:
                outcome = "hung"
            except (WrongAnswerError, OSError, http.client.HTTPException) as error:
                if not isinstance(error, WrongAnswerError) and (self.served.life != life or self.served.is_down):
                    time.sleep(0.1)
                    continue
                outcome = "wrong"  # also when it hung up
                print(f"{kind.__name__}: {error!r}", file=sys.stderr)
            with self.lock:
                self.counts[outcome] += 1

    def good(self, draw: random.Random) -> str:
        """Ask what has a right answer."""
        path, body, right = draw.choice(self.requests)
        status, data = self.post(path, json.dumps(body).encode())
        if status in BUSY:
            return "refused"
        if status != 200:
            raise WrongAnswerError(path, body, status, data[:500])
        answer = json.loads(data)
        found = answer["choices"] if path == "/v1/completions" else answer if isinstance(answer, list) else [answer]
        texts = [each["text" if path == "/v1/completions" else "content"] for each in found]
        if texts != right:
            raise WrongAnswerError(path, body, texts, right)
        return "good"

    def bad(self, draw: random.Random) -> str:
        """Ask what has an error for its answer."""
        status, path, body = draw.choice(BAD)
        found, data = self.post(path, body)
        if found in BUSY:
            return "refused"
        if found != status:
            raise WrongAnswerError(path, body[:500], status, found, data[:500])
        return "bad"

    def cut(self, draw: random.Random) -> str:
        """Ask for a stream, and leave at any moment."""
        path, body, _ = draw.choice(self.requests)
        with self.connect() as connection:
            data = json.dumps({**body, "stream": True})
            request = (HEAD.format(path, len(data)) + data).encode()
            connection.sendall(request[: draw.choice([draw.randrange(len(request)), len(request)])])
            if draw.random() < 0.7:
                connection.settimeout(draw.random())
                with contextlib.suppress(TimeoutError):
                    connection.recv(draw.randrange(1, 4000))
        return "cut"

    def slow(self, draw: random.Random) -> str:
        """Send a head byte by byte until the server has enough of it."""
        with self.connect() as connection:
            connection.settimeout(HANG_SECONDS)
            connection.sendall(b"GET /health HTTP/1.1\r\nX-Slow: ")
            for _ in range(draw.randrange(20)):
                time.sleep(0.1)
                connection.sendall(b"x")
            answer = connection.recv(1 << 16)
        if not answer:
            raise ConnectionError("the server hung up")
        if not answer.startswith(b"HTTP/1.1 408"):
            raise WrongAnswerError(answer[:500])
        return "slow"

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=HANG_SECONDS)
        try:
            connection.request("POST", path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        """Open a connection."""
        return socket.create_connection(("127.0.0.1", self.served.port), timeout=HANG_SECONDS)

    def report(self, kills: int) -> None:
        """Print the progress."""
        done = self.counts.total()
        if done >= WARM_UP:
            self.memory.append((done, self.served.resident))
        names = ("good", "refused", "bad", "slow", "cut", "wrong", "hung")
        print(json.dumps([*(self.counts[name] for name in names), kills, slope(self.memory)]), flush=True)


def main() -> None:
    """Run for the given seconds; the server is killed and started again after half of them."""
    path, seconds = sys.argv[1], float(sys.argv[2])
    served = Served(path)
    with santacoder.load(path, threads=1) as model:
        load = Load(model, served)
    threads = [threading.Thread(target=load.work, args=(seed,)) for seed in range(CLIENTS)]
    for thread in threads:
        thread.start()
    begin, kills = time.monotonic(), 0
    try:
        while (passed := time.monotonic() - begin) < seconds:
            time.sleep(min(REPORT_SECONDS, max(seconds - passed, 0.1)))
            if not kills and time.monotonic() - begin > seconds / 2:
                served.kill()
                served.start()
                kills += 1
                load.memory.clear()  # of another process
                settled = load.counts.total() + WARM_UP
                while load.counts.total() < settled and time.monotonic() - begin < seconds:
                    time.sleep(0.1)
            load.report(kills)
    finally:
        load.stop.set()
        for thread in threads:
            thread.join()
        load.report(kills)
        served.process.terminate()
        served.process.wait()


if __name__ == "__main__":
    main()
