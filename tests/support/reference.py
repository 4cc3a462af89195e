"""The specification that the C code is checked against: float64 NumPy, written from GGUF's block definitions.

Nothing here is fast and nothing is shared with the library. `load` reads a file through the `gguf` package,
`dequantize` unpacks its blocks, `forward` runs the network; each function in between stands for one kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import ArrayLike, NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Weights = Mapping[str, Floats]

GROUP, BLOCK = 32, 256  # columns that share a factor and a scale of activations


@dataclass(frozen=True)
class Config:
    """The shape of a starcoder model."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    context: int
    epsilon: float


# Blocks: each function maps (blocks, bytes per block) to (blocks, values per block).


def _as(dtype: str, blocks: Bytes) -> Floats:
    """The bytes of each block read as numbers of `dtype`."""
    return blocks.copy().view(dtype).astype(np.float64)


def _bits(blocks: Bytes, shifts: Sequence[int], mask: int) -> NDArray[np.int64]:
    """(blocks, n) bytes to (blocks, len(shifts), n): the masked field at each shift, one after the other."""
    fields: NDArray[np.int64] = blocks.astype(np.int64)[:, None, :] >> np.array(shifts)[None, :, None]
    return fields & mask


def _bf16(blocks: Bytes) -> Floats:
    """The upper half of an f32."""
    return _as("<f4", np.pad(blocks, ((0, 0), (2, 0))))


def _q8_0(blocks: Bytes) -> Floats:
    """f16 d; i8 q[32]."""
    return _as("<f2", blocks[:, 0:2]) * _as("i1", blocks[:, 2:34])


def _q1_0(blocks: Bytes) -> Floats:
    """f16 d; u8 q[16]: value i is bit i % 8 of byte i // 8, which stands for its sign: 1 is plus."""
    signs = [[2 * (int(block[2 + i // 8]) >> i % 8 & 1) - 1 for i in range(128)] for block in blocks]
    return _as("<f2", blocks[:, 0:2]) * np.array(signs, np.float64)


def _q2_0(blocks: Bytes) -> Floats:
    """f16 d; u8 q[16]: value i is bits 2 * (i % 4) and the next one of byte i // 4, less 1."""
    codes = [[(int(block[2 + i // 4]) >> 2 * (i % 4) & 3) - 1 for i in range(64)] for block in blocks]
    return _as("<f2", blocks[:, 0:2]) * np.array(codes, np.float64)


def _q4_0(blocks: Bytes) -> Floats:
    """f16 d; u8 q[16]: low nibbles are values 0-15, high nibbles 16-31."""
    nibbles = _bits(blocks[:, 2:18], (0, 4), 15).reshape(-1, 32)
    return _as("<f2", blocks[:, 0:2]) * (nibbles - 8)


def _q4_1(blocks: Bytes) -> Floats:
    """f16 d, m; u8 q[16] as in Q4_0."""
    nibbles = _bits(blocks[:, 4:20], (0, 4), 15).reshape(-1, 32)
    return _as("<f2", blocks[:, 0:2]) * nibbles + _as("<f2", blocks[:, 2:4])


def _q5_0(blocks: Bytes) -> Floats:
    """f16 d; u32 fifth bits, value i in bit i; u8 q[16] as in Q4_0."""
    fifth: NDArray[np.int64] = _as("<u4", blocks[:, 2:6]).astype(np.int64) >> np.arange(32) & 1
    nibbles = _bits(blocks[:, 6:22], (0, 4), 15).reshape(-1, 32)
    return _as("<f2", blocks[:, 0:2]) * (nibbles + 16 * fifth - 16)


def _q5_1(blocks: Bytes) -> Floats:
    """f16 d, m; fifth bits and u8 q[16] as in Q5_0."""
    fifth: NDArray[np.int64] = _as("<u4", blocks[:, 4:8]).astype(np.int64) >> np.arange(32) & 1
    nibbles = _bits(blocks[:, 8:24], (0, 4), 15).reshape(-1, 32)
    return _as("<f2", blocks[:, 0:2]) * (nibbles + 16 * fifth) + _as("<f2", blocks[:, 2:4])


_IQ4_VALUES = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113])


def _iq4_nl(blocks: Bytes) -> Floats:
    """f16 d; u8 q[16] as in Q4_0, numbers of _IQ4_VALUES."""
    values: NDArray[np.int64] = _IQ4_VALUES[_bits(blocks[:, 2:18], (0, 4), 15).reshape(-1, 32)]
    return _as("<f2", blocks[:, 0:2]) * values


def _affine(blocks: Bytes, quants: NDArray[np.int64]) -> Floats:
    """Q4_K and Q5_K: f16 d, dmin; 12 bytes of 6-bit scales and mins; (blocks, 8, 32) quants."""
    s = blocks[:, 4:16].astype(np.int64)
    first, second, third = s[:, 0:4], s[:, 4:8], s[:, 8:12]
    scales = np.hstack([first & 63, (third & 15) | (first >> 6 << 4)])
    mins = np.hstack([second & 63, (third >> 4) | (second >> 6 << 4)])
    scale = (_as("<f2", blocks[:, 0:2]) * scales)[:, :, None]
    minimum = (_as("<f2", blocks[:, 2:4]) * mins)[:, :, None]
    return (scale * quants - minimum).reshape(-1, 256)


def _q2_k(blocks: Bytes) -> Floats:
    """u8 s[16], low nibbles scales, high ones minima of 16 values each; u8 q[2][32]; f16 d, dmin.

    Bits 2i, 2i+1 of a half's bytes are its run i of 32 values.
    """
    quants = _bits(blocks[:, 16:80].reshape(-1, 32), (0, 2, 4, 6), 3).reshape(-1, 16, 16)
    both = blocks[:, 0:16].astype(np.int64)
    scale, minimum = _as("<f2", blocks[:, 80:82]) * (both & 15), _as("<f2", blocks[:, 82:84]) * (both >> 4)
    values = scale[:, :, None] * quants - minimum[:, :, None]
    return values.astype(np.float64).reshape(-1, 256)


def _q3_k(blocks: Bytes) -> Floats:
    """u8 h[32], bit j the third of run j of 32 values; u8 q[2][32] as in Q2_K; 16 scales of 6 bits; f16 d."""
    third = _bits(blocks[:, 0:32], range(8), 1).reshape(-1, 16, 16)
    quants = _bits(blocks[:, 32:96].reshape(-1, 32), (0, 2, 4, 6), 3).reshape(-1, 16, 16)
    s = blocks[:, 96:108].astype(np.int64)
    low = np.hstack([s[:, 0:8] & 15, s[:, 0:8] >> 4])
    high = np.hstack([s[:, 8:12] >> shift & 3 for shift in (0, 2, 4, 6)])
    scale = _as("<f2", blocks[:, 108:110]) * ((low | high << 4) - 32)
    values: Floats = scale[:, :, None] * (quants + 4 * third - 4)
    return values.reshape(-1, 256)


def _iq4_xs(blocks: Bytes) -> Floats:
    """f16 d; u16 high and u8 low[4] bits of 8 scales; u8 q[8][16], each as in IQ4_NL."""
    high = _as("<u2", blocks[:, 2:4]).astype(np.int64) >> np.arange(0, 16, 2) & 3
    low = _bits(blocks[:, 4:8].reshape(-1, 1), (0, 4), 15).reshape(-1, 8)
    scale = _as("<f2", blocks[:, 0:2]) * ((low | high << 4) - 32)
    values: NDArray[np.int64] = _IQ4_VALUES[_bits(blocks[:, 8:136].reshape(-1, 16), (0, 4), 15).reshape(-1, 8, 32)]
    weights: Floats = scale[:, :, None] * values
    return weights.reshape(-1, 256)


def _q4_k(blocks: Bytes) -> Floats:
    """Header as in _affine; u8 q[4][32]: low nibbles are sub-block 2j, high nibbles 2j+1."""
    nibbles = _bits(blocks[:, 16:144].reshape(-1, 32), (0, 4), 15).reshape(-1, 8, 32)
    return _affine(blocks, nibbles)


def _q5_k(blocks: Bytes) -> Floats:
    """Header as in _affine; u8 h[32], whose bit j belongs to sub-block j; u8 q[4][32] as in Q4_K."""
    fifth = _bits(blocks[:, 16:48], range(8), 1)
    nibbles = _bits(blocks[:, 48:176].reshape(-1, 32), (0, 4), 15).reshape(-1, 8, 32)
    return _affine(blocks, nibbles + 16 * fifth)


def _q6_k(blocks: Bytes) -> Floats:
    """u8 low[2][64], high[2][32]; i8 scale[16]; f16 d. Each half holds four runs of 32 values."""
    low = _bits(blocks[:, 0:128].reshape(-1, 64), (0, 4), 15).reshape(-1, 16, 16)
    high = _bits(blocks[:, 128:192].reshape(-1, 32), (0, 2, 4, 6), 3).reshape(-1, 16, 16)
    scale = _as("<f2", blocks[:, 208:210]) * _as("i1", blocks[:, 192:208])
    return (scale[:, :, None] * (low + 16 * high - 32)).reshape(-1, 256)


# type: (bytes per block, values per block, how to unpack one)
FORMATS: dict[str, tuple[int, int, Callable[[Bytes], Floats]]] = {
    "F32": (4, 1, partial(_as, "<f4")),
    "F16": (2, 1, partial(_as, "<f2")),
    "BF16": (2, 1, _bf16),
    "Q8_0": (34, 32, _q8_0),
    "Q4_0": (18, 32, _q4_0),
    "Q4_1": (20, 32, _q4_1),
    "Q5_0": (22, 32, _q5_0),
    "Q5_1": (24, 32, _q5_1),
    "IQ4_NL": (18, 32, _iq4_nl),
    "Q1_0": (18, 128, _q1_0),
    "Q2_0": (18, 64, _q2_0),
    "Q2_K": (84, 256, _q2_k),
    "Q3_K": (110, 256, _q3_k),
    "IQ4_XS": (136, 256, _iq4_xs),
    "Q4_K": (144, 256, _q4_k),
    "Q5_K": (176, 256, _q5_k),
    "Q6_K": (210, 256, _q6_k),
}


def dequantize(raw: bytes | NDArray[np.generic], type_name: str, shape: tuple[int, ...]) -> Floats:
    """The values of a tensor in `shape`, usually (rows, columns). Exact: every product fits in 53 bits."""
    block_bytes, _, unpack = FORMATS[type_name]
    data = np.frombuffer(raw if isinstance(raw, bytes) else raw.tobytes(), np.uint8)
    return unpack(data.reshape(-1, block_bytes)).reshape(shape)


def load(path: str | Path) -> tuple[Weights, Config]:
    """Every tensor of a GGUF file in float64, and the model's shape."""
    reader = gguf.GGUFReader(path)

    def key(name: str) -> float | None:
        field = reader.get_field(f"starcoder.{name}")
        return None if field is None else field.contents()

    weights = {}
    for tensor in reader.tensors:
        shape = tuple(int(n) for n in reversed(tensor.shape))  # GGUF lists the fastest dimension first
        weights[tensor.name] = dequantize(tensor.data, tensor.tensor_type.name, shape)
    config = Config(
        layers=int(key("block_count") or 0),
        width=int(key("embedding_length") or 0),
        heads=int(key("attention.head_count") or 0),
        kv_heads=int(key("attention.head_count_kv") or 1),
        context=int(key("context_length") or 0),
        epsilon=float(key("attention.layer_norm_epsilon") or 0),
    )
    return weights, config


# Kernels.


def layer_norm(x: ArrayLike, weight: ArrayLike, bias: ArrayLike, epsilon: float) -> Floats:
    """Each row of x (..., width) to mean 0 and variance 1, then scaled and shifted."""
    values: Floats = np.asarray(x, np.float64)
    centred: Floats = values - values.mean(-1, keepdims=True)
    normal: Floats = centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + epsilon)
    return normal * np.asarray(weight, np.float64) + np.asarray(bias, np.float64)


def gelu_tanh(x: ArrayLike) -> Floats:
    """The tanh form of GELU, element by element."""
    values: Floats = np.asarray(x, np.float64)
    inner: Floats = np.sqrt(2 / np.pi) * (values + 0.044715 * values**3)
    gate: Floats = 0.5 * (1 + np.tanh(inner))
    return values * gate


def log_softmax(x: ArrayLike) -> Floats:
    """Logarithms of the probabilities along the last axis."""
    values: Floats = np.asarray(x, np.float64)
    shifted: Floats = values - values.max(-1, keepdims=True)
    total: Floats = np.exp(shifted).sum(-1, keepdims=True)
    return shifted - np.log(total)


def softmax(x: ArrayLike) -> Floats:
    """Probabilities along the last axis."""
    return np.exp(log_softmax(x))


@dataclass(frozen=True)
class Activations:
    """Activations as the kernels take them, x = codes * factors * scales, in float32, so that all agree exactly."""

    codes: NDArray[np.int64]  # (n, width)
    factors: NDArray[np.int64]  # (n, width / 32)
    scales: NDArray[np.float32]  # (n, width / 256, rounded up)

    @property
    def exact_sums(self) -> NDArray[np.int64]:
        """(n, width / 32): the sum of codes * factors of each group."""
        sums: NDArray[np.int64] = self.codes.reshape(*self.factors.shape, GROUP).sum(-1)
        return self.factors * sums

    @property
    def sums(self) -> NDArray[np.int64]:
        """(n, width / 32): what minima are multiplied with, an eighth of the exact sums, rounded."""
        return (self.exact_sums + 4) // 8

    @property
    def values(self) -> Floats:
        """(n, width) in float64."""
        factors = np.repeat(self.factors, GROUP, axis=-1)
        return self.codes * factors * np.repeat(self.scales.astype(np.float64), BLOCK, axis=-1)[:, : factors.shape[1]]


def quantize_activations(x: ArrayLike) -> Activations:
    """(n, width) to int8 with one scale per 256 columns and a factor, up to 63, per 32.

    Where the codes of 16 columns would add up to more than 1023 the factor is larger, up to 127.
    """
    x = np.asarray(x, np.float32)
    groups = np.pad(x, ((0, 0), (0, -x.shape[1] % BLOCK))).reshape(len(x), -1, BLOCK // GROUP, GROUP)
    peak: NDArray[np.float32] = np.abs(groups).max(-1)
    largest = peak.max(-1)
    zero = largest < np.float32(1e-20)  # sums could underflow
    inverse = np.divide(np.float32(63), largest, out=np.zeros_like(largest), where=~zero)
    scales: NDArray[np.float32] = np.where(zero, np.float32(0), largest / np.float32(127 * 63))
    factors = np.clip(np.ceil(peak * inverse[..., None]), 1, 63).astype(np.int64) * ~zero[..., None]

    def codes_with(factors: NDArray[np.int64]) -> NDArray[np.int64]:
        group_scales = factors.astype(np.float32) * scales[..., None]
        inverse = np.divide(np.float32(1), group_scales, out=np.zeros_like(group_scales), where=group_scales > 0)
        codes: NDArray[np.int64] = np.clip(np.rint(groups * inverse[..., None]), -127, 127).astype(np.int64)
        return codes

    sizes = np.abs(codes_with(factors)).reshape(*peak.shape, 2, 16).sum(-1).max(-1)
    factors = np.where(sizes > 1023, -(-factors * (sizes + 8) // 1015), factors)
    codes = codes_with(factors).reshape(len(x), -1)
    return Activations(codes[:, : x.shape[1]], factors.reshape(len(x), -1)[:, : x.shape[1] // GROUP], scales)


def quantized_linear(x: ArrayLike, weight: ArrayLike, base: ArrayLike | None = None) -> Floats:
    """(n, columns) activations rounded to int8, times (rows, columns) weights: (n, rows).

    `base` (rows, columns / 32) is the part of a group's weights that the kernels multiply with the group's sum.
    """
    rounded = quantize_activations(x)
    product: Floats = rounded.values @ np.asarray(weight, np.float64).T
    if base is None:
        return product
    scales = np.repeat(rounded.scales.astype(np.float64), BLOCK // GROUP, axis=-1)
    return product + ((8 * rounded.sums - rounded.exact_sums) * scales) @ np.asarray(base, np.float64).T


def residual(x: ArrayLike, out: ArrayLike, bias: ArrayLike) -> NDArray[np.float32]:
    """x + (out + bias), rounded to float32 after each sum."""
    x, out, bias = (np.asarray(a, np.float32).astype(np.float64) for a in (x, out, bias))
    added = (out + bias).astype(np.float32)
    total: NDArray[np.float32] = (x + added).astype(np.float32)
    return total


def scaled(x: ArrayLike, factor: float) -> NDArray[np.float32]:
    """x * factor, rounded to float32, without a negative zero."""
    product = (np.asarray(x, np.float64) * np.float64(np.float32(factor))).astype(np.float32)
    product[product == 0] = 0
    return product


def bucket_maxima(logits: ArrayLike, length: int) -> NDArray[np.float32]:
    """(n,) to the largest of each `length` that follow each other, the last ones fewer; no negative zero."""
    x = np.asarray(logits, np.float32)
    maxima = np.array([x[i : i + length].max() for i in range(0, len(x), length)], np.float32)
    maxima[maxima == 0] = 0
    return maxima


def bucket_masses(weights: ArrayLike, length: int, least: float) -> list[int]:
    """(n,) to the sums of floor(weight * 2^39) of each `length`, but for weights below `least`; exact."""
    x = np.asarray(weights, np.float32).astype(np.float64)
    masses = [int(weight * 2.0**39) if weight >= np.float32(least) else 0 for weight in x.tolist()]
    return [sum(masses[i : i + length]) for i in range(0, len(masses), length)]


def attention(queries: ArrayLike, keys: ArrayLike, values: ArrayLike) -> Floats:
    """(T, heads, d), (S, kv_heads, d) twice, to (T, heads, d): the queries are the last T of S positions."""
    q, k, v = (np.asarray(a, np.float64) for a in (queries, keys, values))
    (count, heads, size), (length, kv_heads, _) = q.shape, k.shape
    k, v = (np.repeat(a, heads // kv_heads, axis=1) for a in (k, v))  # neighbours share a key head
    scores = np.einsum("thd,shd->hts", q, k) / np.sqrt(size)
    future = np.arange(length) > np.arange(length - count, length)[:, None]  # (T, S)
    mixed: Floats = np.einsum("hts,shd->thd", softmax(np.where(future, -np.inf, scores)), v)
    return mixed


# The network.


def forward(
    weights: Weights,
    config: Config,
    tokens: Sequence[int] | NDArray[np.integer],
    cache_type: type[np.floating[Any]] = np.float64,
) -> Floats:
    """Logits (T, V) of every position. Keys and values are rounded to `cache_type`.

    The library has f16 there, except in models of F32.
    """
    ids = np.asarray(tokens)
    count, heads, kv_heads, width = len(ids), config.heads, config.kv_heads, config.width
    kv_width = width // heads * kv_heads

    def linear(x: Floats, name: str) -> Floats:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: Floats, name: str) -> Floats:
        return layer_norm(x, weights[f"{name}.weight"], weights[f"{name}.bias"], config.epsilon)

    x = weights["token_embd.weight"][ids] + weights["position_embd.weight"][:count]  # (T, width)
    for layer in range(config.layers):
        block = f"blk.{layer}"
        qkv = linear(norm(x, f"{block}.attn_norm"), f"{block}.attn_qkv")
        q, k, v = np.split(qkv, [width, width + kv_width], axis=1)
        q, k, v = (a.reshape(count, n, -1) for a, n in ((q, heads), (k, kv_heads), (v, kv_heads)))
        k, v = k.astype(cache_type), v.astype(cache_type)
        x = x + linear(attention(q, k, v).reshape(count, width), f"{block}.attn_output")
        hidden = gelu_tanh(linear(norm(x, f"{block}.ffn_norm"), f"{block}.ffn_up"))  # (T, ffn)
        x = x + linear(hidden, f"{block}.ffn_down")
    output = weights.get("output.weight", weights["token_embd.weight"])
    return norm(x, "output_norm") @ output.T


def greedy(weights: Weights, config: Config, tokens: Sequence[int], count: int) -> list[int]:
    """The `count` tokens that follow, each the likeliest (the lowest id of equals)."""
    ids = list(tokens)
    for _ in range(count):
        ids.append(int(forward(weights, config, ids)[-1].argmax()))
    return ids[len(tokens) :]


def mean_kl(reference_logits: ArrayLike, logits: ArrayLike) -> float:
    """KL(softmax(reference) || softmax(logits)), averaged over the positions."""
    expected, actual = log_softmax(reference_logits), log_softmax(logits)
    return float((np.exp(expected) * (expected - actual)).sum(-1).mean())
