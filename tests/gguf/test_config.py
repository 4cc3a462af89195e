"""Hyperparameters and the tensor directory: what loads, and one error for each thing that does not fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from santacoder.errors import ModelFormatError
from santacoder.gguf.config import Config, expected_tensors
from santacoder.gguf.config_reader import check_tensors, read_config
from santacoder.gguf.reader import GGUFFile
from tests.support.gguf_builder import (
    ARRAY,
    F32,
    F64,
    I32,
    U16,
    U64,
    GGUFBuilder,
    array,
    scalar,
    tiny_builder,
)
from tests.support.paths import DATA, distributed

REQUIRED = [
    "context_length",
    "embedding_length",
    "block_count",
    "attention.head_count",
    "attention.layer_norm_epsilon",
]

Load = Callable[[GGUFBuilder], Config]
Reject = Callable[[GGUFBuilder], str]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write a model, read its configuration, check its tensors."""

    def read(out: GGUFBuilder) -> Config:
        path = tmp_path / "test.gguf"
        path.write_bytes(out.build())
        with GGUFFile.open(path) as file:
            config = read_config(file)
            check_tensors(file, config)
            return config

    return read


@pytest.fixture
def reject(load: Load) -> Reject:
    """The message with which a model is refused, without the path in front."""

    def refuse(out: GGUFBuilder) -> str:
        with pytest.raises(ModelFormatError) as caught:
            load(out)
        return str(caught.value).split("test.gguf: ", 1)[1]

    return refuse


def key(name: str) -> str:
    """The full name of a hyperparameter."""
    return f"starcoder.{name}"


@pytest.mark.parametrize(("name", "kv_heads"), [("mqa-q4_k_m.gguf", 1), ("mha-q4_k_m.gguf", 4), ("mqa-q8_0.gguf", 1)])
def test_fixtures(name: str, kv_heads: int) -> None:
    with GGUFFile.open(distributed(DATA / name)) as file:
        config = read_config(file)
        check_tensors(file, config)
        assert set(expected_tensors(config)) == set(file.tensors)
    assert config == Config(
        architecture="starcoder",
        name="random",
        context_length=256,
        embedding_length=256,
        feed_forward_length=1024,
        block_count=2,
        head_count=4,
        head_count_kv=kv_heads,
        layer_norm_epsilon=float(np.float32(1e-5)),
        vocab_size=512,
        tied_embeddings=True,
    )
    assert (config.head_dim, config.kv_length) == (64, 64 * kv_heads)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("tied", [True, False])
def test_head_counts_and_output(load: Load, kv_heads: int, tied: bool) -> None:
    config = load(tiny_builder(layers=2, heads=4, kv_heads=kv_heads, tied=tied))
    assert (config.head_dim, config.kv_length, config.tied_embeddings) == (8, 8 * kv_heads, tied)
    assert (config.vocab_size, config.name) == (269, "tiny")
    assert ("output.weight" in expected_tensors(config)) is not tied


def test_defaults(load: Load) -> None:
    absent = dict.fromkeys([key("feed_forward_length"), key("attention.head_count_kv"), "general.name"])
    config = load(tiny_builder(metadata=absent))
    assert (config.feed_forward_length, config.head_count_kv, config.name) == (128, 1, "")


KV_HEADS = "starcoder.attention.head_count_kv"


@pytest.mark.parametrize("heads", [1, 2, 4, 8])
@pytest.mark.parametrize("multi_query", [True, False])
def test_without_the_number_of_kv_heads(load: Load, heads: int, multi_query: bool) -> None:
    """llama.cpp then takes as many as query heads, while old converters meant one: the tensors tell."""
    kv_heads = 1 if multi_query else heads
    config = load(tiny_builder(layers=2, heads=heads, kv_heads=kv_heads, metadata={KV_HEADS: None}))
    assert config.head_count_kv == kv_heads


def test_without_the_number_of_kv_heads_and_with_shapes_that_do_not_tell(reject: Reject) -> None:
    tensor = "blk.0.attn_qkv.weight"
    out = tiny_builder(heads=4, kv_heads=2, metadata={KV_HEADS: None})
    assert reject(out) == (
        f"tensor {tensor} at byte {out.offsets['tensor:' + tensor]} has the shape (64, 32), which fits neither 1 nor 4 "
        f"KV heads of 8 values, and {KV_HEADS}, which would tell their number, is missing"
    )
    out = tiny_builder(metadata={KV_HEADS: None})
    out.tensors = [entry for entry in out.tensors if entry.name != tensor]
    assert reject(out) == f"tensor {tensor} is missing, and {KV_HEADS}, which its shape would tell, too"
    out = tiny_builder(layers=2, heads=4, metadata={KV_HEADS: None})
    wide = tiny_builder(layers=2, heads=4, kv_heads=4).tensor("blk.1.attn_qkv.weight")
    out.tensor("blk.1.attn_qkv.weight").dims, out.tensor("blk.1.attn_qkv.weight").data = wide.dims, wide.data
    assert "blk.1.attn_qkv.weight" in (message := reject(out))
    assert "has the shape (96, 32), but the model's dimensions ask for (48, 32)" in message


def test_other_integer_types_and_arrays_of_equal_numbers(load: Load) -> None:
    out = tiny_builder(layers=2, heads=4, kv_heads=2)
    out.set(key("attention.head_count_kv"), [2, 2]).set(key("block_count"), scalar(U64, 2))
    out.set(key("context_length"), scalar(U16, 16)).set("unknown.key", "is ignored")
    assert load(out).head_count_kv == 2


# Metadata.


def test_another_architecture(reject: Reject) -> None:
    out = tiny_builder(metadata={"general.architecture": "llama"})
    message = reject(out)
    at = out.offsets["value:general.architecture"]
    assert message.startswith(f"general.architecture at byte {at} is 'llama', but only models of the architecture")
    assert "is missing" in reject(tiny_builder(metadata={"general.architecture": None}))
    assert "is an integer" in reject(tiny_builder(metadata={"general.architecture": 7})).replace("a int", "an int")


@pytest.mark.parametrize("name", REQUIRED)
def test_required_keys(reject: Reject, name: str) -> None:
    assert reject(tiny_builder(metadata={key(name): None})) == f"{key(name)} is missing from the metadata"


@pytest.mark.parametrize("name", [*REQUIRED[:-1], "feed_forward_length", "attention.head_count_kv"])
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (0, "is 0, but it must be in 1.."),
        (scalar(I32, -1), "is -1, but it must be in 1.."),
        (10**9, "is 1000000000, but it must be in 1.."),
        (2**31, "is 2147483648, but it must be in 1.."),
        (scalar(U64, 2**40), "is 1099511627776, but it must be in 1.."),
        ("32", "is a string, but it must be an integer"),
        (True, "is a bool, but it must be an integer"),
        (scalar(F64, 32.0), "is a float, but it must be an integer"),
        (scalar(F32, math.nan), "is a float, but it must be an integer"),
        (["32"], "is an array of strings, but it must be an integer"),
    ],
)
def test_wrong_numbers(reject: Reject, name: str, value: Any, problem: str) -> None:
    out = tiny_builder(metadata={key(name): value})
    message = reject(out)
    assert message.startswith(f"{key(name)} at byte {out.offsets['value:' + key(name)]} ")
    assert problem in message


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([1, 1], "is an array of 2 numbers, but it must hold 1 equal ones"),
        ((ARRAY, array(I32, [])), "is an array of 0 numbers"),
        ([0], "holds 0, but it must be in 1..2"),
        ([-1], "holds -1, but it must be in 1..2"),
        ([1.0], "is an array of float32, but it must be an integer"),
    ],
)
def test_wrong_arrays(reject: Reject, value: Any, problem: str) -> None:
    assert problem in reject(tiny_builder(metadata={key("attention.head_count_kv"): value}))


def test_unequal_layers(reject: Reject) -> None:
    out = tiny_builder(layers=2, metadata={key("attention.head_count_kv"): [1, 2]})
    assert "is an array of 2 numbers, but it must hold 2 equal ones" in reject(out)


def test_heads_that_do_not_divide(reject: Reject) -> None:
    out = tiny_builder(heads=4, metadata={key("attention.head_count"): 5})
    at = out.build() and out.offsets["value:" + key("attention.head_count")]
    assert reject(out) == f"{key('attention.head_count')} at byte {at} is 5, which does not divide the width 32"
    out = tiny_builder(heads=4, metadata={key("attention.head_count_kv"): 3})
    assert "is 3, which does not divide the 4 query heads" in reject(out)
    out = tiny_builder(heads=4, metadata={key("attention.head_count_kv"): 8})
    assert "is 8, but it must be in 1..4" in reject(out)


@pytest.mark.parametrize("value", [0.0, -0.5, 1.0, math.nan, math.inf, -math.inf])
def test_epsilon_out_of_range(reject: Reject, value: float) -> None:
    message = reject(tiny_builder(metadata={key("attention.layer_norm_epsilon"): value}))
    assert f"is {value}, but it must be above 0 and below 1" in message


@pytest.mark.parametrize(("value", "word"), [(1, "integer"), ("1e-5", "string"), (True, "bool")])
def test_epsilon_of_another_type(reject: Reject, value: Any, word: str) -> None:
    message = reject(tiny_builder(metadata={key("attention.layer_norm_epsilon"): value}))
    assert f"{word}, but it must be a float" in message


def test_name_of_another_type(reject: Reject) -> None:
    assert "general.name at byte" in reject(tiny_builder(metadata={"general.name": 5}))


# Tensors.


@pytest.mark.parametrize("name", [tensor.name for tensor in tiny_builder(tied=False).tensors])
def test_missing_tensors(load: Load, reject: Reject, name: str) -> None:
    out = tiny_builder(tied=False)
    out.tensors = [tensor for tensor in out.tensors if tensor.name != name]
    if name == "output.weight":
        assert load(out).tied_embeddings
    else:
        assert reject(out).startswith(f"tensor {name} is missing")


@pytest.mark.parametrize("name", [tensor.name for tensor in tiny_builder(tied=False).tensors])
def test_wrong_shapes(reject: Reject, name: str) -> None:
    out = tiny_builder(tied=False, kv_heads=2)
    tensor = out.tensor(name)
    *columns, rows = tensor.dims
    tensor.dims = (*columns, rows + 1)
    tensor.data += bytes(len(tensor.data) // rows)
    message = reject(out)
    if name == "token_embd.weight":  # its rows are the vocabulary, so the others disagree with it
        name, tensor = "output.weight", out.tensor("output.weight")
    at = out.offsets[f"tensor:{name}"]
    assert message.startswith(f"tensor {name} at byte {at} has the shape {tuple(reversed(tensor.dims))}, but")


def test_swapped_and_flattened_shapes(reject: Reject) -> None:
    out = tiny_builder()
    out.tensor("blk.0.ffn_up.weight").dims = (128, 32)
    assert "has the shape (32, 128), but the model's dimensions ask for (128, 32)" in reject(out)
    out = tiny_builder()
    out.tensor("blk.0.ffn_up.weight").dims = (32 * 128,)
    assert "has the shape (4096,), but the model's dimensions ask for (128, 32)" in reject(out)
    out = tiny_builder()
    out.tensor("token_embd.weight").dims = (32 * 269,)
    assert "tensor token_embd.weight at byte" in reject(out)


def test_extra_tensor(reject: Reject) -> None:
    out = tiny_builder().add("blk.1.attn_norm.weight", (32,), bytes(128))
    message = reject(out)
    at = out.offsets["tensor:blk.1.attn_norm.weight"]
    assert message == f"tensor blk.1.attn_norm.weight at byte {at} does not belong to a starcoder model of 1 layers"


@pytest.mark.parametrize(
    ("name", "kind", "size", "type_name"),
    [
        ("blk.0.attn_norm.weight", 8, 34, "Q8_0"),
        ("output_norm.bias", 26, 128, "I32"),
        ("blk.0.ffn_down.weight", 26, 4 * 32 * 128, "I32"),
        ("token_embd.weight", 9, 269 * 40, "Q8_1"),
        ("position_embd.weight", 28, 8 * 16 * 32, "F64"),
    ],
)
def test_types_that_cannot_run(reject: Reject, name: str, kind: int, size: int, type_name: str) -> None:
    out = tiny_builder()
    out.tensor(name).kind = kind
    out.tensor(name).data = bytes(size)
    message = reject(out)
    at = out.offsets[f"tensor:{name}"]
    assert message.startswith(f"tensor {name} at byte {at} has the type {type_name}, but it must be one of [")


def test_vectors_in_half_precision(load: Load) -> None:
    out = tiny_builder()
    for tensor in out.tensors:
        if len(tensor.dims) == 1:
            tensor.kind, tensor.data = 1, tensor.data[: len(tensor.data) // 2]
    load(out)
