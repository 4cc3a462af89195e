"""Kernels that run between the linear layers, in L1 or L2: `make bench-kernels`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.support.kernel_library import ACT, Array, Kernels

WIDTH, HIDDEN = 2048, 8192
NUMBER = 64

Measure = Callable[..., None]
Aligned = Callable[[Array], Array]


def normal(aligned: Aligned, n: int) -> Array:
    return aligned(np.random.default_rng(n).standard_normal(n, np.float32))


def test_quantize(kernels: Kernels, measure: Measure, aligned: Aligned) -> None:
    x, out = normal(aligned, WIDTH), aligned(np.zeros(WIDTH // 256, ACT))
    measure(
        f"quantize {WIDTH}",
        lambda: kernels.call("repeat_quantize", NUMBER, x, WIDTH, out, 1),
        {"G values": NUMBER * WIDTH / 1e9},
    )


def test_layer_norm(kernels: Kernels, measure: Measure, aligned: Aligned) -> None:
    x, weight, bias, out = (normal(aligned, WIDTH) for _ in range(4))
    measure(
        f"layer_norm {WIDTH}",
        lambda: kernels.call("repeat_layer_norm", NUMBER, x, weight, bias, 1e-5, WIDTH, WIDTH, out),
        {"G values": NUMBER * WIDTH / 1e9},
    )


def test_gelu(kernels: Kernels, measure: Measure, aligned: Aligned) -> None:
    x, bias = normal(aligned, HIDDEN), normal(aligned, 32)  # the bias keeps x from shrinking to denormals
    measure(
        f"gelu {HIDDEN}",
        lambda: kernels.call("repeat_gelu", NUMBER, x, bias, HIDDEN // 32),
        {"G values": NUMBER * HIDDEN / 1e9},
    )


def test_add_residual(kernels: Kernels, measure: Measure, aligned: Aligned) -> None:
    tokens = 512
    x, out, bias = normal(aligned, tokens * WIDTH), normal(aligned, tokens * 32), normal(aligned, 32)
    measure(
        f"add_residual {WIDTH}, tokens {tokens}",
        lambda: kernels.call("repeat_add_residual", 1, x, WIDTH, out, bias, tokens),
        {"G values": tokens * WIDTH / 1e9},
    )


def test_scale(kernels: Kernels, measure: Measure, aligned: Aligned) -> None:
    x, out = normal(aligned, WIDTH), normal(aligned, WIDTH)
    measure(
        f"scale {WIDTH}",
        lambda: kernels.call("repeat_scale", NUMBER, x, WIDTH, 0.5, out),
        {"G values": NUMBER * WIDTH / 1e9},
    )


def test_f16_clamped(kernels: Kernels, measure: Measure, aligned: Aligned) -> None:
    x, out = normal(aligned, WIDTH), aligned(np.empty(WIDTH, np.float16))
    measure(
        f"f16_clamped {WIDTH}",
        lambda: kernels.call("repeat_f16_clamped", NUMBER, x, WIDTH, out),
        {"G values": NUMBER * WIDTH / 1e9},
    )
