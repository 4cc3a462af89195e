"""Sampling a token from SantaCoder's vocabulary, Python included: `make bench-kernels`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from santacoder.decoding.options import SamplingParams
from santacoder.decoding.sampler import Sampler
from tests.support.kernel_library import Array, Kernels

VOCABULARY = 49280
BUCKET, NUMBER = 64, 64
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
    logits = SHAPES[shape].astype(np.float32)  # each call overwrites a copy

    def setup() -> tuple[tuple[Array], dict[str, Any]]:
        return (logits.copy(),), {}

    benchmark.pedantic(sampler.next, setup=setup, rounds=2000, warmup_rounds=20)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("name", ["logit_maxima", "softmax_weights", "weight_masses"])
def test_pass(name: str, kernels: Kernels, measure: Callable[..., None], aligned: Callable[[Array], Array]) -> None:
    weights = np.exp(NOISE - NOISE.max())
    sums = -(-VOCABULARY // BUCKET)
    cases: dict[str, tuple[Array, Array, tuple[float, ...]]] = {
        "logit_maxima": (NOISE, np.empty(sums, np.float32), (BUCKET,)),
        "softmax_weights": (NOISE, np.empty_like(NOISE), (float(NOISE.max()), 1.25)),
        "weight_masses": (weights, np.empty(sums, np.uint64), (BUCKET, 0.0)),
    }
    source, out, arguments = cases[name]
    x, to = aligned(source), aligned(out)
    measure(
        f"{name} {VOCABULARY}",
        lambda: kernels.call(f"repeat_{name}", NUMBER, x, VOCABULARY, *arguments, to),
        {"G values": NUMBER * VOCABULARY / 1e9},
    )
