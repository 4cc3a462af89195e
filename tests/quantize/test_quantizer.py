"""Rounding of tensors: small errors, reported correctly; the same bits everywhere; and bad values."""

from __future__ import annotations

import hashlib
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from santacoder.engine.isa import available
from santacoder.errors import ModelFormatError
from santacoder.quantize.quantizer import Quantized, Quantizer

BLOCKS = ("Q4_0", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0")
FLOATS = ("F32", "F16", "BF16")
#: llama.cpp's squared error over the sum of squares, for `heavy_tailed`, which has some very large values.
LLAMA_CPP = {"Q4_0": 1.31e-2, "Q3_K": 3.41e-2, "Q4_K": 8.28e-3, "Q5_K": 2.10e-3, "Q6_K": 6.25e-4, "Q8_0": 6.34e-5}
#: SHA-256 of the blocks of `heavy_tailed`, by the first 16 digits. Only a change of the arithmetic may change them.
GOLDEN = {
    "Q4_0": "a289c18f5538ebdd",
    "Q3_K": "27cbcb5fa5ed0ac0",
    "Q4_K": "16025e5ffb92947b",
    "Q5_K": "f01eec2f0ba07002",
    "Q6_K": "e73beb2dca6b2c6e",
    "Q8_0": "1da18363930da9ad",
}

Values = NDArray[np.float32]


def heavy_tailed(rows: int = 64, columns: int = 768) -> Values:
    return np.random.default_rng(3).standard_t(4, (rows, columns)).astype(np.float32)


def decode(quantized: Quantized, type_name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The values of the blocks as the `gguf` package reads them."""
    kind = gguf.GGMLQuantizationType[type_name]
    return gguf.quants.dequantize(quantized.blocks.reshape(shape[0], -1), kind).astype(np.float64)


@pytest.fixture(scope="module")
def quantizer() -> Quantizer:
    return Quantizer(threads=2)


@pytest.mark.parametrize("type_name", BLOCKS)
def test_errors_are_small_and_as_reported(quantizer: Quantizer, type_name: str) -> None:
    values = heavy_tailed()
    quantized = quantizer.quantize("x", values, type_name)
    missed = ((decode(quantized, type_name, values.shape) - values) ** 2).sum()
    squares = (values.astype(np.float64) ** 2).sum()
    assert quantized.error == pytest.approx(missed, rel=1e-5)
    assert quantized.squares == pytest.approx(squares, rel=1e-12)
    assert missed < LLAMA_CPP[type_name] * squares


@pytest.mark.parametrize("isa", available())
@pytest.mark.parametrize("type_name", BLOCKS)
def test_same_bytes(monkeypatch: pytest.MonkeyPatch, type_name: str, isa: str) -> None:
    monkeypatch.setenv("SANTACODER_ISA", isa)
    for threads in (1, 3):
        blocks = Quantizer(threads).encode("x", heavy_tailed(), type_name)
        assert hashlib.sha256(blocks.tobytes()).hexdigest()[:16] == GOLDEN[type_name]


@pytest.mark.parametrize("type_name", BLOCKS)
@pytest.mark.parametrize("shape", [(1, 256), (3, 256), (33, 256), (5, 2304), (2, 8192)])
def test_a_row_does_not_depend_on_its_neighbours(quantizer: Quantizer, type_name: str, shape: tuple[int, int]) -> None:
    """Also where rows end within units of work, and where the last superblock has no partner."""
    values = heavy_tailed(*shape)
    importance = np.random.default_rng(0).uniform(0, 5, shape[1]).astype(np.float32)
    rows = [quantizer.quantize("x", row[None], type_name, importance).blocks for row in values]
    assert quantizer.quantize("x", values, type_name, importance).blocks.tobytes() == np.concatenate(rows).tobytes()


@pytest.mark.parametrize("type_name", ["Q8_0", "F16"])
def test_narrow_rows(quantizer: Quantizer, type_name: str) -> None:
    values = heavy_tailed(7, 32)
    rows = [quantizer.encode("x", row[None], type_name) for row in values]
    assert quantizer.encode("x", values, type_name).tobytes() == np.concatenate(rows).tobytes()


@pytest.mark.parametrize("type_name", FLOATS)
def test_floats_round_to_nearest_even(quantizer: Quantizer, type_name: str) -> None:
    bits = np.random.default_rng(0).integers(0, 1 << 32, 20_000, dtype=np.uint32)
    values = bits.view(np.float32)
    values = values[np.isfinite(values) & (np.abs(values) < (65504 if type_name == "F16" else 3e38))]
    values = np.concatenate(
        [values, np.array([0, -0.0, 1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-8, 2**-25, 6e-8, 65504], np.float32)]
    )
    expected = gguf.quants.quantize(values, gguf.GGMLQuantizationType[type_name]).view(np.uint8)
    assert quantizer.encode("x", values, type_name).tobytes() == expected.tobytes()


@pytest.mark.parametrize("type_name", [*BLOCKS, *FLOATS])
def test_sources(quantizer: Quantizer, type_name: str) -> None:
    """F16 and BF16 are rounded as the floats they stand for."""
    halves = heavy_tailed().astype(np.float16)
    brains = (heavy_tailed().view(np.uint32) >> 16).astype(np.uint16)
    wide = (brains.astype(np.uint32) << 16).view(np.float32)
    for narrow, values in ((halves, halves.astype(np.float32)), (brains, wide)):
        assert quantizer.encode("x", narrow, type_name).tobytes() == quantizer.encode("x", values, type_name).tobytes()


@pytest.mark.parametrize("type_name", BLOCKS)
@pytest.mark.parametrize("fill", [0.0, 1.0, -1.0, 0.01, 65504.0])
def test_equal_values(quantizer: Quantizer, type_name: str, fill: float) -> None:
    values = np.full((2, 512), fill, np.float32)
    found = decode(quantizer.quantize("x", values, type_name), type_name, values.shape)
    assert np.abs(found - values).max() <= abs(fill) / 100


@pytest.mark.parametrize("type_name", BLOCKS)
def test_importance(quantizer: Quantizer, type_name: str) -> None:
    """More important columns get smaller errors."""
    values = heavy_tailed()
    importance = np.where(np.arange(values.shape[1]) % 7 == 0, 50, 1).astype(np.float32)

    def weighted(quantized: Quantized) -> float:
        return float((importance * (decode(quantized, type_name, values.shape) - values) ** 2).sum())

    plain, careful = quantizer.quantize("x", values, type_name), quantizer.quantize("x", values, type_name, importance)
    assert weighted(careful) < 0.95 * weighted(plain)
    assert careful.error > plain.error
    ones = np.ones_like(importance)
    assert quantizer.quantize("x", values, type_name, ones).blocks.tobytes() == plain.blocks.tobytes()


@pytest.mark.parametrize("type_name", BLOCKS)
def test_shift(quantizer: Quantizer, type_name: str) -> None:
    values = heavy_tailed()
    mean = np.random.default_rng(1).standard_normal(values.shape[1:]).astype(np.float32)
    quantized = quantizer.quantize("x", values, type_name, mean=mean)
    assert quantized.shift is not None
    expected = (values - decode(quantized, type_name, values.shape)) @ mean.astype(np.float64)
    assert np.abs(quantized.shift - expected).max() < 1e-5
    assert quantizer.quantize("x", values, type_name).shift is None


@pytest.mark.parametrize("type_name", [*BLOCKS, *FLOATS])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite(quantizer: Quantizer, type_name: str, bad: float) -> None:
    values = heavy_tailed(64, 256)
    values[40, 100] = bad
    with pytest.raises(ModelFormatError, match=r"^tensor blk\.0 holds a value that is infinite or not a number$"):
        quantizer.encode("blk.0", values, type_name)


def test_what_is_too_large(quantizer: Quantizer) -> None:
    values = heavy_tailed(2, 256)
    values[1, 3] = -1e5
    for type_name in (*BLOCKS, "F16"):
        with pytest.raises(ModelFormatError, match=rf"^tensor t holds a value that is too large for {type_name}$"):
            quantizer.encode("t", values, type_name)
    for type_name in ("F32", "BF16"):
        quantizer.encode("t", values, type_name)
    values[1, 3] = float.fromhex("0x1.FEFFFEp127")  # rounds to the largest bfloat16
    quantizer.encode("t", values, "BF16")
    values[1, 3] = float.fromhex("0x1.FFp127")  # rounds to infinity
    with pytest.raises(ModelFormatError, match="too large for BF16"):
        quantizer.encode("t", values, "BF16")


def test_sizes_that_do_not_fit() -> None:
    """Sizes are checked before C gets them."""
    quantizer, values = Quantizer(1), np.ones((2, 256), np.float32)
    for bad in (values[:, :100], values[:, :255]):
        with pytest.raises(ValueError, match=f"tensor x: {bad.shape[1]} columns do not fit Q6_K"):
            quantizer.encode("x", np.ascontiguousarray(bad), "Q6_K")
    misfits: tuple[Any, ...] = np.ones(255, np.float32), np.ones(256), np.ones((1, 256), np.float32)
    for known in misfits:
        with pytest.raises(ValueError, match="tensor x: 256 columns do not fit Q4_K, or what is known of them"):
            quantizer.quantize("x", values, "Q4_K", known)
        with pytest.raises(ValueError, match="what is known of them"):
            quantizer.quantize("x", values, "Q4_K", None, known)
