"""Linear layers, one pair of panels after another: `make bench-kernels`.

The weights come from memory, as in a model: with few tokens this is the bottleneck, with many it is not.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from itertools import count

import numpy as np
import pytest

from tests.support import gguf_builder
from tests.support.kernel_library import FLOATS, FORMATS, Array, Kernels, packed, quantize

COLUMNS = 2048
BUFFER = 128 << 20  # several times the L3 cache
READ = 4 << 20  # weights per call of the library with few tokens
OPERATIONS = 1 << 28  # and with many


@pytest.fixture(scope="module", params=["Q4_K", "Q5_K", "Q6_K", "Q8_0", "F16"])
def type_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pairs(scalar: Kernels, aligned: Callable[[Array], Array], type_name: str) -> Array:
    """Return an array (pairs, bytes of a pair) that repeats a few pairs."""
    blocks = gguf_builder.weights(np.random.default_rng(0), 512, COLUMNS, type_name)
    few = packed(scalar, type_name, blocks, 512, COLUMNS)
    return aligned(np.tile(few, (BUFFER // few.nbytes, 1)))


@pytest.mark.parametrize("tokens", [1, 2, 4, 16, 512])
def test_linear(
    kernels: Kernels,
    measure: Callable[..., None],
    aligned: Callable[[Array], Array],
    type_name: str,
    pairs: Array,
    tokens: int,
) -> None:
    total, pair_bytes = pairs.shape
    operations = 2 * 32 * COLUMNS * tokens
    number = max(1, min(READ // pair_bytes, OPERATIONS // operations))
    x = np.random.default_rng(tokens).standard_normal((tokens, COLUMNS), np.float32)
    x, stride = (x, COLUMNS) if type_name in FLOATS else (quantize(kernels, x), tokens)
    x, out = aligned(x), aligned(np.empty((tokens, 32), np.float32))
    packed_format, first = ctypes.c_int(FORMATS[type_name][1]), count(0, number)

    def run() -> None:
        start = next(first) % total
        kernels.call("repeat_linear", number, packed_format, pairs, total, start, COLUMNS, x, stride, tokens, out)

    kind = "float" if type_name in FLOATS else "int8"
    work = {"GB": number * pair_bytes / 1e9, f"T {kind} ops": number * operations / 1e12}
    measure(f"linear {type_name}, tokens {tokens}", run, work)
