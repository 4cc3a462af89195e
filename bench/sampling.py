"""Microseconds to choose a token of SantaCoder's vocabulary, Python included: `python bench/sampling.py`."""

from __future__ import annotations

import statistics
import time

import numpy as np

from santacoder.sampling import Sampler, SamplingParams

VOCABULARY = 49280
ROUNDS = 300


def main() -> None:
    """Print a median per setting and shape of the distribution."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(VOCABULARY).astype(np.float32)
    shapes = {"peaked": noise + 20 * (np.arange(VOCABULARY) == 7), "spread": 2.5 * noise, "flat": 0.1 * noise}
    settings = {
        "greedy": SamplingParams(temperature=0),
        "temperature 0.2, top-p 0.95": SamplingParams(),
        "temperature 1, top-p 0.95": SamplingParams(temperature=1.0),
        "temperature 1, top-k 40, min-p 0.05": SamplingParams(temperature=1.0, top_k=40, top_p=1.0, min_p=0.05),
    }
    for name, params in settings.items():
        row = []
        for shape, logits in shapes.items():
            sampler = Sampler(params, VOCABULARY, range(49157, VOCABULARY), seed=1)
            times = []
            for _ in range(ROUNDS):
                start = time.perf_counter()
                sampler.next(logits.astype(np.float32))
                times.append(time.perf_counter() - start)
            row.append(f"{shape} {1e6 * statistics.median(times):.0f} us")
        print(f"{name}: {', '.join(row)}")


if __name__ == "__main__":
    main()
