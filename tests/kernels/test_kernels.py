"""Single kernels: the scalar instance against the reference, the other instruction sets equal to scalar.

The check tool knows far more cases than this file but no reference.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from santacoder._native import lib as native
from santacoder.engine.isa import available
from tests.support import gguf_builder, reference
from tests.support.kernel_library import ACT, FLOATS, FORMATS, GROUPED, Array, Built, Kernels, packed, quantize

SIZES = (1, 15, 16, 17, 31, 33, 255, 256, 257)
ULP = 2.0**-24  # the relative error of one rounding to float32


@pytest.fixture(params=available())
def kernels(built: Built, request: pytest.FixtureRequest) -> Kernels:
    return Kernels(built.library, request.param)


def equal_to_scalar(kernels: Kernels, run: Callable[[Kernels], Array]) -> Array | None:
    """Run on both; the result where it is scalar's own and so must be compared with the reference."""
    result = run(kernels)
    if kernels.isa == "scalar":
        return result
    assert result.tobytes() == run(Kernels(kernels.library, "scalar")).tobytes()
    return None


def random_blocks(type_name: str, rows: int, columns: int) -> bytes:
    return gguf_builder.weights(np.random.default_rng([rows, columns]), rows, columns, type_name)


# Weights.


@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize("type_name", FORMATS)
def test_packed_rows(built: Built, type_name: str, rows: int) -> None:
    columns, kernels = 512, Kernels(built.library, "scalar")
    blocks = random_blocks(type_name, rows, columns)
    panels = packed(kernels, type_name, blocks, rows, columns)
    actual = np.empty((rows, columns), np.float32)
    for row in range(rows):
        packed_format = ctypes.c_int(FORMATS[type_name][1])
        kernels.plain("row", packed_format, rows, columns, panels, row, actual[row])
    expected = reference.dequantize(blocks, type_name, (rows, columns))
    if type_name.endswith("_K"):  # the product of scales, and for Q4_K and Q5_K two more and a difference
        np.testing.assert_allclose(actual, expected, rtol=0, atol=4 * ULP * np.abs(expected).max())
    else:
        np.testing.assert_array_equal(actual, expected.astype(np.float32))


@pytest.mark.parametrize("type_name", ["F16", "Q4_K", "Q8_0"])
def test_values_that_are_not_finite_are_refused(built: Built, type_name: str) -> None:
    source, packed_format = FORMATS[type_name]
    for value in (np.inf, -np.inf, np.nan):
        blocks = bytearray(random_blocks(type_name, 33, 512))
        at = len(blocks) * 2 // 3
        at -= at % reference.FORMATS[type_name][0]
        blocks[at : at + 2] = np.float16(value).tobytes()
        panels = np.zeros(1 << 20, np.uint8)
        raw = np.frombuffer(bytes(blocks), np.uint8)
        kernels = Kernels(built.library, "scalar")
        formats = ctypes.c_int(source), ctypes.c_int(packed_format)
        assert kernels.plain("pack", formats[0], raw, 33, 512, formats[1], panels) == native.SC_NOT_FINITE


def run_linear(kernels: Kernels, type_name: str, panels: NDArray[np.uint8], x: NDArray[np.float32]) -> Array:
    """(tokens, columns) activations to (tokens, 32 * pairs)."""
    tokens, columns = x.shape
    inputs, stride = (x, columns) if type_name in FLOATS else (quantize(kernels, x), tokens)
    out = np.full((len(panels), tokens, 32), np.nan, np.float32)
    for pair, result in zip(panels, out, strict=True):
        packed_format = ctypes.c_int(FORMATS[type_name][1])
        kernels.call("linear", packed_format, pair, columns, inputs, stride, tokens, result)
    return np.ascontiguousarray(out.transpose(1, 0, 2)).reshape(tokens, -1)


def base_of(type_name: str, blocks: bytes, shape: tuple[int, int]) -> Array | None:
    """(rows, columns / 32): the weights of Q4_K where quants are 0, of Q5_K where they are 16."""
    if type_name not in ("Q4_K", "Q5_K"):
        return None
    data = np.frombuffer(blocks, np.uint8).reshape(-1, reference.FORMATS[type_name][0]).copy()
    data[:, 16:] = 0  # d, dmin and the six-bit factors come before
    if type_name == "Q5_K":
        data[:, 16:48] = 255
    return reference.dequantize(data, type_name, shape)[:, ::32]


def largest_minimum(type_name: str, blocks: bytes, rows: int) -> Array | float:
    """(rows,): of Q4_1 and Q5_1. Minima are added apart from the rest, which is larger than the weight by as much."""
    if type_name not in ("Q4_1", "Q5_1"):
        return 0.0
    data = np.frombuffer(blocks, np.uint8).reshape(-1, reference.FORMATS[type_name][0])
    minima = data[:, 2:4].copy().view("<f2").astype(np.float64)
    largest: Array = np.abs(minima.reshape(rows, -1)).max(1)
    return largest


def check_linear(kernels: Kernels, type_name: str, rows: int, columns: int, tokens: int) -> None:
    x = np.random.default_rng(tokens).standard_normal((tokens, columns), np.float32)
    x[:, ::37] *= 20  # outliers
    check_product(kernels, type_name, random_blocks(type_name, rows, columns), rows, x)


def check_product(kernels: Kernels, type_name: str, blocks: bytes, rows: int, x: NDArray[np.float32]) -> None:
    columns = x.shape[1]
    panels = packed(kernels, type_name, blocks, rows, columns)
    result = equal_to_scalar(kernels, lambda kernels: run_linear(kernels, type_name, panels, x))
    if result is None:
        return
    weight = reference.dequantize(blocks, type_name, (rows, columns))
    if type_name in FLOATS:  # one rounding per column, each at most half an ulp of the running sum
        expected = x.astype(np.float64) @ weight.T
        magnitude = columns * (np.abs(x).astype(np.float64) @ np.abs(weight).T)
    else:  # a few roundings per 256 columns; a weight near 0 may be a difference of large numbers (Q4_K)
        expected = reference.quantized_linear(x, weight, base_of(type_name, blocks, (rows, columns)))
        largest = np.abs(weight).max(1) + largest_minimum(type_name, blocks, rows)
        magnitude = 2 * np.abs(x).sum(1, dtype=np.float64)[:, None] * largest
    assert (np.abs(result[:, :rows] - expected) <= ULP * magnitude).all()
    assert not result[:, rows:].any()


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("quants", [0x00, 0xFF])
@pytest.mark.parametrize("type_name", ["Q4_K", "Q5_K", "Q6_K"])
def test_linear_at_the_bounds_of_int32(kernels: Kernels, type_name: str, quants: int, sign: int) -> None:
    """All quants and scales as far from zero as they go, and as many large codes as there may be."""
    data = np.full((32 * 2, reference.FORMATS[type_name][0]), quants, np.uint8)
    if type_name == "Q6_K":
        data[:, 192:208] = 0x80
        data[:, 208:210] = np.frombuffer(np.float16(0.01).tobytes(), np.uint8)
    else:
        data[:, 4:16] = 0xFF
        data[:, :4] = np.frombuffer(np.array([0.01, 0.01], np.float16).tobytes(), np.uint8)
    check_product(kernels, type_name, data.tobytes(), 32, np.full((17, 512), sign, np.float32))


@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize("type_name", FORMATS)
def test_linear_rows(kernels: Kernels, type_name: str, rows: int) -> None:
    check_linear(kernels, type_name, rows, columns=512, tokens=5)


@pytest.mark.parametrize("tokens", SIZES)
@pytest.mark.parametrize("type_name", FORMATS)
def test_linear_tokens(kernels: Kernels, type_name: str, tokens: int) -> None:
    check_linear(kernels, type_name, rows=40, columns=256, tokens=tokens)


@pytest.mark.parametrize("columns", [*SIZES, 544])
@pytest.mark.parametrize("type_name", [*FLOATS, *GROUPED])
def test_linear_columns(kernels: Kernels, type_name: str, columns: int) -> None:
    columns = columns if type_name in FLOATS else -(-columns // 32) * 32
    check_linear(kernels, type_name, rows=33, columns=columns, tokens=3)


# Activations.


@pytest.mark.parametrize("tokens", SIZES)
@pytest.mark.parametrize("fill", ["random", "ties", "zeros", "tiny", "huge"])
def test_quantize(kernels: Kernels, fill: str, tokens: int) -> None:
    rng = np.random.default_rng(tokens)
    x = rng.standard_normal((tokens, 800), np.float32)  # three blocks and a group
    if fill == "ties":
        x = (rng.integers(-127, 127, x.shape) + np.float32(0.5)).astype(np.float32)
        x[:, ::32] = 127
    elif fill != "random":
        x *= np.float32({"zeros": 0, "tiny": 4e-31, "huge": 1e37}[fill])  # tiny: some scales vanish
    blocks = equal_to_scalar(kernels, lambda kernels: quantize(kernels, x))
    if blocks is not None:
        expect_quantized(blocks, x)


def expect_quantized(blocks: Array, x: NDArray[np.float32]) -> None:
    """(blocks, tokens) as the reference has them for x (tokens, columns)."""
    tokens, columns = x.shape
    rounded = reference.quantize_activations(x)
    halves = rounded.codes.reshape(tokens, columns // 16, 16).sum(-1)
    by_token = blocks.T
    scales = np.repeat(rounded.scales, 8, axis=-1)[:, : columns // 32]
    expected = {
        "q": rounded.codes,
        "factor": rounded.factors,
        "sum": rounded.sums,
        "zero32": -16 * (halves[:, ::2] + halves[:, 1::2]),
        "zero16": -32 * halves,
        "group_scale": rounded.factors.astype(np.float32) * scales,
    }
    np.testing.assert_array_equal(by_token["scale"], rounded.scales)
    for name, values in expected.items():
        found = by_token[name].reshape(tokens, -1)
        np.testing.assert_array_equal(found[:, : values.shape[1]], values)
        assert not found[:, values.shape[1] :].any()


@pytest.mark.parametrize("groups", [1, 2, 7, 8])
@pytest.mark.parametrize("tokens", [1, 2, 5, 17])
def test_quantize_pairs(kernels: Kernels, tokens: int, groups: int) -> None:
    """The same numbers where each group comes from the outputs of another pair."""
    x = np.random.default_rng([tokens, groups]).standard_normal((tokens, 32 * groups), np.float32)
    x[0, :32] = 0.9  # one factor is raised
    stride = 32 * tokens + 16
    pairs = np.full((groups, stride), np.nan, np.float32)
    pairs[:, : 32 * tokens] = x.reshape(tokens, groups, 32).transpose(1, 0, 2).reshape(groups, -1)

    def run(kernels: Kernels) -> Array:
        out = np.full(tokens * ACT.itemsize, 0xFF, np.uint8).view(ACT)
        kernels.call("quantize_pairs", pairs, stride, groups, tokens, out)
        out["padding"] = 0
        return out

    blocks = equal_to_scalar(kernels, run)
    if blocks is not None:
        expect_quantized(blocks[None], x)


@pytest.mark.parametrize("width", SIZES)
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_layer_norm(kernels: Kernels, offset: float, width: int) -> None:
    rng = np.random.default_rng(width)
    padded = -(-width // 32) * 32
    x, weight, bias = (np.zeros(padded, np.float32) for _ in range(3))
    x[:width] = rng.standard_normal(width) + offset
    weight[:width], bias[:width] = rng.standard_normal((2, width))

    def run(kernels: Kernels) -> Array:
        out = np.full(padded, np.nan, np.float32)
        kernels.call("layer_norm", x, weight, bias, 1e-5, width, padded, out)
        return out

    result = equal_to_scalar(kernels, run)
    if result is None:
        return
    x, weight, bias = x[:width], weight[:width], bias[:width]
    expected = reference.layer_norm(x, weight, bias, 1e-5)
    # The mean is off by some ulps of the largest x, and that counts in units of the deviation.
    deviation = np.sqrt(x.astype(np.float64).var() + 1e-5)
    tolerance = 8 * ULP * ((1 + np.abs(x).max() / deviation) * np.abs(weight) + np.abs(bias))
    assert (np.abs(result[:width] - expected) <= tolerance).all()
    assert not result[width:].any()


@pytest.mark.parametrize("tokens", SIZES)
def test_gelu(kernels: Kernels, tokens: int) -> None:
    rng = np.random.default_rng(tokens)
    x = (rng.standard_normal((tokens, 32)) * 10.0 ** rng.integers(-6, 3, (tokens, 32))).astype(np.float32)
    bias = rng.standard_normal(32, np.float32)

    def run(kernels: Kernels) -> Array:
        out = x.copy()
        kernels.call("gelu", out, bias, tokens)
        return out

    result = equal_to_scalar(kernels, run)
    if result is None:
        return
    biased = x + bias
    # The argument of exp is off by some ulps of itself; where it is large, gelu is 0 or x.
    assert (np.abs(result - reference.gelu_tanh(biased)) <= 4 * ULP * np.abs(biased)).all()


@pytest.mark.parametrize("n", [16, 32, 48, 256, 272])
def test_f16_clamped(kernels: Kernels, n: int) -> None:
    rng = np.random.default_rng(n)
    x = (rng.standard_normal(n) * 10.0 ** rng.integers(-9, 7, n)).astype(np.float32)

    def run(kernels: Kernels) -> Array:
        out = np.zeros(n, np.uint16)
        kernels.call("f16_clamped", x, n, out)
        return out

    result = equal_to_scalar(kernels, run)
    if result is not None:
        np.testing.assert_array_equal(result, np.clip(x, -65504, 65504).astype(np.float16).view(np.uint16))


@pytest.mark.parametrize("tokens", [1, 2, 17])
@pytest.mark.parametrize("stride", [32, 80])
def test_add_residual(kernels: Kernels, stride: int, tokens: int) -> None:
    rng = np.random.default_rng([stride, tokens])
    x, bias = rng.standard_normal((tokens, stride), np.float32), rng.standard_normal(32, np.float32)
    out = 10 * rng.standard_normal((tokens, 32), np.float32)

    def run(kernels: Kernels) -> Array:
        sums = x.copy()
        kernels.call("add_residual", sums, stride, out, bias, tokens)
        return sums

    result = equal_to_scalar(kernels, run)
    if result is not None:
        np.testing.assert_array_equal(result[:, :32], reference.residual(x[:, :32], out, bias))
        np.testing.assert_array_equal(result[:, 32:], x[:, 32:])


@pytest.mark.parametrize("factor", [0.0, 1.0, -0.5, 0.0883883476, 1e30])
@pytest.mark.parametrize("n", [16, 64, 272])
def test_scale(kernels: Kernels, n: int, factor: float) -> None:
    x = np.random.default_rng(n).standard_normal(n, np.float32)
    x[::5] = -0.0

    def run(kernels: Kernels) -> Array:
        out = np.full(n, np.nan, np.float32)
        kernels.call("scale", x, n, factor, out)
        return out

    result = equal_to_scalar(kernels, run)
    if result is not None:
        assert result.tobytes() == reference.scaled(x, factor).tobytes()


def test_widen(kernels: Kernels) -> None:
    """Every finite number of f16."""
    bits = np.arange(1 << 16, dtype=np.uint16)
    x = bits[np.isfinite(bits.view(np.float16))]

    def run(kernels: Kernels) -> Array:
        out = np.full(len(x), np.nan, np.float32)
        kernels.call("widen", x, len(x), out)
        return out

    result = equal_to_scalar(kernels, run)
    if result is not None:
        assert result.tobytes() == x.view(np.float16).astype(np.float32).tobytes()


# The vocabulary.

LENGTHS = (64, 128, 320)  # of a bucket


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("n", SIZES)
def test_logit_maxima(kernels: Kernels, n: int, length: int) -> None:
    x = 5 * np.random.default_rng([n, length]).standard_normal(n, np.float32)
    x[::3] = -np.inf
    x[64:128] = -0.0  # a bucket of them

    def run(kernels: Kernels) -> Array:
        out, finite = np.full(-(-n // length), np.nan, np.float32), np.zeros(1, np.int32)
        kernels.call("logit_maxima", x, n, length, out, finite)
        assert finite[0]
        for value in (np.inf, np.nan):
            bad = x.copy()
            bad[-1] = value
            kernels.call("logit_maxima", bad, n, length, np.empty_like(out), finite)
            assert not finite[0]
        return out

    result = equal_to_scalar(kernels, run)
    if result is not None:
        assert result.tobytes() == reference.bucket_maxima(x, length).tobytes()


@pytest.mark.parametrize("least", [0.0, 2.0**-20, 0.3])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("n", SIZES)
def test_weight_masses(kernels: Kernels, n: int, length: int, least: float) -> None:
    rng = np.random.default_rng([n, length])
    x = (rng.random(n) * 2.0 ** rng.integers(-42, 1, n)).astype(np.float32)
    x[::4], x[1::7] = 1, least

    def run(kernels: Kernels) -> Array:
        out = np.full(-(-n // length), -1, np.int64).view(np.uint64)
        kernels.call("weight_masses", x, n, length, least, out)
        return out

    result = equal_to_scalar(kernels, run)
    if result is not None:
        assert result.tolist() == reference.bucket_masses(x, length, least)


@pytest.mark.parametrize("n", SIZES)
def test_softmax_weights(kernels: Kernels, n: int) -> None:
    x = 5 * np.random.default_rng(n).standard_normal(n, np.float32)

    def run(kernels: Kernels) -> Array:
        out = np.full(n, np.nan, np.float32)
        kernels.call("softmax_weights", x, n, float(x.max()), 1.25, out)
        return out

    result = equal_to_scalar(kernels, run)
    if result is None:
        return
    exponent = (x.astype(np.float64) - x.max()) * 1.25
    # exp itself is good to 2e-7; its argument is off by one ulp of each of its two roundings.
    assert (np.abs(result - np.exp(exponent)) <= (2e-7 + 2 * ULP * np.abs(exponent)) * np.exp(exponent)).all()


# Attention.


def run_attention(kernels: Kernels, q: Array, keys: Array, values: Array) -> Array:
    """(T, heads, d) queries, (S, 1, d) keys and values, in blocks of 64 positions, to (T * heads, d)."""
    (count, heads, dim), length = q.shape, len(keys)
    n = count * heads
    queries = q.reshape(n, dim) * np.float32(1 / np.sqrt(np.float32(dim)))
    merged, partial = (np.zeros(kernels.plain("partial_bytes", dim) // 4, np.float32) for _ in range(2))
    for start in range(0, length, 64):
        size = min(64, length - start)
        key_block, value_block = np.zeros((dim, 64), np.float16), np.zeros((64, dim), np.float16)
        key_block[:, :size], value_block[:size] = (
            keys[start : start + size, 0].T,
            values[start : start + size, 0],
        )
        positions = np.repeat(np.arange(length - count, length), heads)
        visible = np.minimum(positions + 1 - start, 64).astype(np.int32)
        target = partial if start else merged
        halves = key_block.view(np.uint16), value_block.view(np.uint16)
        kernels.call("attend", queries, n, dim, *halves, visible, target)
        if start:
            kernels.call("attend_merge", merged, partial, n, dim)
    sums, out = merged[16 : 16 + n, None], merged[32:].reshape(16, dim)[:n]
    return out / sums


@pytest.mark.parametrize("length", [*SIZES, 64, 65, 130])
@pytest.mark.parametrize("dim", [32, 64, 128])
@pytest.mark.parametrize(("count", "heads"), [(1, 1), (1, 16), (15, 1), (5, 3), (16, 1)])
def test_attention(kernels: Kernels, count: int, heads: int, dim: int, length: int) -> None:
    count = min(count, length)
    rng = np.random.default_rng([length, dim])
    q = 3 * rng.standard_normal((count, heads, dim), np.float32)
    keys, values = (rng.standard_normal((length, 1, dim)).astype(np.float16) for _ in range(2))
    result = equal_to_scalar(kernels, lambda kernels: run_attention(kernels, q, keys, values))
    if result is None:
        return
    expected = reference.attention(q, keys, values).reshape(count * heads, dim)
    # A score is a sum of `dim` products, off by some ulps of their magnitudes, and so is each weight.
    scores = np.einsum("thd,sd->ths", np.abs(q), np.abs(keys[:, 0].astype(np.float64))).max() / np.sqrt(dim)
    assert np.abs(result - expected).max() <= 4 * ULP * (4 + scores) * np.abs(values).max()


# The check tool.


def test_check_tool(built: Built) -> None:
    done = subprocess.run([built.tool], capture_output=True, text=True)
    closing = done.stdout.splitlines()[-1].split()
    assert (done.returncode, closing[1:]) == (0, ["passed,", "0", "failed"]), done.stdout + done.stderr
    listed = subprocess.run([built.tool, "--list"], capture_output=True, text=True, check=True).stdout.split()
    assert int(closing[0]) == len(listed) * len(available())
