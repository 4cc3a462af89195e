"""Our results against the original implementations', if transformers and torch are installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import santacoder
from santacoder.conversion.convert import convert
from tests.support import checkpoint_builder as builder
from tests.support import make_checkpoint_logits as originals
from tests.support import reference

pytest.importorskip("safetensors")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TOKENS = builder.tokens()


@pytest.mark.parametrize("layout", builder.LAYOUTS)
def test_stored_logits(tmp_path: Path, layout: str) -> None:
    """tests/data holds what the installed transformers computes."""
    rows = originals.logits(layout, builder.write_checkpoint(tmp_path / "c", layout), TOKENS)
    with np.load(originals.OUT) as arrays:
        np.testing.assert_allclose(arrays[layout], rows[list(builder.STORED)], atol=1e-5)


@pytest.mark.parametrize("count", [1, 200])
@pytest.mark.parametrize("layout", builder.LAYOUTS)
def test_all_positions(tmp_path: Path, layout: str, count: int) -> None:
    folder = builder.write_checkpoint(tmp_path / "c", layout)
    expected = originals.logits(layout, folder, TOKENS[:count])
    convert(folder, tmp_path / "m.gguf", "f32")
    exact = reference.forward(*reference.load(tmp_path / "m.gguf"), TOKENS[:count])
    assert reference.mean_kl(expected, exact) < 1e-12
    with santacoder.load(tmp_path / "m.gguf", threads=1) as model:
        assert reference.mean_kl(expected, model.logits(TOKENS[:count])) < 1e-9


@pytest.mark.parametrize("kind", ["mqa", "mha", "gpt2"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_transformers_saves(tmp_path: Path, kind: str, dtype: str) -> None:
    """A checkpoint written by save_pretrained, in shards, with weights that transformers draws."""
    torch.manual_seed(1)
    sizes = {"vocab_size": builder.VOCABULARY, "n_positions": 64, "n_embd": 64, "n_layer": 2, "n_head": 4}
    options = {"bos_token_id": None, "eos_token_id": None, "initializer_range": 0.2, **sizes}
    if kind == "gpt2":
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**options))
    else:
        model = transformers.GPTBigCodeForCausalLM(transformers.GPTBigCodeConfig(multi_query=kind == "mqa", **options))
    model = model.to(getattr(torch, dtype)).eval()
    model.save_pretrained(tmp_path / "c", max_shard_size="100KB")
    assert len(list((tmp_path / "c").glob("model-*.safetensors"))) > 1
    builder.write_json(tmp_path / "c" / "tokenizer.json", builder.tokenizer())
    convert(tmp_path / "c", tmp_path / "m.gguf", "f32")
    with torch.no_grad():
        expected = model.double()(torch.tensor([TOKENS[:64]])).logits[0].numpy()
    assert reference.mean_kl(expected, reference.forward(*reference.load(tmp_path / "m.gguf"), TOKENS[:64])) < 1e-12


def test_tokenizer(tmp_path: Path) -> None:
    """The ids of transformers' own tokenizer for the checkpoint."""
    folder = builder.write_checkpoint(tmp_path / "c", "linear-mqa")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    convert(folder, tmp_path / "m.gguf", "f32")
    with santacoder.load(tmp_path / "m.gguf", threads=1) as model:
        for text in ("def f(x):\n    return x1234 + 5", "é日本 12", "a<fim-prefix>b<|endoftext|>"):
            assert model.tokenizer.encode(text) == theirs(text)["input_ids"]
