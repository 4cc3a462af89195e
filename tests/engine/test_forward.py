"""The forward pass: near the exact logits, and the same bytes however they are computed and asked for."""

from __future__ import annotations

import hashlib
import itertools
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from santacoder.engine.isa import available
from santacoder.engine.loading import open_transformer
from santacoder.engine.ternary import DEQUANTIZERS
from santacoder.engine.transformer import Transformer
from santacoder.errors import ModelFormatError
from tests.support import reference
from tests.support.gguf_builder import WEIGHT_TYPES, GGUFBuilder, tiny_builder
from tests.support.paths import DATA, distributed

#: A folder with further models NAME.gguf and their exact logits in NAME.npz.
MORE = os.environ.get("SANTACODER_FIXTURES")
FOLDERS = [Path(folder) for folder in (MORE, DATA) if folder]
FIXTURES = sorted({path.stem: path for folder in FOLDERS for path in folder.glob("m*.gguf")}.values())
FIXTURE_IDS = [path.stem for path in FIXTURES]
LARGEST_KL = {"q8_0": 3.0e-4}  # by the end of the name; K-quants and Q4_0 reach 3.5e-4
#: Of the float32 logits of mqa-q4_k_m, little endian. Only a change of the arithmetic may change it.
GOLDEN = "42425257322441d785d62b37d8bd7dfa8f44f155559b08379740a0554dad6af5"

Logits = NDArray[np.float32]


def logits_of(model: Transformer, tokens: Sequence[int], chunk: int | None = None) -> Logits:
    """(T, V) from an empty cache, `chunk` tokens at a time."""
    cache, step = model.new_cache(), chunk or len(tokens)
    parts = [model.forward(tokens[i : i + step], cache, outputs="all") for i in range(0, len(tokens), step)]
    assert len(cache) == len(tokens)
    return np.concatenate(parts)


def fixture_tokens(path: Path) -> list[int]:
    tokens: list[int] = np.load(distributed(path.with_suffix(".npz")))["tokens"].tolist()
    return tokens


# Fixtures: files that llama.cpp quantised.


@pytest.mark.parametrize("path", FIXTURES, ids=FIXTURE_IDS)
def test_near_the_exact_logits(path: Path, record_property: Callable[[str, object], None]) -> None:
    model, _ = open_transformer(path)
    exact = np.load(distributed(path.with_suffix(".npz")))["logits"]
    divergence = reference.mean_kl(exact, logits_of(model, fixture_tokens(path)))
    record_property("mean KL", divergence)
    assert divergence <= LARGEST_KL.get(path.stem.partition("-")[2], 3.5e-4)


@pytest.fixture(scope="module")
def expected() -> dict[Path, bytes]:
    """The logits of each fixture from one thread of the scalar kernels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANTACODER_ISA", "scalar")
        models = {path: open_transformer(path, threads=1)[0] for path in FIXTURES}
    return {path: logits_of(model, fixture_tokens(path)).tobytes() for path, model in models.items()}


@pytest.mark.parametrize("threads", [1, 2, 3, 64])
@pytest.mark.parametrize("isa", available())
@pytest.mark.parametrize("path", FIXTURES, ids=FIXTURE_IDS)
def test_same_bytes(
    monkeypatch: pytest.MonkeyPatch, expected: dict[Path, bytes], path: Path, isa: str, threads: int
) -> None:
    monkeypatch.setenv("SANTACODER_ISA", isa)
    model, _ = open_transformer(path, threads=threads)
    assert (model.isa, model.threads) == (isa, threads)
    tokens = fixture_tokens(path)
    for chunk in (None, 7, 1):
        assert logits_of(model, tokens, chunk).tobytes() == expected[path]

    cache = model.new_cache()
    last = model.forward(tokens, cache)
    assert last.tobytes() == expected[path][-last.nbytes :]
    for length, other in ((40, 3), (0, 11), (63, 1)):
        cache.truncate(length)
        model.forward([other] * (len(tokens) - length), cache)  # leaves other keys and values in the cache
        cache.truncate(length)
        again = model.forward(tokens[length:], cache, outputs="all")
        assert again.tobytes() == expected[path][-again.nbytes :]


def test_golden_hash() -> None:
    path = DATA / "mqa-q4_k_m.gguf"
    model, _ = open_transformer(path)
    logits = logits_of(model, fixture_tokens(path)).astype("<f4")
    assert hashlib.sha256(logits.tobytes()).hexdigest() == GOLDEN


# Small random models of every shape and type.

SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "deep": {"layers": 4},
    "as many key heads": {"width": 64, "heads": 4, "kv_heads": 4},
    "a divisor of key heads": {"width": 96, "heads": 6, "kv_heads": 2},
    "untied": {"tied": False},
    "vocabulary not a multiple of 16": {"n_padding": 5, "tied": False},
    "vocabulary of 272": {"n_padding": 5},
    "head_dim 24": {"width": 96, "heads": 4},
    "head_dim 7": {"width": 21, "heads": 3},
    "head_dim 40, all heads": {"width": 120, "heads": 3, "kv_heads": 3},
    "head_dim 1": {"width": 17, "heads": 17, "kv_heads": 17},
    "head_dim 32, four are half a block of activations": {"width": 256, "heads": 8, "kv_heads": 1},
    "head_dim 64, four are a block of activations": {"width": 256, "heads": 4, "kv_heads": 1},
    "more heads than a tile": {"width": 96, "heads": 24, "kv_heads": 1},
    "width 50": {"width": 50},
    "odd MLP": {"width": 34, "hidden": 91},
    "narrow MLP": {"hidden": 1},
    "two cache blocks": {"context": 128, "count": 100},
    "three cache blocks": {"context": 200, "count": 200, "width": 64, "heads": 2, "layers": 2},
    "three cache blocks, all heads": {"context": 150, "count": 150, "width": 64, "heads": 4, "kv_heads": 4},
    "one context": {"context": 1, "count": 1},
}
TYPES = {
    "F16": {"width": 48},
    "BF16": {"width": 48},
    "Q8_0": {"width": 96, "hidden": 160},
    "Q4_0": {"width": 64},
    "Q4_1": {"width": 64},
    "Q5_0": {"width": 64, "hidden": 288},
    "Q5_1": {"width": 64, "hidden": 96},
    "IQ4_NL": {"width": 64},
    "Q4_K": {"width": 256, "heads": 4},
    "Q5_K": {"width": 256, "heads": 4, "kv_heads": 2},
    "Q6_K": {"width": 256, "heads": 8},
    "Q2_K": {"width": 256, "heads": 8},
    "Q3_K": {"width": 256, "heads": 4, "kv_heads": 2},
    "IQ4_XS": {"width": 256, "heads": 4},
}
#: Where a block has its first f16, if not at its beginning.
SCALES_AT = {"Q6_K": 208, "Q2_K": 80, "Q3_K": 108}
#: The SHA-256 of 80 tokens' logits of a small model of each type that has no file of its own.
GOLDENS = {
    "Q4_0": "5f0a40401725973c00dce38afe1a7c341589879f26118cf0b618d92d18c69a0d",
    "Q4_1": "38b3a81dde621f98ada366d3381376adb76f790241b421f34191483723e33ebc",
    "Q5_0": "1bb94944527c5a58f3ef324670eab61acb14c30365e0cf949d6e9fe15aaff87f",
    "Q5_1": "63824b5f13cfefb82f8a3e5456235144ee117800568b933bb3276794b3ab52a2",
    "Q2_K": "e10633eb993549356486666935b1d8ba9f85b37576bc9c3cb5f5b7c8a59d38dd",
    "Q3_K": "fa55ddca5c5fc2e5e4890ad4c3952b9ba5d89e33760f4d7847ca93b1a1d98694",
    "IQ4_XS": "7bd1a4c45b5754f48b3a4e5720c6aded9d07d5991e983d3bc0916319cff9a9f6",
    "IQ4_NL": "5fe38d6656dea005ac2c4f77d7727db4932d9e164ec318a726de53df2c132135",
}


def write(folder: Path, model: GGUFBuilder) -> Path:
    path = folder / "model.gguf"
    path.write_bytes(model.build())
    return path


def divergence(path: Path, count: int, cache_type: type[np.floating[Any]] = np.float16) -> tuple[float, float]:
    """KL and largest difference from the reference, for logits that are the same in chunks and at once."""
    weights, config = reference.load(path)
    exact_vocabulary = len(weights["token_embd.weight"])
    tokens = np.random.default_rng(count).integers(0, exact_vocabulary, count).tolist()
    exact = reference.forward(weights, config, tokens, cache_type)
    model, _ = open_transformer(path, threads=2)
    logits = logits_of(model, tokens)
    for chunk in (7, 1):
        assert logits_of(model, tokens, chunk).tobytes() == logits.tobytes()
    return reference.mean_kl(exact, logits), float(np.abs(exact - logits).max())


@pytest.mark.parametrize("shape", SHAPES)
def test_float32_models_agree_with_the_reference(tmp_path: Path, shape: str) -> None:
    settings: dict[str, Any] = {"layers": 2, "weight_type": "F32", **SHAPES[shape]}
    count = settings.pop("count", 16)
    kl, difference = divergence(write(tmp_path, tiny_builder(**settings)), count, np.float64)
    assert kl < 1e-10
    assert difference < 1e-5


@pytest.mark.parametrize("isa", available())
@pytest.mark.parametrize("shape", SHAPES)
def test_same_bytes_of_every_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str, isa: str) -> None:
    settings: dict[str, Any] = {"layers": 2, **SHAPES[shape]}
    whole_blocks = all(settings.get(name, 32) % 32 == 0 for name in ("width", "hidden"))
    settings["weight_type"] = "Q8_0" if whole_blocks else "F16"
    count = settings.pop("count", 16)
    path = write(tmp_path, tiny_builder(**settings))
    tokens = np.random.default_rng(count).integers(0, 269, count).tolist()
    results = set()
    for level, threads in ((isa, 2), ("scalar", 1), (isa, 3)):
        monkeypatch.setenv("SANTACODER_ISA", level)
        results.add(logits_of(open_transformer(path, threads=threads)[0], tokens).tobytes())
    assert len(results) == 1


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("type_name", TYPES)
def test_every_type(tmp_path: Path, type_name: str, tied: bool) -> None:
    settings: dict[str, Any] = {
        "layers": 2,
        "weight_type": type_name,
        "tied": tied,
        "context": 96,
        **TYPES[type_name],
    }
    kl, _ = divergence(write(tmp_path, tiny_builder(**settings)), 80)
    assert kl < (1e-9 if type_name in ("F16", "BF16") else 1e-3)  # else activations are rounded to int8


def test_golden_hash_of_every_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for type_name in GOLDENS:
        settings: dict[str, Any] = {"layers": 2, "weight_type": type_name, "context": 96, **TYPES[type_name]}
        path = write(tmp_path, tiny_builder(**settings))
        tokens = np.random.default_rng(80).integers(0, 269, 80).tolist()
        hashes = set()
        for isa, threads in itertools.product(available(), (1, 3)):
            monkeypatch.setenv("SANTACODER_ISA", isa)
            logits = logits_of(open_transformer(path, threads=threads)[0], tokens).astype("<f4")
            hashes.add(hashlib.sha256(logits.tobytes()).hexdigest())
        [found[type_name]] = hashes
    assert found == GOLDENS


def test_mixed_types(tmp_path: Path) -> None:
    builder = tiny_builder(width=256, heads=4, weight_type="Q4_K", embedding_type="Q6_K", layers=2)
    kl, _ = divergence(write(tmp_path, builder), 16)
    assert kl < 1e-3


@pytest.mark.parametrize("type_name", ["MXFP4", "IQ3_S"])
def test_types_without_a_kernel_load_with_one_warning(tmp_path: Path, type_name: str) -> None:
    kind = gguf.GGMLQuantizationType[type_name]
    builder = tiny_builder(width=256, heads=4, layers=2, weight_type="F32")
    _, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(1)
    for tensor in builder.tensors:
        if len(tensor.dims) == 2 and "position" not in str(tensor.name):
            tensor.kind = int(kind)
            values = np.frombuffer(tensor.data, np.float32).reshape(tensor.dims[::-1])
            tensor.data = foreign_blocks(kind, values, block_bytes, rng)
    path = write(tmp_path, builder)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model, _ = open_transformer(path)
    assert [type_name in str(warning.message) for warning in caught] == [True]

    weights = {tensor.name: gguf_values(tensor) for tensor in gguf.GGUFReader(path).tensors}
    config = reference.Config(layers=2, width=256, heads=4, kv_heads=1, context=16, epsilon=1e-5)
    tokens = list(range(16))
    assert reference.mean_kl(reference.forward(weights, config, tokens), logits_of(model, tokens)) < 1e-3


@pytest.mark.parametrize(("type_name", "kind"), [("Q1_0", 41), ("Q2_0", 42)])
def test_types_that_gguf_does_not_dequantise(tmp_path: Path, type_name: str, kind: int) -> None:
    block_bytes, block_values, _ = reference.FORMATS[type_name]
    builder = tiny_builder(width=128, heads=4, layers=2)
    rng = np.random.default_rng(1)
    matrices = [t for t in builder.tensors if len(t.dims) == 2 and "position" not in str(t.name)]
    for tensor in matrices:
        columns, rows = tensor.dims
        blocks = rng.integers(0, 256, (rows * columns // block_values, block_bytes), np.uint8)
        scales = rng.uniform(0.5, 1.0, (len(blocks), 1)) * columns**-0.5
        blocks[:, :2] = scales.astype("<f2").view(np.uint8)
        tensor.kind, tensor.data = kind, blocks.tobytes()
    path = write(tmp_path, builder)
    with pytest.warns(UserWarning, match=f"{type_name} has no kernel of its own and was rounded to Q8_0$"):
        model, _ = open_transformer(path)
    names = {number: name for name, (number, *_) in WEIGHT_TYPES.items()} | {kind: type_name}
    weights = {str(t.name): reference.dequantize(t.data, names[t.kind], t.dims[::-1]) for t in builder.tensors}
    config = reference.Config(layers=2, width=128, heads=4, kv_heads=1, context=16, epsilon=1e-5)
    tokens = list(range(16))
    assert reference.mean_kl(reference.forward(weights, config, tokens), logits_of(model, tokens)) < 1e-3

    tensor = matrices[-1]
    tensor.data = tensor.data[:-block_bytes] + np.float16(np.inf).tobytes() + bytes([0b01_01_01_01] * 16)
    path = write(tmp_path, builder)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*rounded to Q8_0")
        with pytest.raises(ModelFormatError, match="infinite or not a number"):
            open_transformer(path)


@pytest.mark.parametrize("type_name", DEQUANTIZERS)
def test_ternary_values_are_exact(type_name: str) -> None:
    block_bytes, block_values, unpack = reference.FORMATS[type_name]
    blocks = np.random.default_rng(1).integers(0, 256, (300, block_bytes), np.uint8)
    blocks[:, :2] = np.random.default_rng(2).standard_normal((300, 1)).astype("<f2").view(np.uint8)
    values = DEQUANTIZERS[type_name](blocks)
    assert (values.dtype, values.shape) == (np.dtype(np.float32), (300, block_values))
    np.testing.assert_array_equal(values, unpack(blocks))


def foreign_blocks(
    kind: gguf.GGMLQuantizationType, values: NDArray[np.float32], block_bytes: int, rng: np.random.Generator
) -> bytes:
    """`values` in a type that the package has no kernel for; random blocks where gguf cannot quantise."""
    try:
        return bytes(gguf.quants.quantize(values, kind).tobytes())
    except NotImplementedError:
        blocks = rng.integers(0, 256, (values.size // gguf.GGML_QUANT_SIZES[kind][0], block_bytes), np.uint8)
        scale = np.float16({"IQ3_S": 1 / 150}[kind.name] * values.shape[1] ** -0.5)
        blocks[:, :2] = np.frombuffer(scale.tobytes(), np.uint8)
        return blocks.tobytes()


def gguf_values(tensor: gguf.ReaderTensor) -> NDArray[np.float64]:
    shape = tuple(int(n) for n in reversed(tensor.shape))
    return gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float64).reshape(shape)


# Weights that are not numbers.


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("type_name", "name"),
    [
        ("F32", "blk.0.attn_qkv.weight"),
        ("F16", "token_embd.weight"),
        ("BF16", "blk.0.ffn_up.weight"),
        ("Q8_0", "blk.0.ffn_down.weight"),
        ("Q4_0", "blk.0.attn_output.weight"),
        ("Q4_1", "blk.0.attn_output.weight"),
        ("Q5_0", "output.weight"),
        ("Q5_1", "output.weight"),
        ("IQ4_NL", "blk.0.ffn_up.weight"),
        ("Q2_K", "blk.0.attn_output.weight"),
        ("Q3_K", "token_embd.weight"),
        ("IQ4_XS", "blk.0.ffn_up.weight"),
        ("Q4_K", "blk.0.ffn_up.weight"),
        ("Q5_K", "blk.0.attn_qkv.weight"),
        ("Q6_K", "token_embd.weight"),
        ("F16", "position_embd.weight"),
        ("F16", "output_norm.weight"),
        ("F16", "blk.0.ffn_up.bias"),
    ],
)
def test_what_is_not_finite_is_named(tmp_path: Path, type_name: str, name: str, value: float) -> None:
    builder = tiny_builder(width=256, heads=4, weight_type=type_name, tied=False)
    tensor = builder.tensor(name)
    kind = gguf.GGMLQuantizationType(tensor.kind).name
    data = bytearray(tensor.data)
    block = reference.FORMATS[kind][0]
    at = len(data) // block * 2 // 3 * block + SCALES_AT.get(kind, 0)
    if kind == "F32":
        bad = np.float32(value).tobytes()
    elif kind == "BF16":
        bad = np.float32(value).tobytes()[2:]
    else:
        bad = np.float16(value).tobytes()
    data[at : at + len(bad)] = bad
    tensor.data = bytes(data)
    with pytest.raises(ModelFormatError, match=name.replace(".", r"\.")):
        open_transformer(write(tmp_path, builder))


def test_the_fingerprint_is_of_all_weights(tmp_path: Path) -> None:
    """Also of the last number of a bias: models that differ by one number must not share keys and values."""
    found = set()
    for name in (None, "blk.0.attn_norm.bias", "output_norm.weight", "blk.0.ffn_up.bias", "blk.0.ffn_up.weight"):
        builder = tiny_builder()
        if name is not None:
            tensor = builder.tensor(name)
            tensor.data = tensor.data[:-2] + bytes([tensor.data[-2] ^ 1, tensor.data[-1]])
        path = tmp_path / "model.gguf"
        path.write_bytes(builder.build())
        found.add(open_transformer(str(path), 1)[0].fingerprint)
    assert len(found) == 5
