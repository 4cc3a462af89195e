"""The reference itself: its blocks against the `gguf` package, its network against foreign logits."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support import reference
from tests.support.paths import DATA, distributed

FIXTURES = ("mqa-q4_k_m", "mha-q4_k_m", "mqa-q8_0")

# Where the f16 scales of a block lie: random bytes there would often be infinite or NaN.
SCALE_OFFSETS = {
    "Q8_0": (0,),
    "Q4_0": (0,),
    "Q4_1": (0, 2),
    "Q5_0": (0,),
    "Q5_1": (0, 2),
    "IQ4_NL": (0,),
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "IQ4_XS": (0,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
}
LARGEST_F16 = 65504.0
SMALLEST_F16 = 2.0**-24


def blocks_of(type_name: str, fill: str, count: int = 64) -> NDArray[np.uint8]:
    """(count, bytes per block) of quantised blocks whose float fields are finite."""
    rng = np.random.default_rng(list(fill.encode()))
    size = reference.FORMATS[type_name][0]
    blocks = rng.integers(0, 256, (count, size), np.uint8)
    if fill in ("zeros", "ones"):
        blocks[:] = 0 if fill == "zeros" else 255
    for offset in SCALE_OFFSETS[type_name]:
        if fill == "random":
            scales = rng.standard_normal((count, 1))
        else:  # the widest exact differences: the largest scale with the smallest minimum
            signs = np.where(rng.random((count, 1)) < 0.5, -1, 1)
            scales = signs * (SMALLEST_F16 if offset in (2, 82) else LARGEST_F16)
        blocks[:, offset : offset + 2] = scales.astype("<f2").view(np.uint8)
    return blocks


@pytest.mark.parametrize("fill", ["random", "extreme", "zeros", "ones"])
@pytest.mark.parametrize("type_name", SCALE_OFFSETS)
def test_blocks_equal_gguf(type_name: str, fill: str) -> None:
    blocks = blocks_of(type_name, fill)
    block_bytes, block_values, _ = reference.FORMATS[type_name]
    kind = gguf.GGMLQuantizationType[type_name]
    assert gguf.GGML_QUANT_SIZES[kind] == (block_values, block_bytes)

    rows = blocks.reshape(16, -1)
    actual = reference.dequantize(rows.tobytes(), type_name, (16, 4 * block_values))
    # gguf rounds once, to float32; the reference is exact, and rounding it must give the same number.
    np.testing.assert_array_equal(actual.astype(np.float32), gguf.quants.dequantize(rows, kind))


@pytest.mark.parametrize("type_name", ["F32", "F16", "BF16"])
def test_floats_equal_gguf(type_name: str) -> None:
    kind = gguf.GGMLQuantizationType[type_name]
    values = np.random.default_rng(1).standard_normal((3, 17)).astype(np.float32)
    raw = gguf.quants.quantize(values, kind)
    actual = reference.dequantize(raw, type_name, (3, 17))
    np.testing.assert_array_equal(actual, gguf.quants.dequantize(raw, kind))


@pytest.mark.parametrize("name", FIXTURES)
def test_forward_equals_fixture(name: str) -> None:
    weights, config = reference.load(distributed(DATA / f"{name}.gguf"))
    expected = np.load(distributed(DATA / f"{name}.npz"))
    logits = reference.forward(weights, config, expected["tokens"])
    np.testing.assert_allclose(logits, expected["logits"], rtol=0, atol=1e-6 * np.abs(logits).max())
    assert reference.mean_kl(logits, expected["logits"]) < 1e-9


def test_attention_of_the_last_positions_equals_the_whole() -> None:
    rng = np.random.default_rng(2)
    q, k, v = (rng.standard_normal((9, heads, 8)) for heads in (6, 2, 2))
    whole = reference.attention(q, k, v)
    np.testing.assert_allclose(reference.attention(q[5:], k, v), whole[5:], rtol=1e-12)
    np.testing.assert_allclose(whole[0], np.repeat(v[0], 3, axis=0), rtol=1e-12)  # the first sees only itself


def test_quantize_activations() -> None:
    x = np.zeros((2, 288), np.float32)
    x[0, :4] = 127, -0.5, 0.5, 1.5
    x[0, 32:64] = -127 / 63, *[0] * 31
    x[0, 64:80] = 100  # flat: 16 codes of 127 would be too large
    x[1, 32:] = -np.float32(9e-31)  # too small for a step
    rounded = reference.quantize_activations(x)
    assert rounded.codes[0, :4].tolist() == [127, 0, 0, 2]  # halves go to the even number
    assert rounded.codes[0, 32] == -127
    assert rounded.factors[0].tolist() == [63, 1, 100, 1, 1, 1, 1, 1, 0]
    assert (rounded.codes[0, 64:80] == 63).all()
    assert rounded.scales.tolist() == [[np.float32(127) / np.float32(127 * 63), 0], [0, 0]]
    assert not rounded.codes[1].any()
    assert rounded.sums[0, :3].tolist() == [(63 * 129 + 4) // 8, -16, (100 * 1008 + 4) // 8]
    assert np.abs(rounded.values[0] - x[0]).max() < 0.9


def test_quantize_activations_multiplies_by_the_reciprocal() -> None:
    x = np.zeros((1, 32), np.float32)
    x[0, :2] = 2.535, 1.9860827  # near a tie: 100 by 1 / scale, 99 by division
    assert reference.quantize_activations(x).codes[0, :2].tolist() == [127, 100]


def test_mean_kl_ignores_a_shift() -> None:
    logits = np.random.default_rng(3).standard_normal((4, 50))
    assert abs(reference.mean_kl(logits, logits + 5)) < 1e-14
    assert reference.mean_kl(logits, 1.1 * logits) > 1e-3
