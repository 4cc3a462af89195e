"""Choosing a token of SantaCoder's vocabulary, Python included: `make bench-kernels`."""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from santacoder.sampling import Sampler, SamplingParams

VOCABULARY = 49280
NOISE = np.random.default_rng(0).standard_normal(VOCABULARY).astype(np.float32)
SHAPES = {
    "peaked": NOISE + np.float32(20) * (np.arange(VOCABULARY) == 7),
    "spread": np.float32(2.5) * NOISE,
    "flat": np.float32(0.1) * NOISE,
}
SETTINGS = {
    "greedy": SamplingParams(temperature=0),
    "temperature 0.2, top-p 0.95": SamplingParams(),
    "temperature 1, top-p 0.95": SamplingParams(temperature=1.0),
    "temperature 1, top-k 40, min-p 0.05": SamplingParams(temperature=1.0, top_k=40, top_p=1.0, min_p=0.05),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_sampling(benchmark: BenchmarkFixture, setting: str, shape: str) -> None:
    benchmark.group = f"sampling, {setting}"
    sampler = Sampler(SETTINGS[setting], VOCABULARY, range(49157, VOCABULARY), seed=1)
    benchmark(sampler.next, SHAPES[shape].astype(np.float32))
