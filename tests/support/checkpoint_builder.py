"""Small checkpoints in the five published layouts, written without the code under test and without `safetensors`.

Values are numbers of a counter put through a hash, so they are the same on every machine and in every version of
NumPy: tests/data/checkpoint-logits.npz holds what the original implementations make of them
(tests/support/make_checkpoint_logits.py).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.gguf_builder import MERGES, SPECIALS, byte_symbols

LAYERS, WIDTH, HEADS, INNER, POSITIONS = 2, 64, 4, 192, 256
HEAD_DIM = WIDTH // HEADS
BPE_TOKENS = 256 + len(MERGES)
VOCABULARY = BPE_TOKENS + len(SPECIALS) + 4  # 4 rows of padding; 271 is prime
#: Layouts of the attention; the value seeds the weights.
LAYOUTS = {"split": 1, "fused": 2, "multi-head": 3, "linear-mqa": 4, "linear-mha": 5}
CONV1D = ("split", "fused", "multi-head")
TOKENS = 200
#: Positions whose logits are stored.
STORED = (0, 1, 7, *range(15, TOKENS - 1, 16), TOKENS - 1)

Tensors = dict[str, NDArray[Any]]


def noise(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Numbers of mean 0 and variance 1, evenly distributed, by the hash of splitmix64."""
    size = int(np.prod(shape))
    with np.errstate(over="ignore"):
        z = (np.arange(size, dtype=np.uint64) + np.uint64(seed << 32)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits = ((z ^ (z >> np.uint64(31))) >> np.uint64(40)).astype(np.float64)  # 24 of them
    return ((bits / 2**23 - 1) * 3**0.5).astype(np.float32).reshape(shape)


def tokens() -> list[int]:
    """The ids of the text whose logits are compared, (TOKENS,)."""
    return [int(i) for i in np.floor((noise((TOKENS,), 99) / 3**0.5 + 1) / 2 * BPE_TOKENS)]


def weights(layout: str) -> Tensors:
    """The tensors of a checkpoint by their published names."""
    seed = LAYOUTS[layout] * 1000
    tensors: Tensors = {}

    def add(name: str, *shape: int, scale: float, mean: float = 0.0) -> None:
        tensors[f"transformer.{name}"] = np.float32(mean) + np.float32(scale) * noise(shape, seed + len(tensors))

    def linear(name: str, n_in: int, n_out: int, scale: float = 1.0) -> None:
        add(f"{name}.weight", *((n_in, n_out) if layout in CONV1D else (n_out, n_in)), scale=scale * n_in**-0.5)
        add(f"{name}.bias", n_out, scale=0.3)

    def norm(name: str) -> None:
        add(f"{name}.weight", WIDTH, scale=0.2, mean=1.0)
        add(f"{name}.bias", WIDTH, scale=0.2)

    add("wte.weight", VOCABULARY, WIDTH, scale=0.3)
    add("wpe.weight", POSITIONS, WIDTH, scale=0.3)
    for i in range(LAYERS):
        norm(f"h.{i}.ln_1")
        if layout == "split":
            linear(f"h.{i}.attn.q_attn", WIDTH, WIDTH, 1.5)
            linear(f"h.{i}.attn.kv_attn", WIDTH, 2 * HEAD_DIM, 1.5)
        else:
            kv = WIDTH if layout in ("multi-head", "linear-mha") else HEAD_DIM
            linear(f"h.{i}.attn.c_attn", WIDTH, WIDTH + 2 * kv, 1.5)
        linear(f"h.{i}.attn.c_proj", WIDTH, WIDTH)
        norm(f"h.{i}.ln_2")
        linear(f"h.{i}.mlp.c_fc", WIDTH, INNER)
        linear(f"h.{i}.mlp.c_proj", INNER, WIDTH)
    norm("ln_f")
    return tensors


def buffers() -> Tensors:
    """The mask and its value, which old checkpoints of GPT-2's classes keep beside the weights."""
    tensors: Tensors = {}
    for i in range(LAYERS):
        mask = np.tril(np.ones((POSITIONS, POSITIONS), np.uint8))[None, None]
        tensors[f"transformer.h.{i}.attn.bias"] = mask
        tensors[f"transformer.h.{i}.attn.masked_bias"] = np.array(-1e4, np.float32)
    return tensors


def config(layout: str) -> dict[str, Any]:
    """config.json as it is published: 50256 is not in the vocabulary, as in early revisions."""
    values: dict[str, Any] = {
        "n_embd": WIDTH,
        "n_layer": LAYERS,
        "n_head": HEADS,
        "n_inner": INNER,
        "n_positions": POSITIONS,
        "vocab_size": VOCABULARY,
        "layer_norm_epsilon": 1e-5,
        "scale_attn_weights": True,
        "bos_token_id": 50256,
        "eos_token_id": 50256,
        "torch_dtype": "float32",
    }
    if layout in CONV1D:
        kind = "multihead" if layout == "multi-head" else "multiquery"
        names = {"architectures": ["GPT2LMHeadCustomModel"], "model_type": "gpt2", "attention_head_type": kind}
        return values | names | {"activation_function": "gelu_fast", "scale_attn_by_inverse_layer_idx": False}
    names = {"architectures": ["GPTBigCodeForCausalLM"], "model_type": "gpt_bigcode"}
    return values | names | {"activation_function": "gelu_pytorch_tanh", "multi_query": layout == "linear-mqa"}


def tokenizer(special: bool = True) -> dict[str, Any]:
    """tokenizer.json: bytes, MERGES and, as in late revisions, the special tokens."""
    merged = [merge.replace(" ", "") for merge in MERGES]
    vocabulary = {token: i for i, token in enumerate([*byte_symbols(), *merged])}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": BPE_TOKENS + i, "content": token, **plain} for i, token in enumerate(SPECIALS)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added if special else [],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, dict(byte_level)],
        },
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "vocab": vocabulary,
            "merges": [*MERGES],
        },
    }


_DTYPES = {"<f4": "F32", "<f2": "F16", "<u2": "BF16", "|u1": "U8", "<f8": "F64"}


def safetensors(tensors: Mapping[str, NDArray[Any]], **header_changes: Any) -> bytes:
    """The bytes of a safetensors file, whose uint16 arrays are the bits of bfloat16; changes are of header entries."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = bytearray()
    for name, values in tensors.items():
        start = len(data)
        data += values.tobytes()
        entry = {"dtype": _DTYPES[values.dtype.str], "shape": values.shape, "data_offsets": [start, len(data)]}
        header[name] = entry | header_changes.get(name, {})
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(data)


def bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper halves of float32 numbers, cut off."""
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), "utf-8")


def write_checkpoint(
    folder: Path,
    layout: str = "split",
    *,
    tensors: Tensors | None = None,
    changes: Mapping[str, Any] | None = None,
    special: bool = True,
) -> Path:
    """Write a checkpoint; `tensors` replaces the weights, `changes` keys of config.json (None drops one)."""
    folder.mkdir(parents=True, exist_ok=True)
    values = config(layout) | dict(changes or {})
    write_json(folder / "config.json", {key: value for key, value in values.items() if value is not None})
    write_json(folder / "tokenizer.json", tokenizer(special))
    (folder / "model.safetensors").write_bytes(safetensors(weights(layout) if tensors is None else tensors))
    (folder / "README.md").write_text("---\nlicense: bigcode-openrail-m\nlanguage:\n- code\n---\n# Card\n", "utf-8")
    return folder
