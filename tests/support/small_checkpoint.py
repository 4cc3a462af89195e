"""A checkpoint of a few KB in every form, for tests that damage each of its bytes.

`files(name)` has all files of a checkpoint in which the file `name` matters.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import json
from pathlib import Path

import numpy as np

from tests.support import checkpoint_builder as builder
from tests.support.gguf_builder import MERGES, SPECIALS
from tests.support.malformed_case import SYMBOLS

WIDTH, POSITIONS = 8, 2
#: The files that a conversion reads, the weights in each way that they may be kept.
NAMES = (
    "config.json",
    "tokenizer.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "vocab.json",
    "merges.txt",
    "README.md",
)
_SHARD = "model-00001-of-00001.safetensors"


def readable() -> list[str]:
    """Those of NAMES for which there is a package that reads them."""
    return [name for name in NAMES if name != "pytorch_model.bin" or importlib.util.find_spec("torch")]


@functools.cache
def files(name: str) -> dict[str, bytes]:
    """Name -> bytes; not to be changed."""
    found = {
        "config.json": json.dumps(config()).encode(),
        "README.md": b"---\nlicense: mit\n---\n",
        "tokenizer.json": json.dumps(tokenizer()).encode(),
        "model.safetensors": builder.safetensors(weights()),
    }
    if name in ("vocab.json", "merges.txt"):
        del found["tokenizer.json"]
        found["vocab.json"] = json.dumps(vocabulary()).encode()
        found["merges.txt"] = "\n".join(["#version: 0.2", *MERGES]).encode()
    elif name == "model.safetensors.index.json":
        found[_SHARD] = found.pop("model.safetensors")
        found[name] = json.dumps({"weight_map": dict.fromkeys(weights(), _SHARD)}).encode()
    elif name == "pytorch_model.bin":
        import torch

        del found["model.safetensors"]
        out = io.BytesIO()
        torch.save({key: torch.from_numpy(values.copy()) for key, values in weights().items()}, out)
        found[name] = out.getvalue()
    return found


def write(folder: Path, found: dict[str, bytes]) -> None:
    """Write these files and remove all others."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, data in found.items():
        (folder / name).write_bytes(data)


def config() -> dict[str, object]:
    sizes = {"n_embd": WIDTH, "n_head": 1, "n_layer": 1, "n_inner": WIDTH, "n_positions": POSITIONS}
    return builder.config("fused") | sizes | {"vocab_size": len(vocabulary()) + len(SPECIALS)}


def vocabulary() -> dict[str, int]:
    return {token: i for i, token in enumerate([*SYMBOLS, *(merge.replace(" ", "") for merge in MERGES)])}


def tokenizer() -> dict[str, object]:
    values = builder.tokenizer()
    values["model"]["vocab"] = vocabulary()
    for i, token in enumerate(values["added_tokens"]):
        token["id"] = len(vocabulary()) + i
    return values


def weights() -> builder.Tensors:
    shapes: dict[str, tuple[int, ...]] = {
        "wte.weight": (len(vocabulary()) + len(SPECIALS), WIDTH),
        "wpe.weight": (POSITIONS, WIDTH),
    }
    for name in ("h.0.ln_1", "h.0.ln_2", "ln_f"):
        shapes |= {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}
    for name, columns in (
        ("attn.c_attn", 3 * WIDTH),
        ("attn.c_proj", WIDTH),
        ("mlp.c_fc", WIDTH),
        ("mlp.c_proj", WIDTH),
    ):
        shapes |= {f"h.0.{name}.weight": (WIDTH, columns), f"h.0.{name}.bias": (columns,)}
    return {
        f"transformer.{name}": builder.noise(shape, seed).astype(np.float32)
        for seed, (name, shape) in enumerate(shapes.items())
    }
