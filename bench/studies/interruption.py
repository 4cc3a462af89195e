"""How soon work stops in the middle of a long prompt, in milliseconds: `python bench/studies/interruption.py MODEL`.

Measures Ctrl-C while `complete` runs a prompt of 2000 tokens, the cancellation of an asyncio task there, and how late a
deadline is kept. After each, it checks that the model answers as before.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np

import santacoder

MILLISECONDS = 1e3


def ctrl_c(model: santacoder.SantaCoder, tokens: list[int], delay: float) -> float:
    """Return the milliseconds from the signal to KeyboardInterrupt."""
    sent = []

    def send() -> None:
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(delay, send)
    timer.start()
    with contextlib.suppress(KeyboardInterrupt):
        model.complete(tokens, max_tokens=1)
        raise SystemExit("the prompt was read before the signal came: give an earlier --delays")
    return (time.perf_counter() - sent[0]) * MILLISECONDS


def cancelled_task(model: santacoder.SantaCoder, tokens: list[int], delay: float) -> float:
    """Return the milliseconds from the cancellation to the end of the task, and of the work."""

    async def run() -> float:
        task = asyncio.create_task(model.acomplete(tokens, max_tokens=1))
        await asyncio.sleep(delay)
        start = time.perf_counter()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
            raise SystemExit("the prompt was read before the task was cancelled: give an earlier --delays")
        ended = model._scheduler.exclusive(lambda _: time.perf_counter())  # after a step that is still running
        return (ended - start) * MILLISECONDS

    return asyncio.run(run())


def deadline(model: santacoder.SantaCoder, tokens: list[int], delay: float) -> float:
    """Return the milliseconds from the deadline to the answer."""
    start = time.perf_counter()
    answer = model.complete(tokens, max_tokens=1, deadline=delay)
    late = time.perf_counter() - start - delay
    if answer.finish_reason != "deadline":
        raise SystemExit("the prompt was read before the deadline: give an earlier --delays")
    return late * MILLISECONDS


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How soon work stops in the middle of a long prompt.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--tokens", type=int, default=2000, help="of the prompt (default: %(default)s)")
    parser.add_argument(
        "--delays", type=float, nargs="+", default=[0.3, 0.7, 1.1, 1.5, 1.9, 2.3], help="seconds from the start of it"
    )
    arguments = parser.parse_args()
    with santacoder.load(arguments.model, arguments.threads) as model:
        tokens = np.random.default_rng(0).integers(0, model.config.vocab_size, arguments.tokens).tolist()
        question = {"prompt": tokens[:20], "max_tokens": 8, "seed": 1}
        expected = model.complete(**question).tokens
        for work in (ctrl_c, cancelled_task, deadline):
            waits = []
            for delay in arguments.delays:
                model._scheduler.forget()
                waits.append(work(model, tokens, delay))
                assert model.complete(**question).tokens == expected, "an interruption changed later answers"
            print(f"{work.__name__:<16}", *(f"{wait:.1f}" for wait in waits), f"ms, worst {max(waits):.1f} ms")


if __name__ == "__main__":
    main()
