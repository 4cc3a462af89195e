"""Answers of an engine whose threads are held up at random steps of their protocol: `long_delays.py [SEED]`.

Runs with an extension that is built with SC_DELAYS, in parallel processes, since they sleep most of the time. Each
computes the same logits and the same tokens, with up to 8 active threads; more than MOST delays of 1 to 20 ms must
change nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import santacoder

FILE: Final = Path(__file__).parents[1] / "data" / "mqa-q4_k_m.gguf"
PROCESSES: Final = 24
MOST: Final = 10_000
TEXT: Final = "def add(a, b):\n    return a + b\n\n" * 13  # more than one block of the cache


def answers(threads: int) -> str:
    """Return a hash of logits and tokens."""
    digest = hashlib.sha256()
    with santacoder.load(FILE, threads=threads) as model:
        digest.update(repr(model.score(TEXT).logprobs).encode())
        for text in ("def f", TEXT):
            for temperature in (0.0, 1.0):
                answer = model.complete(text, max_tokens=12, temperature=temperature, seed=7, ignore_eos=True)
                digest.update(repr(answer.tokens).encode())
    return digest.hexdigest()


def start(seed: int, threads: int) -> subprocess.Popen[str]:
    """Start a process that prints the answers, then how many delays there were."""
    environment = {**os.environ, "DELAYS": f"{seed} 30 1000 20000 {threads}"}
    command = [sys.executable, __file__, "--threads", str(threads)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def main() -> None:
    """Compare all processes with one that has no delays."""
    if sys.argv[1:2] == ["--threads"]:
        print(answers(int(sys.argv[2])))
        return
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    right, total = answers(1), 0
    running = [start(seed + i, 2 + i % 7) for i in range(PROCESSES)]
    for process in running:
        found, said = process.communicate()
        counted = re.fullmatch(r"(\d+) delays\n", said)
        if process.returncode or found.strip() != right or not counted:
            raise SystemExit(f"other answers than without delays: status {process.returncode}, {found}{said}")
        total += int(counted[1])
    print(f"{total} delays of 1 to 20 ms, and all answers equal")
    if total < MOST:
        raise SystemExit(f"fewer than {MOST} delays")


if __name__ == "__main__":
    main()
