"""The model's dimensions, read from a `starcoder` GGUF file and checked against its tensors."""

from __future__ import annotations

import math

import numpy as np

from santacoder._util.validation import format_value
from santacoder.errors import ModelFormatError
from santacoder.gguf.config import ARCHITECTURE, MAX_CONTEXT, MAX_DIM, MAX_HEADS, MAX_LAYERS, Config, expected_tensors
from santacoder.gguf.metadata import type_word
from santacoder.gguf.reader import GGUFFile, TensorInfo
from santacoder.gguf.sampling_defaults import read_sampling_defaults
from santacoder.gguf.types import FLOAT_DTYPES, MATRIX_TYPES


def read_config(file: GGUFFile) -> Config:
    """Read and check the hyperparameters; `vocab_size` is the number of embedding rows.

    Raises:
        ModelFormatError: another architecture, or a value that is missing, of a wrong type or out of range.
    """
    metadata = file.metadata
    architecture = _check_architecture(file)
    width = _required(file, "embedding_length", MAX_DIM)
    layers = _required(file, "block_count", MAX_LAYERS)
    heads = _per_layer(file, "attention.head_count", MAX_HEADS, layers)
    if width % heads:
        raise metadata.error(_key("attention.head_count"), f"is {heads}, which does not divide the width {width}")
    kv_heads = _kv_heads(file, width, heads, layers)
    if heads % kv_heads:
        problem = f"is {kv_heads}, which does not divide the {heads} query heads"
        raise metadata.error(_key("attention.head_count_kv"), problem)
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None:
        raise file.error("token_embd.weight", "is missing")
    if len(embedding.shape) != 2 or embedding.shape[0] > MAX_DIM:
        raise file.error(embedding.name, f"has the shape {embedding.shape}, not (1..{MAX_DIM}, {width})")
    return Config(
        architecture=architecture,
        name=metadata.string("general.name", ""),
        context_length=_required(file, "context_length", MAX_CONTEXT),
        embedding_length=width,
        feed_forward_length=_per_layer(file, "feed_forward_length", MAX_DIM, layers, default=4 * width),
        block_count=layers,
        head_count=heads,
        head_count_kv=kv_heads,
        layer_norm_epsilon=_epsilon(file),
        vocab_size=embedding.shape[0],
        tied_embeddings="output.weight" not in file.tensors,
        sampling_defaults=read_sampling_defaults(metadata),
    )


def check_tensors(file: GGUFFile, config: Config) -> None:
    """Check that the file holds exactly the tensors that the configuration requires.

    Raises:
        ModelFormatError: a tensor is missing or unexpected, or has another shape or a type that cannot run.
    """
    shapes = expected_tensors(config)
    for name, shape in shapes.items():
        if name not in file.tensors:
            raise file.error(name, f"is missing: {config.block_count} layers need it with the shape {shape}")
        _check_tensor(file, file.tensors[name], shape)
    for name in file.tensors:
        if name not in shapes:
            raise file.error(name, f"does not belong to a {ARCHITECTURE} model of {config.block_count} layers")


def _check_tensor(file: GGUFFile, info: TensorInfo, shape: tuple[int, ...]) -> None:
    if info.shape != shape:
        raise file.error(info.name, f"has the shape {info.shape}, but the model's dimensions ask for {shape}")
    allowed = FLOAT_DTYPES if len(shape) == 1 else MATRIX_TYPES
    if info.type_name not in allowed:
        raise file.error(info.name, f"has the type {info.type_name}, but it must be one of {sorted(allowed)}")


def _key(name: str) -> str:
    return f"{ARCHITECTURE}.{name}"


def _check_architecture(file: GGUFFile) -> str:
    key = "general.architecture"
    if key not in file.metadata:
        raise file.metadata.error(key, f"is missing: this is not a model, or not one of {ARCHITECTURE!r}")
    architecture = file.metadata.string(key, "")
    if architecture != ARCHITECTURE:
        problem = f"is {format_value(architecture)}, but only models of the architecture {ARCHITECTURE!r} run here"
        raise file.metadata.error(key, problem)
    return architecture


def _required(file: GGUFFile, name: str, high: int) -> int:
    value = file.metadata.integer(_key(name), 1, high)
    if value is None:
        raise _missing(file, name)
    return value


def _missing(file: GGUFFile, name: str) -> ModelFormatError:
    return file.metadata.error(_key(name), "is missing from the metadata")


def _per_layer(file: GGUFFile, name: str, high: int, layers: int, default: int | None = None) -> int:
    """Read a number, or an array with the same number for each layer; absent means `default` if there is one."""
    key = _key(name)
    value = file.metadata.get(key)
    if value is None and default is not None:
        if default > high:
            raise file.metadata.error(key, f"is missing, and the usual {default} is more than {high}")
        return default
    if not isinstance(value, np.ndarray):
        return _required(file, name, high)
    if value.dtype.kind not in "iu":
        raise file.metadata.error(key, f"is {type_word(value)}, but it must be an integer")
    first = int(value[0]) if value.size else 0
    if value.size != layers or not (value == first).all():
        problem = f"is an array of {value.size} numbers, but it must hold {layers} equal ones, one for each layer"
        raise file.metadata.error(key, problem)
    if not 1 <= first <= high:
        raise file.metadata.error(key, f"holds {first}, but it must be in 1..{high}")
    return first


def _kv_heads(file: GGUFFile, width: int, heads: int, layers: int) -> int:
    """Return the number of KV heads; without the key, 1 or the number of query heads, whichever the tensors have."""
    name, tensor = "attention.head_count_kv", "blk.0.attn_qkv.weight"
    if _key(name) in file.metadata:
        return _per_layer(file, name, heads, layers)
    if tensor not in file.tensors:
        raise file.error(tensor, f"is missing, and {_key(name)}, which its shape would tell, too")
    shape = file.tensors[tensor].shape
    for kv_heads in (1, heads):
        if shape == (width + 2 * kv_heads * (width // heads), width):
            return kv_heads
    problem = f"has the shape {shape}, which fits neither 1 nor {heads} KV heads of {width // heads} values"
    raise file.error(tensor, f"{problem}, and {_key(name)}, which would tell their number, is missing")


def _epsilon(file: GGUFFile) -> float:
    name = "attention.layer_norm_epsilon"
    value = file.metadata.get(_key(name))
    if value is None:
        raise _missing(file, name)
    if not isinstance(value, float):
        raise file.metadata.error(_key(name), f"is {type_word(value)}, but it must be a float")
    if not (math.isfinite(value) and 0.0 < value < 1.0):
        raise file.metadata.error(_key(name), f"is {value}, but it must be above 0 and below 1")
    return value
