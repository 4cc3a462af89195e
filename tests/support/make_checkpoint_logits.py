"""Writes tests/data/checkpoint-logits.npz: what the original implementations make of the small checkpoints.

    python tests/support/make_checkpoint_logits.py        # needs transformers and torch

`logits` is a model's own forward pass in float64. GPTBigCode and GPT-2 are transformers' classes, which load the
checkpoint's folder themselves. The code of SantaCoder's own layout with one head of keys and values was published
beside the weights; here GPT-2's class stands for it, with that head repeated for every head of the queries.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))  # where bench and tests are

from tests.support import checkpoint_builder as builder
from tests.support.paths import DATA

OUT = DATA / "checkpoint-logits.npz"


def original(layout: str, folder: Path) -> Any:
    """The original model of a checkpoint that `write_checkpoint` has put into `folder`, in float64."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, GPTBigCodeForCausalLM

    if layout.startswith("linear"):
        return GPTBigCodeForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    if layout == "multi-head":
        return GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float64).eval()
    values = builder.config(layout)
    model = GPT2LMHeadModel(GPT2Config(**{key: value for key, value in values.items() if key != "architectures"}))
    state = {name: torch.from_numpy(array.copy()) for name, array in repeated(builder.weights(layout)).items()}
    missing, surplus = model.load_state_dict(state, strict=False)
    assert not surplus
    assert missing == ["lm_head.weight"]
    return model.double().eval()


def repeated(tensors: builder.Tensors) -> builder.Tensors:
    """The checkpoint of a multi-head model that does the same: c_attn is all queries, H times the keys, the values."""
    out: builder.Tensors = {}
    for name, array in tensors.items():
        if ".q_attn." in name:
            array = np.concatenate([array, tensors[name.replace("q_attn", "kv_attn")]], axis=-1)
            name = name.replace("q_attn", "c_attn")
        if ".kv_attn." in name:
            continue
        if ".c_attn." in name:
            queries, keys, values = np.split(array, [builder.WIDTH, builder.WIDTH + builder.HEAD_DIM], axis=-1)
            array = np.concatenate([queries, *[keys] * builder.HEADS, *[values] * builder.HEADS], axis=-1)
        out[name] = array
    return out


def logits(layout: str, folder: Path, tokens: list[int]) -> NDArray[np.float64]:
    """The original's logits (T, V) of every position."""
    import torch

    with torch.no_grad():
        result: NDArray[np.float64] = original(layout, folder)(torch.tensor([tokens])).logits[0].numpy()
    return result


def main() -> None:
    """Write the file."""
    arrays: dict[str, Any] = {}
    for layout in builder.LAYOUTS:
        with tempfile.TemporaryDirectory() as folder:
            builder.write_checkpoint(Path(folder), layout)
            rows = logits(layout, Path(folder), builder.tokens())
        arrays[layout] = rows[list(builder.STORED)].astype(np.float32)
        print(f"{layout}: standard deviation {rows.std():.2f}")
    np.savez(OUT, **arrays)
    print(f"{OUT}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
