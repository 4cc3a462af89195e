"""Seconds and peak memory of `score`, in addition to the loaded model.

    python bench/studies/score_memory.py MODEL

Only for Linux with glibc: the peak is the kernel's own count for this process (VmHWM of /proc/self/status), reset after
loading. Nothing runs before the score.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from pathlib import Path

import numpy as np

import santacoder

MEGABYTE = 1e6


def status(field: str) -> int:
    """Return a field of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def settle() -> int:
    """Return free memory to the system, reset VmHWM, and return the bytes in use."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return status("VmRSS")


def main() -> None:
    """Load, score once, and print."""
    parser = argparse.ArgumentParser(description="Memory and time of scoring one prompt of random tokens.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=2000, help="tokens of the prompt (default: %(default)s)")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    with santacoder.load(arguments.model, arguments.threads) as model:
        tokens = np.random.default_rng(0).integers(0, model.config.vocab_size, arguments.tokens).tolist()
        loaded = settle()
        start, work = time.perf_counter(), time.process_time()
        score = model.score(tokens)
        seconds, work = time.perf_counter() - start, time.process_time() - work
        extra = status("VmHWM") - loaded
        print(f"{model.isa}, {model.threads} threads; {loaded / MEGABYTE:.1f} MB with the model")
    print(
        f"score of {len(score.tokens)} tokens: {extra / MEGABYTE:.1f} MB more at the peak, {seconds:.2f} s, "
        f"{work:.2f} s of CPU time"
    )


if __name__ == "__main__":
    main()
