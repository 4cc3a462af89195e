"""Writes small GGUF files, whole or broken on purpose, without the code under test and without `gguf`.

`tiny_model()` is a complete starcoder model; `tiny_builder()` the same before it is written, so that a test
can change any field; `small_builder()` a file of under 500 bytes that is not a model. After `build`, `offsets`
says where each field lies: `version`, `tensor_count`, `kv_count`; for a metadata key KEY `key:KEY`,
`type:KEY`, `value:KEY`; for a tensor NAME `tensor:NAME` (its directory entry), `rank:NAME`, `dims:NAME`,
`kind:NAME`, `offset:NAME`; and `data`, the start of the data section.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_FORMATS = {
    U8: "B",
    I8: "b",
    U16: "H",
    I16: "h",
    U32: "I",
    I32: "i",
    F32: "f",
    BOOL: "B",
    U64: "Q",
    I64: "q",
    F64: "d",
}
#: name -> (ggml type id, weights per block, bytes per block), for the types that `weights` can make.
WEIGHT_TYPES = {
    "F32": (0, 1, 4),
    "F16": (1, 1, 2),
    "BF16": (30, 1, 2),
    "Q4_0": (2, 32, 18),
    "Q4_1": (3, 32, 20),
    "Q5_0": (6, 32, 22),
    "Q5_1": (7, 32, 24),
    "IQ4_NL": (20, 32, 18),
    "Q8_0": (8, 32, 34),
    "Q2_K": (10, 256, 84),
    "Q3_K": (11, 256, 110),
    "IQ4_XS": (23, 256, 136),
    "Q4_K": (12, 256, 144),
    "Q5_K": (13, 256, 176),
    "Q6_K": (14, 256, 210),
}
#: The f16 scales of a block as (byte offset, size); the rest of a block may be anything, and with these sizes
#: random bytes stand for weights of mean near 0 and standard deviation near 1.
_SCALES = {
    "Q4_0": ((0, 1 / 4.6),),
    "Q4_1": ((0, 1 / 4.6), (2, -7.5 / 4.6)),
    "Q5_0": ((0, 1 / 9.2),),
    "Q5_1": ((0, 1 / 9.2), (2, -15.5 / 9.2)),
    "IQ4_NL": ((0, 1 / 70),),
    "Q8_0": ((0, 1 / 74),),
    "Q2_K": ((80, 1 / 13), (82, 1.5 / 13)),
    "Q3_K": ((108, 1 / 42),),
    "IQ4_XS": ((0, 1 / 1300),),
    "Q4_K": ((0, 1 / 257), (2, 7.5 / 257)),
    "Q5_K": ((0, 1 / 524), (2, 15.5 / 524)),
    "Q6_K": ((208, 1 / 1355),),
}


def string(text: str | bytes) -> bytes:
    """A GGUF string: u64 length, bytes."""
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def array(kind: int, items: Sequence[Any], count: int | None = None) -> bytes:
    """The payload of an array value; `count` lies about its length."""
    head = struct.pack("<IQ", kind, len(items) if count is None else count)
    if kind == STRING:
        return head + b"".join(map(string, items))
    return head + struct.pack(f"<{len(items)}{_FORMATS[kind]}", *items)


def payload(value: Any) -> tuple[int, bytes]:
    """The GGUF type and bytes of a Python value: int is u32, float f32, a list has its first item's type."""
    if isinstance(value, bool):
        return BOOL, bytes([value])
    if isinstance(value, int):
        return U32, struct.pack("<I", value)
    if isinstance(value, float):
        return F32, struct.pack("<f", value)
    if isinstance(value, (str, bytes)):
        return STRING, string(value)
    is_text = bool(value) and isinstance(value[0], (str, bytes))
    kind = STRING if is_text else F32 if value and isinstance(value[0], float) else I32
    return ARRAY, array(kind, value)


def scalar(kind: int, value: float) -> tuple[int, bytes]:
    """A scalar of exactly the type `kind`."""
    return kind, struct.pack(f"<{_FORMATS[kind]}", value)


@dataclass
class Tensor:
    """One tensor to write; dims are columns first, offset and rank override what the directory says."""

    name: str | bytes
    dims: tuple[int, ...]
    kind: int
    data: bytes
    offset: int | None = None
    rank: int | None = None


@dataclass
class GGUFBuilder:
    """A GGUF file in pieces; every count, offset and padding can be overridden."""

    version: int = 3
    magic: bytes = b"GGUF"
    alignment: int = 32
    n_tensors: int | None = None
    n_keys: int | None = None
    trailing: bytes = b""
    pad_end: bool = True
    metadata: list[tuple[str | bytes, int, bytes]] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    offsets: dict[str, int] = field(default_factory=dict)

    def set(self, key: str | bytes, value: Any) -> GGUFBuilder:
        """Add or replace a key; `value` is a Python value or a pair (GGUF type, payload)."""
        kind, data = value if isinstance(value, tuple) else payload(value)
        self.metadata = [entry for entry in self.metadata if entry[0] != key]
        self.metadata.append((key, kind, data))
        return self

    def drop(self, key: str) -> GGUFBuilder:
        """Remove a key."""
        self.metadata = [entry for entry in self.metadata if entry[0] != key]
        return self

    def add(self, name: str | bytes, dims: tuple[int, ...], data: bytes, kind: int = 0) -> GGUFBuilder:
        """Add a tensor after the others."""
        self.tensors.append(Tensor(name, dims, kind, data))
        return self

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name, to change it."""
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def build(self) -> bytes:
        """The file, and `offsets` for it."""
        self.offsets = {"version": 4, "tensor_count": 8, "kv_count": 16}
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        n_keys = len(self.metadata) if self.n_keys is None else self.n_keys
        out = bytearray(self.magic + struct.pack("<IQQ", self.version, n_tensors, n_keys))
        for key, kind, data in self.metadata:
            label = key if isinstance(key, str) else key.decode("latin-1")
            self.offsets[f"key:{label}"] = len(out)
            out += string(key)
            self.offsets[f"type:{label}"] = len(out)
            out += struct.pack("<I", kind)
            self.offsets[f"value:{label}"] = len(out)
            out += data
        at = 0
        for tensor in self.tensors:
            self._entry(out, tensor, at if tensor.offset is None else tensor.offset)
            at += len(tensor.data) + -len(tensor.data) % self.alignment
        if self.tensors:
            out += bytes(-len(out) % self.alignment)
        self.offsets["data"] = len(out)
        for i, tensor in enumerate(self.tensors):
            out += tensor.data
            if self.pad_end or i + 1 < len(self.tensors):
                out += bytes(-len(tensor.data) % self.alignment)
        return bytes(out) + self.trailing

    def _entry(self, out: bytearray, tensor: Tensor, offset: int) -> None:
        label = tensor.name if isinstance(tensor.name, str) else tensor.name.decode("latin-1")
        self.offsets[f"tensor:{label}"] = len(out)
        out += string(tensor.name)
        self.offsets[f"rank:{label}"] = len(out)
        out += struct.pack("<I", len(tensor.dims) if tensor.rank is None else tensor.rank)
        self.offsets[f"dims:{label}"] = len(out)
        out += struct.pack(f"<{len(tensor.dims)}Q", *tensor.dims)
        self.offsets[f"kind:{label}"] = len(out)
        out += struct.pack("<I", tensor.kind)
        self.offsets[f"offset:{label}"] = len(out)
        out += struct.pack("<Q", offset)


def small_builder() -> GGUFBuilder:
    """A file of under 500 bytes with several kinds of values and two tensors."""
    out = GGUFBuilder()
    out.set("general.architecture", "starcoder").set("n", 7).set("flag", True)
    out.set("names", ["a", "bc", ""]).set("numbers", [1, -2, 3]).set("flags", (ARRAY, array(BOOL, [0, 1])))
    return out.add("one.weight", (8,), bytes(range(32))).add("two.weight", (32, 2), bytes(68), kind=8)


def byte_symbols() -> list[str]:
    """GPT-2's 256 printable symbols, in the order of the bytes they stand for."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(hidden)) for byte in range(256)]


MERGES = ["Ġ Ġ", "d e", "de f", "Ġ r", "e t", "Ġr et"]
SPECIALS = ["<|endoftext|>", "<fim-prefix>", "<fim-middle>", "<fim-suffix>", "<fim-pad>"]


def vocabulary(symbols: Sequence[str], n_padding: int = 2) -> tuple[list[str], list[int]]:
    """Tokens and their types: the symbols, the results of MERGES, the five special tokens, padding."""
    merged = [merge.replace(" ", "") for merge in MERGES]
    tokens = [*symbols, *merged, *SPECIALS]
    padding = [f"[PAD{len(tokens) + i}]" for i in range(n_padding)]
    types = [1] * (len(symbols) + len(merged)) + [3] * len(SPECIALS) + [5] * n_padding
    return tokens + padding, types


def weights(rng: np.random.Generator, rows: int, columns: int, kind: str) -> bytes:
    """Random weights, mean near 0, standard deviation near 1/sqrt(columns), in blocks of the type `kind`."""
    spread = columns**-0.5
    if kind in ("F32", "F16", "BF16"):
        values = rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(spread)
        if kind == "BF16":
            return (values.view(np.uint32) >> 16).astype("<u2").tobytes()
        return values.astype("<f4" if kind == "F32" else "<f2").tobytes()
    _, block, size = WEIGHT_TYPES[kind]
    blocks = rng.integers(0, 256, (rows * columns // block, size), dtype=np.uint8)
    for at, size_of_scale in _SCALES[kind]:
        scale = np.full(len(blocks), spread * size_of_scale, dtype="<f2")
        blocks[:, at : at + 2] = scale.view(np.uint8).reshape(-1, 2)
    return blocks.tobytes()


def tiny_builder(
    *,
    layers: int = 1,
    width: int = 32,
    heads: int = 2,
    kv_heads: int = 1,
    context: int = 16,
    hidden: int | None = None,
    weight_type: str = "F16",
    embedding_type: str | None = None,
    tied: bool = True,
    symbols: Sequence[str] | None = None,
    n_padding: int = 2,
    seed: int = 1,
    metadata: dict[str, Any] | None = None,
) -> GGUFBuilder:
    """A complete starcoder model with random weights and a byte-level tokenizer of 269 tokens.

    `hidden` is the width of the MLP (None: 4 * width), `weight_type` the ggml type of the matrices (K-quants
    need width % 256 == 0) and `embedding_type` that of the embedding (None: the same), `symbols` the
    single-character tokens (None: all 256 bytes), `n_padding` the [PADn] tokens at the end; `metadata` adds
    or replaces keys, and its value None removes one.
    """
    rng = np.random.default_rng(seed)
    hidden = 4 * width if hidden is None else hidden
    embedding_type = embedding_type or weight_type
    tokens, types = vocabulary(byte_symbols() if symbols is None else symbols, n_padding)
    eot = tokens.index("<|endoftext|>")
    out = GGUFBuilder()
    keys: dict[str, Any] = {
        "general.architecture": "starcoder",
        "general.name": "tiny",
        "starcoder.context_length": context,
        "starcoder.embedding_length": width,
        "starcoder.feed_forward_length": hidden,
        "starcoder.block_count": layers,
        "starcoder.attention.head_count": heads,
        "starcoder.attention.head_count_kv": kv_heads,
        "starcoder.attention.layer_norm_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "starcoder",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.bos_token_id": eot,
        "tokenizer.ggml.eos_token_id": eot,
    }
    for key, value in {**keys, **(metadata or {})}.items():
        if value is not None:
            out.set(key, value)

    def matrix(name: str, rows: int, columns: int, kind: str) -> None:
        data = weights(rng, rows, columns, kind)
        out.add(f"{name}.weight", (columns, rows), data, WEIGHT_TYPES[kind][0])

    def linear(name: str, rows: int, columns: int) -> None:
        matrix(name, rows, columns, weight_type)
        out.add(f"{name}.bias", (rows,), weights(rng, 1, rows, "F32"))

    def norm(name: str) -> None:
        scale = 1 + rng.standard_normal(width).astype("<f4") * np.float32(0.1)
        out.add(f"{name}.weight", (width,), scale.astype("<f4").tobytes())
        out.add(f"{name}.bias", (width,), weights(rng, 1, width, "F32"))

    matrix("token_embd", len(tokens), width, embedding_type)
    matrix("position_embd", context, width, "F32")
    for i in range(layers):
        norm(f"blk.{i}.attn_norm")
        linear(f"blk.{i}.attn_qkv", width + 2 * kv_heads * (width // heads), width)
        linear(f"blk.{i}.attn_output", width, width)
        norm(f"blk.{i}.ffn_norm")
        linear(f"blk.{i}.ffn_up", hidden, width)
        linear(f"blk.{i}.ffn_down", width, hidden)
    norm("output_norm")
    if not tied:
        matrix("output", len(tokens), width, embedding_type)
    return out


def tiny_model(**overrides: Any) -> bytes:
    """The bytes of `tiny_builder(**overrides)`."""
    return tiny_builder(**overrides).build()
