"""The five layouts of published checkpoints, told apart by keys and shapes, and how each maps to GGUF's tensors.

GGUF stores matrices as (out, in), and in `attn_qkv` all queries, then all keys, then all values. With `w` the width and
`d` the size of a head, the layouts are:

    SPLIT        q_attn (w, w) and kv_attn (w, 2d), Conv1D: one head of keys and values
    FUSED        c_attn (w, w + 2d), Conv1D: the same in one matrix
    MULTI_HEAD   c_attn (w, 3w), Conv1D: queries, keys, values
    LINEAR_MQA   c_attn (w + 2d, w), Linear: one head of keys and values
    LINEAR_MHA   c_attn (3w, w), Linear: for each head its queries, keys, values
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from santacoder.conversion.hf_config import CheckpointConfig, Family
from santacoder.conversion.stored import StoredTensor
from santacoder.errors import ModelFormatError
from santacoder.gguf.types import FLOAT_DTYPES

Array = NDArray[Any]
Shape = tuple[int, ...]

#: Buffers for the causal mask. Not "attn.bias" anywhere: c_attn.bias and q_attn.bias are weights.
_BUFFERS: Final = (re.compile(r"\.attn\.bias$"), re.compile(r"\.attn\.masked_bias$"))
_PREFIX: Final = "transformer."
_HEAD: Final = "lm_head.weight"
_EMBEDDING: Final = "wte.weight"


class Layout(Enum):
    """How a checkpoint stores the attention; the value describes it in words."""

    SPLIT = "q_attn and kv_attn, Conv1D"
    FUSED = "c_attn with one head of keys and values, Conv1D"
    MULTI_HEAD = "c_attn with queries, keys and values, Conv1D"
    LINEAR_MQA = "c_attn with one head of keys and values, Linear"
    LINEAR_MHA = "c_attn with queries, keys and values of each head in turn, Linear"

    @property
    def multi_query(self) -> bool:
        """Whether one head of keys and values serves all query heads."""
        return self in (Layout.SPLIT, Layout.FUSED, Layout.LINEAR_MQA)


@dataclass(frozen=True)
class PlannedTensor:
    """One tensor of the GGUF file: `combine` applied to the values of `parts`, which are tensors and their shapes."""

    name: str
    parts: tuple[tuple[str, Shape], ...]
    combine: Callable[..., Array]


class TensorMap:
    """A checkpoint's tensors by GGUF's names.

    Attributes:
        layout: which of the five it is.
        vocab_size: rows of the embedding.
        tied: whether the lm_head is the embedding.
        planned: name -> tensor, for every tensor of this model's GGUF file.
    """

    def __init__(self, config: CheckpointConfig, stored: Mapping[str, StoredTensor]) -> None:
        """Plan the conversion; reads no tensor except an lm_head that may be a copy of the embedding.

        Raises:
            ModelFormatError: a tensor is missing or unexpected, or has the wrong shape or type.
        """
        self._config = config
        self._tensors = _by_short_name(stored)
        self.layout = self._find_layout()
        embedding = self._take_embedding()
        self.vocab_size = self._vocab_size(embedding)
        self.planned = {tensor.name: tensor for tensor in self._plan()}
        self._check()
        self.tied = self._is_tied()
        if not self.tied:
            self.planned["output.weight"] = _same("output.weight", _HEAD, (self.vocab_size, config.width))

    def load(self, name: str) -> Array:
        """Return the values of a tensor of the GGUF file.

        Raises:
            ModelFormatError: one is infinite or not a number.
        """
        planned = self.planned[name]
        tensors = [self._tensors[part] for part, _ in planned.parts]
        return np.ascontiguousarray(planned.combine(*(tensor.read() for tensor in tensors)))

    def _find_layout(self) -> Layout:
        config, width = self._config, self._config.width
        multi_query = width + 2 * config.head_dim
        if "h.0.attn.q_attn.weight" in self._tensors:
            layout = Layout.SPLIT
            if config.family is not Family.CONV1D:
                raise self._tensors["h.0.attn.q_attn.weight"].error(
                    f"is stored as {Family.CONV1D.value}, but config.json means {config.family.value}"
                )
        else:
            fused = self._tensor("h.0.attn.c_attn.weight")
            layouts = {
                (width, 3 * width): (Family.CONV1D, Layout.MULTI_HEAD),
                (width, multi_query): (Family.CONV1D, Layout.FUSED),
                (3 * width, width): (Family.LINEAR, Layout.LINEAR_MHA),
                (multi_query, width): (Family.LINEAR, Layout.LINEAR_MQA),
            }
            allowed = [shape for shape, (family, _) in layouts.items() if family is config.family]
            if fused.shape not in allowed:
                raise fused.error(
                    f"has the shape {fused.shape}, but {width} values in {config.heads} heads, stored as "
                    f"{config.family.value}, ask for {' or '.join(map(str, allowed))}"
                )
            layout = layouts[fused.shape][1]
        # With one head, multi-head and multi-query are the same, and so are the matrices.
        if config.multi_query not in (None, layout.multi_query) and config.heads > 1:
            count = 1 if config.multi_query else config.heads
            raise ModelFormatError(
                f"config.json: attention_head_type or multi_query asks for {count} head(s) of keys and values, "
                f"but the tensors are {layout.value}"
            )
        return layout

    def _tensor(self, name: str) -> StoredTensor:
        if name not in self._tensors:
            raise ModelFormatError(f"the tensor {_PREFIX}{name} is missing")
        return self._tensors[name]

    def _take_embedding(self) -> StoredTensor:
        """Return the embedding; if only one of embedding and lm_head is stored, it stands for both."""
        if _EMBEDDING not in self._tensors and _HEAD in self._tensors:
            self._tensors[_EMBEDDING] = self._tensors.pop(_HEAD)
        return self._tensor(_EMBEDDING)

    def _vocab_size(self, embedding: StoredTensor) -> int:
        width, expected = self._config.width, self._config.vocab_size
        if len(embedding.shape) != 2 or embedding.shape[1] != width or embedding.shape[0] < 1:
            raise embedding.error(f"has the shape {embedding.shape}, not (vocabulary, {width})")
        rows = embedding.shape[0]
        if expected not in (None, rows):
            raise embedding.error(f"has {rows} rows, but config.json: vocab_size is {expected}")
        return rows

    def _plan(self) -> Iterator[PlannedTensor]:
        config = self._config
        width, inner = config.width, config.inner
        yield _same("token_embd.weight", _EMBEDDING, (self.vocab_size, width))
        yield _same("position_embd.weight", "wpe.weight", (config.positions, width))
        for i in range(config.layers):
            yield from _norm(f"blk.{i}.attn_norm", f"h.{i}.ln_1", width)
            yield from self._attention(f"blk.{i}.attn_qkv", f"h.{i}.attn")
            yield from self._matrix(f"blk.{i}.attn_output", f"h.{i}.attn.c_proj", width, width)
            yield from _norm(f"blk.{i}.ffn_norm", f"h.{i}.ln_2", width)
            yield from self._matrix(f"blk.{i}.ffn_up", f"h.{i}.mlp.c_fc", inner, width)
            yield from self._matrix(f"blk.{i}.ffn_down", f"h.{i}.mlp.c_proj", width, inner)
        yield from _norm("output_norm", "ln_f", width)

    def _matrix(self, name: str, source: str, rows: int, columns: int) -> Iterator[PlannedTensor]:
        if self._config.family is Family.CONV1D:
            yield PlannedTensor(f"{name}.weight", ((f"{source}.weight", (columns, rows)),), np.transpose)
        else:
            yield _same(f"{name}.weight", f"{source}.weight", (rows, columns))
        yield _same(f"{name}.bias", f"{source}.bias", (rows,))

    def _attention(self, name: str, source: str) -> Iterator[PlannedTensor]:
        width, size, heads = self._config.width, self._config.head_dim, self._config.heads
        if self.layout is Layout.SPLIT:
            q, kv = f"{source}.q_attn", f"{source}.kv_attn"
            weights = (f"{q}.weight", (width, width)), (f"{kv}.weight", (width, 2 * size))
            biases = (f"{q}.bias", (width,)), (f"{kv}.bias", (2 * size,))
            yield PlannedTensor(f"{name}.weight", weights, lambda *parts: np.concatenate([part.T for part in parts]))
            yield PlannedTensor(f"{name}.bias", biases, lambda *parts: np.concatenate(parts))
        elif self.layout is Layout.LINEAR_MHA:
            weight, bias = f"{source}.c_attn.weight", f"{source}.c_attn.bias"

            def regroup(rows: Array) -> Array:
                """Reorder (heads x 3 x size, ...) to (3 x heads x size, ...)."""
                by_head = rows.reshape(heads, 3, size, *rows.shape[1:])
                return by_head.swapaxes(0, 1).reshape(rows.shape)

            yield PlannedTensor(f"{name}.weight", ((weight, (3 * width, width)),), regroup)
            yield PlannedTensor(f"{name}.bias", ((bias, (3 * width,)),), regroup)
        else:
            rows = width + 2 * size if self.layout.multi_query else 3 * width
            yield from self._matrix(name, f"{source}.c_attn", rows, width)

    def _check(self) -> None:
        """Check that every planned tensor is stored and fits, and that no other is stored."""
        expected = {name: shape for tensor in self.planned.values() for name, shape in tensor.parts}
        for name, shape in expected.items():
            _check_tensor(self._tensor(name), shape)
        for planned in self.planned.values():
            types = {self._tensors[name].dtype for name, _ in planned.parts}
            if len(types) > 1:
                raise self._tensors[planned.parts[0][0]].error(f"and {planned.parts[1][0]} have different types")
        for name, tensor in self._tensors.items():
            if name not in expected and name != _HEAD:
                raise tensor.error(f"does not belong to a model of {self._config.layers} layers in its layout")

    def _is_tied(self) -> bool:
        tied = self._config.tied
        if _HEAD not in self._tensors:
            if tied is False:
                raise ModelFormatError(f"config.json: tie_word_embeddings is false, but the tensor {_HEAD} is missing")
            return True
        head, embedding = self._tensors[_HEAD], self._tensors[_EMBEDDING]
        _check_tensor(head, embedding.shape)
        same = head.equals(embedding)
        if not same and tied:
            raise head.error("differs from wte.weight, but config.json: tie_word_embeddings is true")
        return same


def _by_short_name(stored: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Return the tensors, buffers left out, by their names without the prefix, which some checkpoints lack."""
    tensors: dict[str, StoredTensor] = {}
    for name, tensor in stored.items():
        if any(pattern.search(name) for pattern in _BUFFERS):
            continue
        short = name.removeprefix(_PREFIX)
        if short in tensors:
            raise tensor.error(f"is duplicated: it is also stored as {tensors[short].name}")
        tensors[short] = tensor
    return tensors


def _same(name: str, source: str, shape: Shape) -> PlannedTensor:
    return PlannedTensor(name, ((source, shape),), lambda values: values)


def _norm(name: str, source: str, width: int) -> Iterator[PlannedTensor]:
    yield _same(f"{name}.weight", f"{source}.weight", (width,))
    yield _same(f"{name}.bias", f"{source}.bias", (width,))


def _check_tensor(tensor: StoredTensor, shape: Shape) -> None:
    if tensor.shape != shape:
        raise tensor.error(f"has the shape {tensor.shape}, but config.json asks for {shape}")
    if tensor.dtype not in FLOAT_DTYPES:
        raise tensor.error(f"has the type {tensor.dtype}, but only {', '.join(FLOAT_DTYPES)} are read")
