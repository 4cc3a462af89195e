"""Tensors that are missing, surplus, of another shape or type, or not finite: one sentence names the tensor."""

# ruff: noqa: E501 (tables of messages, one to a line)
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import checkpoint_builder as builder

pytest.importorskip("safetensors")

from tests.support.refusal import LN_1, refusal

C_PROJ = "transformer.h.0.attn.c_proj.weight"
C_FC = "transformer.h.1.mlp.c_fc.weight"
C_ATTN = "transformer.h.0.attn.c_attn.weight"


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path) -> None:
    tensors = builder.weights("split") | {"transformer.a\x1b[2J\n": np.zeros(2, np.float32)}
    folder = builder.write_checkpoint(tmp_path / "c", "split", tensors=tensors)
    assert "\x1b" not in refusal(tmp_path, folder)


def drop(tensors: builder.Tensors, name: str) -> None:
    del tensors[name]


def cut(tensors: builder.Tensors, name: str) -> None:
    tensors[name] = tensors[name][:-1].copy()


def transpose(tensors: builder.Tensors, name: str) -> None:
    tensors[name] = tensors[name].T.copy()


def spoil(tensors: builder.Tensors, name: str, value: float = np.nan) -> None:
    tensors[name].reshape(-1)[5] = value


@pytest.mark.parametrize(
    ("layout", "change", "message"),
    [
        ("split", lambda t: drop(t, LN_1), "the tensor transformer.h.1.ln_1.weight is missing"),
        ("split", lambda t: drop(t, "transformer.wte.weight"), "the tensor transformer.wte.weight is missing"),
        ("split", lambda t: drop(t, "transformer.h.1.attn.kv_attn.bias"), "the tensor transformer.h.1.attn.kv_attn.bias is missing"),
        ("split", lambda t: drop(t, "transformer.h.0.attn.q_attn.weight"), "the tensor transformer.h.0.attn.c_attn.weight is missing"),
        ("linear-mha", lambda t: drop(t, "transformer.h.1.attn.c_attn.bias"), "the tensor transformer.h.1.attn.c_attn.bias is missing"),
        ("split", lambda t: t.update(odd=t[LN_1]), "tensor odd does not belong to a model of 2 layers in its layout"),
        ("split", lambda t: t.update({"transformer.h.2.ln_1.weight": t[LN_1]}), "tensor transformer.h.2.ln_1.weight does not belong to a model of 2 layers"),
        ("fused", lambda t: t.update({"transformer.h.0.attn.bias2": t[LN_1]}), "tensor transformer.h.0.attn.bias2 does not belong"),
        ("fused", lambda t: t.update({"transformer.h.0.attn.q_attn.bias": t[LN_1]}), "tensor transformer.h.0.attn.q_attn.bias does not belong"),
        ("split", lambda t: t.update({"h.1.ln_1.weight": t[LN_1]}), "tensor h.1.ln_1.weight is duplicated: it is also stored as transformer.h.1.ln_1.weight"),
        ("split", lambda t: cut(t, LN_1), "tensor transformer.h.1.ln_1.weight has the shape (63,), but config.json asks for (64,)"),
        ("split", lambda t: transpose(t, C_FC), "tensor transformer.h.1.mlp.c_fc.weight has the shape (192, 64), but config.json asks for (64, 192)"),
        ("linear-mqa", lambda t: transpose(t, C_FC), "tensor transformer.h.1.mlp.c_fc.weight has the shape (64, 192), but config.json asks for (192, 64)"),
        ("linear-mha", lambda t: transpose(t, C_ATTN), "tensor transformer.h.0.attn.c_attn.weight has the shape (64, 192), but 64 values in 4 heads, stored as GPTBigCode's Linear, (out, in), ask for (192, 64) or (96, 64)"),
        ("multi-head", lambda t: transpose(t, C_ATTN), "has the shape (192, 64), but 64 values in 4 heads, stored as GPT-2's Conv1D, (in, out), ask for (64, 192) or (64, 96)"),
        ("fused", lambda t: t.update({C_ATTN: np.zeros((64, 128), np.float32)}), "tensor transformer.h.0.attn.c_attn.weight has the shape (64, 128)"),
        ("split", lambda t: cut(t, "transformer.wpe.weight"), "tensor transformer.wpe.weight has the shape (255, 64), but config.json asks for (256, 64)"),
        ("split", lambda t: cut(t, "transformer.wte.weight"), "tensor transformer.wte.weight has 270 rows, but config.json: vocab_size is 271"),
        ("split", lambda t: t.update({LN_1: t[LN_1].astype(np.float64)}), "tensor transformer.h.1.ln_1.weight has the type F64, but only F32, F16, BF16 are read"),
        ("split", lambda t: t.update({"transformer.h.0.attn.q_attn.weight": t["transformer.h.0.attn.q_attn.weight"].astype(np.float16)}), "tensor transformer.h.0.attn.q_attn.weight and h.0.attn.kv_attn.weight have different types"),
        ("split", lambda t: spoil(t, C_PROJ), "model.safetensors: tensor transformer.h.0.attn.c_proj.weight holds a value that is infinite or not a number, at [0, 5]"),
        ("split", lambda t: spoil(t, "transformer.ln_f.bias", -np.inf), "tensor transformer.ln_f.bias holds a value that is infinite or not a number, at [5]"),
        ("linear-mha", lambda t: spoil(t, "transformer.wte.weight"), "tensor transformer.wte.weight holds a value that is infinite or not a number"),
    ],
)  # fmt: skip
def test_tensors(tmp_path: Path, layout: str, change: Callable[[builder.Tensors], Any], message: str) -> None:
    tensors = builder.weights(layout)
    change(tensors)
    folder = builder.write_checkpoint(tmp_path / "c", layout, tensors=tensors)
    assert message in refusal(tmp_path, folder)


@pytest.mark.parametrize("kind", ["F16", "BF16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_in_half_precision(tmp_path: Path, kind: str, value: float) -> None:
    tensors: builder.Tensors = {}
    for name, values in builder.weights("split").items():
        if name == C_FC:
            values[63, 191] = value
        tensors[name] = values.astype(np.float16) if kind == "F16" else builder.bfloat16(values)
    folder = builder.write_checkpoint(tmp_path / "c", tensors=tensors)
    assert f"tensor {C_FC} holds a value that is infinite or not a number, at [63, 191]" in refusal(tmp_path, folder)


def test_tied_and_different(tmp_path: Path) -> None:
    tensors = builder.weights("split")
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"] * 2
    folder = builder.write_checkpoint(tmp_path / "c", tensors=tensors, changes={"tie_word_embeddings": True})
    message = "tensor lm_head.weight differs from wte.weight, but config.json: tie_word_embeddings is true"
    assert message in refusal(tmp_path, folder)
