"""Concurrent load for a while: 8 threads call one model, and every answer must equal the one given without load.

Meanwhile streams are dropped, the process forks in the middle of the others' work, and children answer too. A line of
JSON every few seconds reports progress: completions, wrong answers, forks, and bytes of memory that each completion
leaked. `python bench/soak/soak_load.py MODEL SECONDS`, for `soak.py`.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import santacoder

THREADS, REQUESTS, REPORT_SECONDS, WARM_UP = 8, 48, 5.0, 400
TEXT = "def fib(n):\n    if n < 2:\n        return n\n    return fib(n - 1) + fib(n - 2)\n"


class Load:
    """The requests, their right answers, and the counts so far."""

    def __init__(self, model: santacoder.SantaCoder) -> None:
        self.model = model
        draw = random.Random(1)
        self.requests: list[dict[str, Any]] = [
            {
                "prompt": TEXT[: draw.randrange(len(TEXT))],
                "max_tokens": draw.randrange(1, 24),
                "temperature": draw.choice([0.0, 0.3, 1.0]),
                "top_k": draw.choice([0, 40]),
                "seed": number,
                "ignore_eos": True,
            }
            for number in range(REQUESTS)
        ]
        self.right = [model.complete(**request).tokens for request in self.requests]
        self.completions = self.wrong = self.forks = 0
        self.memory: list[tuple[int, int]] = []  # completions, resident bytes
        self.stop = threading.Event()
        self.lock = threading.Lock()

    def work(self, seed: int) -> None:
        """Do one thread's share of the work."""
        draw = random.Random(seed)
        while not self.stop.is_set():
            number = draw.randrange(REQUESTS)
            if draw.random() < 0.1:
                stream = self.model.stream(**self.requests[number])
                next(stream, None)
                stream.close()
            same = self.model.complete(**self.requests[number]).tokens == self.right[number]
            with self.lock:
                self.completions += 1
                self.wrong += not same

    def fork(self) -> None:
        """Fork in the middle of the others' work; the child answers some requests and exits."""
        child = os.fork()
        if not child:
            numbers = range(0, REQUESTS, 12)
            os._exit(sum(self.model.complete(**self.requests[i]).tokens != self.right[i] for i in numbers))
        deadline = time.monotonic() + 60
        ended, status = os.waitpid(child, os.WNOHANG)
        while not ended:
            if time.monotonic() > deadline:
                os.kill(child, 9)
                os.waitpid(child, 0)
                status = 256
                break
            time.sleep(0.01)
            ended, status = os.waitpid(child, os.WNOHANG)
        self.forks += 1
        self.wrong += status != 0

    def report(self) -> None:
        """Print the progress."""
        resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")
        if self.completions >= WARM_UP:
            self.memory.append((self.completions, resident))
        print(json.dumps([self.completions, self.wrong, self.forks, slope(self.memory)]), flush=True)


def slope(memory: list[tuple[int, int]]) -> float | None:
    """Return the bytes that a call leaks, by least squares over (calls, resident bytes); None with too little data."""
    if len(memory) < 3:
        return None
    mean_calls = sum(calls for calls, _ in memory) / len(memory)
    mean_bytes = sum(resident for _, resident in memory) / len(memory)
    spread = sum((calls - mean_calls) ** 2 for calls, _ in memory)
    return sum((c - mean_calls) * (b - mean_bytes) for c, b in memory) / spread if spread else None


def main() -> None:
    """Run for the given seconds."""
    warnings.simplefilter("ignore", DeprecationWarning)  # about forking with threads, which is the point
    path, seconds = sys.argv[1], float(sys.argv[2])
    with santacoder.load(path, threads=2) as model:
        load = Load(model)
        threads = [threading.Thread(target=load.work, args=(seed,)) for seed in range(THREADS)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(min(REPORT_SECONDS, max(end - time.monotonic(), 0.1)))
            load.fork()
            load.report()
        load.stop.set()
        for thread in threads:
            thread.join()
        load.report()


if __name__ == "__main__":
    main()
