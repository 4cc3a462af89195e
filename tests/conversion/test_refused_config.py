"""Configurations that do not run here or that the tensors contradict, and folders that are not checkpoints."""

# ruff: noqa: E501 (tables of messages, one to a line)
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import checkpoint_builder as builder

pytest.importorskip("safetensors")

from santacoder.conversion.convert import convert
from santacoder.errors import InvalidRequestError
from tests.support.refusal import refusal


@pytest.mark.parametrize(
    ("layout", "changes", "message"),
    [
        ("split", {"activation_function": "gelu"}, "config.json: activation_function is 'gelu', but only GELU's tanh form runs here"),
        ("split", {"activation_function": None}, "config.json: activation_function is None"),
        ("split", {"activation_function": ["gelu_new"]}, "config.json: activation_function is ['gelu_new']"),
        ("split", {"attention_head_type": "grouped"}, "config.json: attention_head_type is 'grouped', but it must be one of multiquery, multihead"),
        ("split", {"attention_head_type": "multihead"}, "config.json: attention_head_type or multi_query asks for 4 head(s) of keys and values, but the tensors are q_attn and kv_attn"),
        ("multi-head", {"attention_head_type": "multiquery"}, "asks for 1 head(s) of keys and values, but the tensors are c_attn with queries"),
        ("linear-mha", {"multi_query": True}, "asks for 1 head(s) of keys and values"),
        ("linear-mqa", {"multi_query": False}, "asks for 4 head(s) of keys and values"),
        ("linear-mqa", {"multi_query": 1}, "config.json: multi_query is 1, but it must be true or false"),
        ("split", {"multi_query": False}, "config.json: attention_head_type is 'multiquery', which contradicts multi_query, False"),
        ("split", {"scale_attn_by_inverse_layer_idx": True}, "config.json: scale_attn_by_inverse_layer_idx is True, but only False runs here"),
        ("linear-mqa", {"scale_attn_weights": False}, "config.json: scale_attn_weights is False, but only True runs here"),
        ("multi-head", {"add_cross_attention": True}, "config.json: add_cross_attention is True"),
        ("linear-mqa", {"quantization_config": {}}, "config.json: quantization_config is there, but only float weights are read"),
        ("split", {"model_type": "llama"}, "config.json: model_type is 'llama', but it must be one of gpt2, santacoder, gpt_bigcode"),
        ("split", {"architectures": ["LlamaForCausalLM"]}, "config.json: architectures has 'LlamaForCausalLM'"),
        ("split", {"architectures": ["GPT2LMHeadModel", "GPT2LMHeadCustomModel"]}, "config.json: architectures is ["),
        ("split", {"model_type": None, "architectures": None}, "config.json: model_type is missing, and architectures too"),
        ("split", {"model_type": "gpt_bigcode"}, "config.json: model_type is 'gpt_bigcode', which contradicts architectures, ['GPT2LMHeadCustomModel']"),
        ("split", {"model_type": "gpt_bigcode", "architectures": None}, "tensor transformer.h.0.attn.q_attn.weight is stored as GPT-2's Conv1D, (in, out), but config.json means GPTBigCode's Linear"),
        ("split", {"n_embd": None}, "config.json: n_embd is missing"),
        ("split", {"n_layer": 1 << 40}, f"config.json: n_layer is {1 << 40}, but it must be an integer in 1..4096"),
        ("split", {"n_layer": 3}, "the tensor transformer.h.2.ln_1.weight is missing"),
        ("split", {"n_layer": 1}, "does not belong to a model of 1 layers"),
        ("split", {"n_head": 3}, "config.json: n_head is 3, which does not divide n_embd, 64"),
        ("split", {"n_head": 0}, "config.json: n_head is 0, but it must be an integer in 1..4096"),
        ("split", {"n_head": 8}, "tensor transformer.h.0.attn.kv_attn.weight has the shape (64, 32), but config.json asks for (64, 16)"),
        ("split", {"n_inner": "many"}, "config.json: n_inner is 'many', but it must be an integer"),
        ("split", {"n_inner": None}, "tensor transformer.h.0.mlp.c_fc.weight has the shape (64, 192), but config.json asks for (64, 256)"),
        ("split", {"n_positions": 128}, "tensor transformer.wpe.weight has the shape (256, 64), but config.json asks for (128, 64)"),
        ("split", {"vocab_size": 49280}, "tensor transformer.wte.weight has 271 rows, but config.json: vocab_size is 49280"),
        ("split", {"layer_norm_epsilon": 0.0}, "config.json: layer_norm_epsilon is 0.0, but it must be a number above 0 and below 1"),
        ("split", {"layer_norm_epsilon": 1e-60}, "config.json: layer_norm_epsilon is 1e-60, but it must be a number above 0 and below 1"),
        ("split", {"layer_norm_epsilon": 1 - 1e-12}, "config.json: layer_norm_epsilon is 0.999999999999, but it must be"),
        ("split", {"layer_norm_epsilon": float("nan")}, "config.json: layer_norm_epsilon is nan"),
        ("linear-mqa", {"tie_word_embeddings": False}, "config.json: tie_word_embeddings is false, but the tensor lm_head.weight is missing"),
    ],
)  # fmt: skip
def test_configuration(tmp_path: Path, layout: str, changes: dict[str, Any], message: str) -> None:
    folder = builder.write_checkpoint(tmp_path / "c", layout, changes=changes)
    assert message in refusal(tmp_path, folder)


def test_square_matrices_follow_the_configuration(tmp_path: Path) -> None:
    """With two heads and an MLP as wide as the model all matrices of the split layout are square, so no shape tells the layout."""
    tensors = builder.weights("split")
    for i in range(builder.LAYERS):
        name = f"transformer.h.{i}"
        for part in ("attn.kv_attn", "mlp.c_fc", "mlp.c_proj"):
            tensors[f"{name}.{part}.weight"] = builder.noise((64, 64), i)
            tensors[f"{name}.{part}.bias"] = builder.noise((64,), i)
    changes: dict[str, Any] = {"n_head": 2, "n_inner": 64}
    folder = builder.write_checkpoint(tmp_path / "c", tensors=tensors, changes=changes)
    convert(folder, tmp_path / "square.gguf", "f32")
    changes |= {"model_type": "gpt_bigcode", "architectures": ["GPTBigCodeForCausalLM"]}
    folder = builder.write_checkpoint(tmp_path / "c", tensors=tensors, changes=changes)
    assert "q_attn.weight is stored as GPT-2's Conv1D" in refusal(tmp_path, folder)


def test_missing_files(tmp_path: Path) -> None:
    folder = builder.write_checkpoint(tmp_path / "c")
    for name, message in (
        ("tokenizer.json", f"{folder} has no tokenizer: neither tokenizer.json nor vocab.json with merges.txt"),
        ("model.safetensors", f"{folder} has no weights (none of model.safetensors, "),
        ("config.json", f"{folder} has no config.json"),
    ):
        (folder / name).unlink()
        assert refusal(tmp_path, folder).startswith(message)
    assert "it has README.md" not in refusal(tmp_path, folder)


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    folder = builder.write_checkpoint(tmp_path / "c")
    for source, message in (
        (folder / "model.safetensors", "is a file: name the folder that has the checkpoint"),
        (tmp_path / "none", "is neither a folder nor OWNER/NAME on the hub"),
    ):
        with pytest.raises(InvalidRequestError, match=message):
            convert(source, tmp_path / "m.gguf")
    with pytest.raises(InvalidRequestError, match="is a folder, which has no revision 'fim'"):
        convert(folder, tmp_path / "m.gguf", revision="fim")
    with pytest.raises(InvalidRequestError, match=r"^the type is 'f8', but it must be one of f32, f16"):
        convert(folder, tmp_path / "m.gguf", "f8")
    with pytest.raises(InvalidRequestError, match=r"^fim_mode is 'msp', but it must be 'psm' or 'spm'$"):
        convert(folder, tmp_path / "m.gguf", fim_mode="msp")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match=r"^fim_mode is 'psm', but this model is not one that fills in the"):
        convert(folder, tmp_path / "m.gguf", fim=False, fim_mode="psm")
    assert not (tmp_path / "m.gguf").exists()
