"""Reads a checkpoint's config.json: the dimensions, and a check that our forward pass does all that it asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np

from santacoder._util.validation import format_value
from santacoder.errors import ModelFormatError
from santacoder.gguf.config import MAX_CONTEXT, MAX_DIM, MAX_HEADS, MAX_LAYERS


class Family(Enum):
    """How a checkpoint stores its matrices; the value describes it in words."""

    CONV1D = "GPT-2's Conv1D, (in, out)"
    LINEAR = "GPTBigCode's Linear, (out, in)"


#: `model_type` and `architectures` -> how matrices are stored.
MODEL_TYPES: Final = {"gpt2": Family.CONV1D, "santacoder": Family.CONV1D, "gpt_bigcode": Family.LINEAR}
ARCHITECTURES: Final = {
    "GPT2LMHeadCustomModel": Family.CONV1D,
    "GPT2LMHeadModel": Family.CONV1D,
    "GPTBigCodeForCausalLM": Family.LINEAR,
}
#: Names of the tanh approximation of GELU, the only activation that runs; they differ only in rounding.
ACTIVATIONS: Final = ("gelu_fast", "gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_accurate")
#: `attention_head_type` -> whether one head of keys and values serves all query heads (multi-query attention).
HEAD_TYPES: Final = {"multiquery": True, "multihead": False}

#: Other names that transformers has for a key.
_ALIASES: Final = {
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_positions": "max_position_embeddings",
}
#: Switches that change the forward pass -> the value that ours has, which is also the default of an absent key.
_FIXED: Final = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False}
_ACTIVATION: Final = "activation_function"
_EPSILON: Final = 1e-5


@dataclass(frozen=True)
class CheckpointConfig:
    """The checked values of config.json.

    Attributes:
        family: how the matrices are stored.
        width: values of a token's vector.
        layers: number of layers.
        heads: number of query heads.
        inner: values inside the MLP.
        positions: learned positions.
        epsilon: of the layer norms.
        vocab_size: rows of the embedding, or None if config.json does not say.
        multi_query: whether all query heads share one head of keys and values, or None if it does not say.
        tied: whether the lm_head is the embedding, or None if it does not say.
    """

    family: Family
    width: int
    layers: int
    heads: int
    inner: int
    positions: int
    epsilon: float
    vocab_size: int | None
    multi_query: bool | None
    tied: bool | None

    @property
    def head_dim(self) -> int:
        """Values in one attention head."""
        return self.width // self.heads


def parse_config(values: Mapping[str, Any]) -> CheckpointConfig:
    """Check the values of a config.json.

    Raises:
        ModelFormatError: a key is missing or out of range, or its value cannot run; the key is named.
    """
    family = _family(values)
    for key, fixed in _FIXED.items():
        if values.get(key, fixed) is not fixed:
            raise _error(key, f"is {format_value(values[key])}, but only {fixed} runs here")
    if "quantization_config" in values:
        raise _error("quantization_config", "is there, but only float weights are read")
    activation = values.get(_ACTIVATION)
    if activation not in ACTIVATIONS:
        raise _error(
            _ACTIVATION, f"is {format_value(activation)}, but only GELU's tanh form runs here: {_words(ACTIVATIONS)}"
        )
    width = _integer(values, "n_embd", MAX_DIM)
    heads = _integer(values, "n_head", MAX_HEADS)
    if width % heads:
        raise _error("n_head", f"is {heads}, which does not divide n_embd, {width}")
    inner = values.get("n_inner")
    return CheckpointConfig(
        family=family,
        width=width,
        layers=_integer(values, "n_layer", MAX_LAYERS),
        heads=heads,
        inner=4 * width if inner is None else _integer(values, "n_inner", MAX_DIM),
        positions=_integer(values, "n_positions", MAX_CONTEXT),
        epsilon=_epsilon(values),
        vocab_size=None if values.get("vocab_size") is None else _integer(values, "vocab_size", MAX_DIM),
        multi_query=_multi_query(values),
        tied=_flag(values, "tie_word_embeddings"),
    )


def _error(key: str, problem: str) -> ModelFormatError:
    return ModelFormatError(f"config.json: {key} {problem}")


def _words(names: Iterable[str]) -> str:
    return ", ".join(names)


def _family(values: Mapping[str, Any]) -> Family:
    """Read both keys, which must agree: if all matrices are square, their shapes cannot tell."""
    model_type, architectures = values.get("model_type"), values.get("architectures") or []
    found: dict[str, Family] = {}
    if model_type is not None:
        if not isinstance(model_type, str) or model_type not in MODEL_TYPES:
            raise _error("model_type", f"is {format_value(model_type)}, but it must be one of {_words(MODEL_TYPES)}")
        found["model_type"] = MODEL_TYPES[model_type]
    if not isinstance(architectures, list) or len(architectures) > 1:
        raise _error("architectures", f"is {format_value(architectures)}, but it must be a list of one name")
    for name in architectures:
        if not isinstance(name, str) or name not in ARCHITECTURES:
            raise _error("architectures", f"has {format_value(name)}, but it must be one of {_words(ARCHITECTURES)}")
        found["architectures"] = ARCHITECTURES[name]
    if not found:
        raise _error("model_type", "is missing, and architectures too: how the matrices are stored is unknown")
    if len(set(found.values())) > 1:
        raise _error("model_type", f"is {model_type!r}, which contradicts architectures, {architectures}")
    return next(iter(found.values()))


def _integer(values: Mapping[str, Any], key: str, high: int) -> int:
    value = values.get(key, values.get(_ALIASES.get(key, key)))
    if value is None:
        raise _error(key, "is missing")
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= high:
        raise _error(key, f"is {format_value(value)}, but it must be an integer in 1..{high}")
    return value


def _flag(values: Mapping[str, Any], key: str) -> bool | None:
    value = values.get(key)
    if value is not None and not isinstance(value, bool):
        raise _error(key, f"is {format_value(value)}, but it must be true or false")
    return value


def _epsilon(values: Mapping[str, Any]) -> float:
    value = values.get("layer_norm_epsilon", _EPSILON)
    if isinstance(value, bool) or not isinstance(value, float) or not 0 < np.float32(value) < 1:  # as GGUF has it
        raise _error("layer_norm_epsilon", f"is {format_value(value)}, but it must be a number above 0 and below 1")
    return value


def _multi_query(values: Mapping[str, Any]) -> bool | None:
    head_type, flag = values.get("attention_head_type"), _flag(values, "multi_query")
    if head_type is None:
        return flag
    if not isinstance(head_type, str) or head_type not in HEAD_TYPES:
        raise _error("attention_head_type", f"is {format_value(head_type)}, but it must be one of {_words(HEAD_TYPES)}")
    if flag not in (None, HEAD_TYPES[head_type]):
        raise _error("attention_head_type", f"is {head_type!r}, which contradicts multi_query, {flag}")
    return HEAD_TYPES[head_type]
