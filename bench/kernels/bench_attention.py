"""Attention over kv_blocks: `make bench-kernels`."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from itertools import count

import numpy as np
import pytest

from tests.support.kernel_library import FORMATS, Array, Kernels

QUERIES, DIM, BLOCK = 16, 128, 64
BUFFER = 128 << 20  # several times the L3 cache
NUMBER = 64


def partial(kernels: Kernels, aligned: Callable[[Array], Array]) -> Array:
    """Return an sc_partial with maxima and sums like those of one kv_block."""
    out = np.random.default_rng(0).standard_normal(kernels.plain("partial_bytes", DIM) // 4).astype(np.float32)
    out[QUERIES : 2 * QUERIES] = BLOCK / 2
    return aligned(out)


@pytest.mark.parametrize(("where", "type_name"), [("in L2", "F16"), ("streamed", "F16"), ("in L2, widened", "F32")])
def test_attend(
    kernels: Kernels, measure: Callable[..., None], aligned: Callable[[Array], Array], where: str, type_name: str
) -> None:
    rng = np.random.default_rng(0)
    dtype = np.float16 if type_name == "F16" else np.float32
    one = rng.standard_normal((1, 2 * BLOCK * DIM)).astype(dtype)  # keys, then values
    blocks = aligned(np.tile(one, (BUFFER // one.nbytes if where == "streamed" else 1, 1)))
    queries = aligned(rng.standard_normal((QUERIES, DIM), np.float32) / np.float32(DIM**0.5))
    visible, out, first = np.full(QUERIES, BLOCK, np.int32), partial(kernels, aligned), count(0, NUMBER)
    cache_format = ctypes.c_int(FORMATS[type_name][1])

    def run() -> None:
        start = next(first) % len(blocks)
        kernels.call(
            "repeat_attend", NUMBER, cache_format, blocks, len(blocks), start, queries, QUERIES, DIM, visible, out
        )

    operations = 2 * 2 * BLOCK * DIM * QUERIES  # scores, then weighted values
    work = {"GB": NUMBER * one.nbytes / 1e9, "T float ops": NUMBER * operations / 1e12}
    measure(f"attend, {QUERIES} queries, cache {where}", run, work)


def test_widen(kernels: Kernels, measure: Callable[..., None], aligned: Callable[[Array], Array]) -> None:
    n = 2 * BLOCK * DIM
    block, out = aligned(np.ones(n, np.float16)), aligned(np.empty(n, np.float32))
    measure(
        "widen, a block of the cache",
        lambda: kernels.call("repeat_widen", NUMBER, block, n, out),
        {"G values": NUMBER * n / 1e9},
    )


def test_attend_merge(kernels: Kernels, measure: Callable[..., None], aligned: Callable[[Array], Array]) -> None:
    into, add = partial(kernels, aligned), partial(kernels, aligned)

    def run() -> None:
        kernels.call("repeat_attend_merge", NUMBER, into, add, QUERIES, DIM)

    measure(f"attend_merge, {QUERIES} queries", run, {"G values": NUMBER * QUERIES * DIM / 1e9})
