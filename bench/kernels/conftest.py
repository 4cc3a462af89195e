"""Fixtures of the kernel benchmarks: the library, an instruction set, and rates beside the times."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from santacoder.engine.isa import available
from tests.support.kernel_library import Array, Kernels, build

LINE = 64


@pytest.fixture(scope="session")
def scalar(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    """Compile the kernels once; the scalar ones prepare the data."""
    return Kernels(build(tmp_path_factory.getbasetemp() / "kernels").library, "scalar")


@pytest.fixture(params=available())
def kernels(scalar: Kernels, request: pytest.FixtureRequest) -> Kernels:
    return Kernels(scalar.library, request.param)


@pytest.fixture
def measure(benchmark: BenchmarkFixture) -> Callable[..., None]:
    """Return a function that times `run` in a group and derives rates: work per second, by unit."""

    def timed(group: str, run: Callable[[], None], work: Mapping[str, float]) -> None:
        benchmark.group = group
        benchmark(run)
        if benchmark.enabled:
            assert benchmark.stats is not None
            benchmark.extra_info |= {f"{unit}/s": done / benchmark.stats.stats.median for unit, done in work.items()}

    return timed


@pytest.fixture(scope="session")
def aligned() -> Callable[[Array], Array]:
    """Return a function that copies an array to the start of a cache line, where the engine's own arrays are."""

    def copy(x: Array) -> Array:
        raw = np.empty(x.nbytes + LINE, np.uint8)
        start = -raw.ctypes.data % LINE
        out = raw[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
        out[...] = x
        return out

    return copy


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_benchmark_group_stats() -> Generator[None, Any, Any]:
    """Add the rates to the names: the table has no column for them."""
    groups = yield
    for _, benchmarks in groups:
        for entry in benchmarks:
            entry["name"] += "".join(f"  {value:.3g} {unit}" for unit, value in entry["extra_info"].items())
    return groups
