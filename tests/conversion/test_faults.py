"""A checkpoint that cannot run is refused in one sentence that names the tensor or key, and nothing is written."""

# ruff: noqa: E501 (tables of messages, one to a line)
from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import checkpoint_builder as builder
from tests.support.waiting import HANG

pytest.importorskip("safetensors")

from santacoder.cli import describe
from santacoder.conversion.convert import convert
from santacoder.errors import InvalidRequestError, ModelFormatError, SantaCoderError
from santacoder.gguf.reader import GGUFFile
from santacoder.quantize.quantizer import Quantizer

LN_1 = "transformer.h.1.ln_1.weight"
C_PROJ = "transformer.h.0.attn.c_proj.weight"
C_FC = "transformer.h.1.mlp.c_fc.weight"
C_ATTN = "transformer.h.0.attn.c_attn.weight"


def refusal(tmp_path: Path, folder: Path, **options: Any) -> str:
    """The one sentence with which a folder is refused."""
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SantaCoderError) as caught:
        convert(folder, tmp_path / "m.gguf", **options)
    assert sorted(tmp_path.iterdir()) == before
    message = describe(caught.value)
    assert "\n" not in str(caught.value)
    return message


CARDS = {
    "anchors": "a: &a [x, x]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\nlicense: [*c, *c, *c, *c]",
    "a surrogate": 'license: "\\uD800"',
    "many": "license: [" + "x, " * 20 + "x]",
    "long": "license: " + "x" * 300,
    "large": "license: mit\nrest: " + "x" * 70_000,
}


@pytest.mark.parametrize("name", CARDS)
def test_model_cards_that_are_none(tmp_path: Path, name: str) -> None:
    """They name no licence, take no memory and stop nothing."""
    folder, out = builder.write_checkpoint(tmp_path / "c"), tmp_path / "m.gguf"
    (folder / "README.md").write_text(f"---\n{CARDS[name]}\n---\n", "utf-8")
    convert(folder, out)
    with GGUFFile.open(out) as file:
        assert "general.license" not in file.metadata


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_weights_that_are_a_pipe(tmp_path: Path) -> None:
    folder = builder.write_checkpoint(tmp_path / "c")
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    assert refusal(tmp_path, folder) == "model.safetensors is not a file"


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path) -> None:
    tensors = builder.weights("split") | {"transformer.a\x1b[2J\n": np.zeros(2, np.float32)}
    folder = builder.write_checkpoint(tmp_path / "c", "split", tensors=tensors)
    assert "\x1b" not in refusal(tmp_path, folder)


def test_weights_that_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file takes the name while the conversion runs: no mixture of both."""
    folder = builder.write_checkpoint(tmp_path / "c")
    path, encode, calls = folder / "model.safetensors", Quantizer.encode, []

    def replace(self: Quantizer, *arguments: Any) -> Any:
        calls.append(arguments[0])
        if len(calls) == 3:
            (folder / "new").write_bytes(path.read_bytes())
            (folder / "new").replace(path)
        return encode(self, *arguments)

    monkeypatch.setattr(Quantizer, "encode", replace)
    assert "the file was changed while it was read" in refusal(tmp_path, folder)
    assert len(calls) == 3


@pytest.fixture
def torch_checkpoint(tmp_path: Path) -> tuple[Any, dict[str, Any], Path]:
    """PyTorch, tensors for a checkpoint, and the checkpoint's folder, which lacks its pytorch_model.bin."""
    torch = pytest.importorskip("torch")
    folder = builder.write_checkpoint(tmp_path / "c")
    (folder / "model.safetensors").unlink()
    weights = builder.weights("split")
    return torch, {name: torch.from_numpy(values.copy()) for name, values in weights.items()}, folder


def test_torch_tensors_that_are_not_whole(tmp_path: Path, torch_checkpoint: tuple[Any, dict[str, Any], Path]) -> None:
    torch, tensors, folder = torch_checkpoint
    name = "transformer.wpe.weight"
    for bad in (tensors[name].to_sparse(), tensors[name][:1].clone().expand(len(tensors[name]), -1)):
        torch.save(tensors | {name: bad}, folder / "pytorch_model.bin")
        expected = f"pytorch_model.bin: '{name}' is sparse or repeats its values: store it whole"
        assert refusal(tmp_path, folder).replace("tensor ", "") == expected


def test_torch_files_without_values(tmp_path: Path, torch_checkpoint: tuple[Any, dict[str, Any], Path]) -> None:
    torch, tensors, folder = torch_checkpoint
    name = "transformer.wpe.weight"
    torch.save(tensors | {name: tensors[name].to("meta")}, folder / "pytorch_model.bin")
    expected = f"pytorch_model.bin: tensor '{name}' is on the device meta and has no values here"
    assert refusal(tmp_path, folder) == expected
    (folder / "pytorch_model.bin").write_bytes(b"")
    assert refusal(tmp_path, folder) == "pytorch_model.bin is empty"


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
        ("split", lambda t: t.update({"h.1.ln_1.weight": t[LN_1]}), "tensor h.1.ln_1.weight is there twice, also as transformer.h.1.ln_1.weight"),
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


def test_tied_and_different(tmp_path: Path) -> None:
    tensors = builder.weights("split")
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"] * 2
    folder = builder.write_checkpoint(tmp_path / "c", tensors=tensors, changes={"tie_word_embeddings": True})
    message = "tensor lm_head.weight differs from wte.weight, but config.json: tie_word_embeddings is true"
    assert message in refusal(tmp_path, folder)


def test_square_matrices_follow_the_configuration(tmp_path: Path) -> None:
    """With two heads and an MLP as wide as the model all matrices of the split layout are square: no shape can tell."""
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
    with pytest.raises(InvalidRequestError, match="is a folder, which has no revision 'main'"):
        convert(folder, tmp_path / "m.gguf", revision="main")
    with pytest.raises(InvalidRequestError, match=r"^the type is 'f8', but it must be one of f32, f16"):
        convert(folder, tmp_path / "m.gguf", "f8")
    with pytest.raises(InvalidRequestError, match=r"^fim_mode is 'msp', but it must be 'psm' or 'spm'$"):
        convert(folder, tmp_path / "m.gguf", fim_mode="msp")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match=r"^fim_mode is 'psm', but this model is not one that fills in the"):
        convert(folder, tmp_path / "m.gguf", fim=False, fim_mode="psm")
    assert not (tmp_path / "m.gguf").exists()


def test_a_target_that_exists_is_seen_first(tmp_path: Path) -> None:
    """Before anything is downloaded or read."""
    (tmp_path / "m.gguf").write_text("precious")
    with pytest.raises(FileExistsError):
        convert(tmp_path / "none", tmp_path / "m.gguf")


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("force", [False, True])
def test_no_file_of_the_checkpoint_is_replaced(tmp_path: Path, force: bool, linked: bool) -> None:
    """Nor are weights that another kind is preferred to; what a conversion does not read may be replaced."""
    folder = builder.write_checkpoint(tmp_path / "c")
    others = ("vocab.json", "merges.txt", "added_tokens.json", "model-00001-of-00002.safetensors", "pytorch_model.bin")
    for name in (*others, "model.safetensors.index.json", "pytorch_model-00001-of-00001.bin", "old.gguf"):
        (folder / name).write_text("precious")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in before:
        out = folder / name
        if linked:
            out = tmp_path / name
            out.symlink_to(folder / name)
        if name == "old.gguf":
            continue
        with pytest.raises(InvalidRequestError) as caught:
            convert(folder, out, force=force)
        assert str(caught.value) == f"{out} is a file that is read ({folder / name}): name another to write"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    convert(folder, folder / "old.gguf", force=True)
    assert (folder / "old.gguf").read_bytes()[:4] == b"GGUF"


def set_header(data: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """A safetensors file with another header."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def move(header: dict[str, Any], name: str, by: int) -> None:
    header[name]["data_offsets"] = [offset + by for offset in header[name]["data_offsets"]]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "model.safetensors is no safetensors file, or is truncated: its header has 0 bytes"),
        (lambda data: data[:100], "but the file of 100 bytes has room for 92"),
        (lambda data: data[:-1], "model.safetensors is damaged: "),
        (lambda data: data[: len(data) // 2], "model.safetensors is damaged: "),
        (lambda data: data + b"\0", "model.safetensors is damaged: "),
        (lambda data: struct.pack("<Q", 2**63) + data[8:], f"its header has {2**63} bytes"),
        (lambda data: struct.pack("<Q", 100_000) + data[8:], "model.safetensors is damaged: "),
        (lambda data: data[:8] + b"x" + data[9:], "model.safetensors is damaged: "),
        (lambda data: b"version https://git-lfs.github.com/spec/v1\n", "is no safetensors file, or is truncated"),
        (lambda data: set_header(data, lambda h: move(h, LN_1, 4)), "model.safetensors is damaged: "),
        (lambda data: set_header(data, lambda h: move(h, LN_1, -4)), "model.safetensors is damaged: "),
        (lambda data: set_header(data, lambda h: move(h, LN_1, 10**12)), "model.safetensors is damaged: "),
        (lambda data: set_header(data, lambda h: h.pop(LN_1)), "model.safetensors is damaged: "),
        (lambda data: set_header(data, lambda h: h[LN_1].update(shape=[2**62, 2**62])), "model.safetensors is damaged: "),
        (lambda data: set_header(data, lambda h: h[LN_1].update(shape=[-64])), "model.safetensors is damaged: "),
        (lambda data: set_header(data, lambda h: h[LN_1].update(shape=[65])), "model.safetensors is damaged: "),
        (lambda data: set_header(data, lambda h: h[LN_1].update(dtype="Q9")), "model.safetensors is damaged: "),
        (lambda data: set_header(data, lambda h: h.update({LN_1: 7})), "model.safetensors is damaged: "),
    ],
)  # fmt: skip
def test_damaged_safetensors(tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    folder = builder.write_checkpoint(tmp_path / "c")
    path = folder / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    assert message in refusal(tmp_path, folder)


INDEX = "model.safetensors.index.json"
FIRST, SECOND = (f"model-0000{i}-of-00002.safetensors" for i in (1, 2))


def sharded(folder: Path) -> dict[str, str]:
    """A checkpoint in two files; the index's map."""
    builder.write_checkpoint(folder)
    (folder / "model.safetensors").unlink()
    tensors = builder.weights("split")
    names = list(tensors)
    places: dict[str, str] = {}
    for file, part in ((FIRST, names[:9]), (SECOND, names[9:])):
        (folder / file).write_bytes(builder.safetensors({name: tensors[name] for name in part}))
        places |= dict.fromkeys(part, file)
    return places


@pytest.mark.parametrize(
    "file", ["../c/model.safetensors", "/etc/passwd", "a/model-1.safetensors", "model-/../../c/model-1.safetensors", "..", "", "model.safetensors", 7, None, "model-1.bin", "model-1\\x.safetensors"]
)  # fmt: skip
def test_an_index_that_points_elsewhere(tmp_path: Path, file: Any) -> None:
    places = sharded(tmp_path / "c")
    builder.write_json(tmp_path / "c" / INDEX, {"weight_map": places | {LN_1: file}})
    message = f"{INDEX} places tensor {LN_1} in {file!r}, but only files model-*.safetensors of its folder are read"
    assert refusal(tmp_path, tmp_path / "c") == message


def test_an_index_that_does_not_fit(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    places = sharded(folder)
    wte = "transformer.wte.weight"
    cases: list[tuple[Any, str]] = [
        ({}, f"{INDEX} has no weight_map"),
        ({"weight_map": []}, f"{INDEX} has no weight_map"),
        (
            {"weight_map": places | {wte: "model-9.safetensors"}},
            f"{INDEX} names model-9.safetensors, which is not there",
        ),
        ({"weight_map": places | {wte: SECOND}}, f"{INDEX} places tensor {wte} in {SECOND}, which does not hold it"),
        ({"weight_map": places | {"odd": SECOND}}, f"{INDEX} places tensor odd in {SECOND}, which does not hold it"),
        ({"weight_map": {k: v for k, v in places.items() if k != wte}}, f"{INDEX} does not list tensor {wte}, which"),
    ]
    for index, message in cases:
        builder.write_json(folder / INDEX, index)
        assert refusal(tmp_path, folder).startswith(message)
    (folder / INDEX).write_text("[" * 100_000)
    assert f"{INDEX} is not JSON: " in refusal(tmp_path, folder)
    data = (folder / FIRST).read_bytes()
    (folder / SECOND).write_bytes(data)
    builder.write_json(folder / INDEX, {"weight_map": places})
    assert "is in model-00001-of-00002.safetensors too" in refusal(tmp_path, folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
@pytest.mark.parametrize("text", ["", "{", "[1]", "7", "\udcff", '{"a": 1e999999999999}', "{}"])
def test_bad_json(tmp_path: Path, name: str, text: str) -> None:
    folder = builder.write_checkpoint(tmp_path / "c")
    (folder / name).write_text(text, "utf-8", "surrogateescape")
    assert name in refusal(tmp_path, folder)


def test_absurd_json(tmp_path: Path) -> None:
    folder = builder.write_checkpoint(tmp_path / "c")
    with (folder / "tokenizer.json").open("wb") as file:
        file.truncate(1 << 40)
    assert refusal(tmp_path, folder).endswith(f"tokenizer.json has {1 << 40} bytes, but at most {1 << 25} are read")


def test_without_torch(tmp_path: Path) -> None:
    folder = builder.write_checkpoint(tmp_path / "c")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    code = "import sys; sys.modules['torch'] = None; from santacoder.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "convert", str(folder), "--out", str(tmp_path / "m.gguf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == (
        "santacoder: pytorch_model.bin is a pickle, which only PyTorch's safe loader may read: install torch, "
        "or take a revision that has model.safetensors\n"
    )
    assert done.returncode == 1
    assert not (tmp_path / "m.gguf").exists()


def test_pytorch_files_that_are_none(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    folder = builder.write_checkpoint(tmp_path / "c")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "pytorch_model.bin: PyTorch's safe loader refuses it: " in refusal(tmp_path, folder)
    torch.save([1], folder / "pytorch_model.bin")
    assert refusal(tmp_path, folder) == "pytorch_model.bin holds a list, not a dictionary of tensors"
    torch.save({"a": [1]}, folder / "pytorch_model.bin")
    assert refusal(tmp_path, folder) == "pytorch_model.bin: 'a' holds a list, not a tensor"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """The command stops in the middle of a tensor."""
    folder = builder.write_checkpoint(tmp_path / "c")
    code = """
import sys, time
import santacoder.conversion.convert as conversion
from santacoder.cli import main

def encode(*_):
    print("ready", flush=True)
    while True:  # a signal just before a sleep is noticed after it
        time.sleep(0.01)

conversion.Quantizer.encode = encode
sys.exit(main(["convert", sys.argv[1], "--out", sys.argv[2]]))
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(tmp_path / "m.gguf")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"ready\n"
        assert len(list(tmp_path.iterdir())) == 2
        os.kill(process.pid, number)
        assert process.wait(HANG) == 128 + number
        assert process.stderr.read() == b""
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_every_byte_cut_off_is_noticed(tmp_path: Path) -> None:
    """A header cut off or changed at any place is refused, never an exception of another kind."""
    folder = builder.write_checkpoint(tmp_path / "c")
    path = folder / "model.safetensors"
    data = path.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    for length in range(0, header + 64, 97):
        path.write_bytes(data[:length])
        refusal(tmp_path, folder)
    for at in range(8, header, 61):
        path.write_bytes(data[:at] + b"\xff" + data[at + 1 :])
        with pytest.raises(ModelFormatError):
            convert(folder, tmp_path / "m.gguf")
