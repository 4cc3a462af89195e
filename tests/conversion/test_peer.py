"""Converted checkpoints in llama.cpp: it loads them, sees the same tokens and computes nearly the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support import checkpoint_builder as builder
from tests.support import reference
from tests.support.paths import DATA

pytest.importorskip("llama_cpp", exc_type=ImportError)
pytest.importorskip("safetensors")

import llama_cpp

from bench.peers.llama_cpp_peer import LlamaCpp
from santacoder.conversion.convert import convert

pytestmark = pytest.mark.peer

TOKENS = builder.tokens()
ROWS = list(builder.STORED)


@pytest.mark.parametrize("type_name", ["f32", "f16", "bf16", "q8_0"])
@pytest.mark.parametrize("layout", builder.LAYOUTS)
def test_logits(tmp_path: Path, layout: str, type_name: str) -> None:
    """Its F16 cache and its GELU table cost 1e-6; with q8_0 and bf16, rounding costs more."""
    out = tmp_path / "m.gguf"
    convert(builder.write_checkpoint(tmp_path / "c", layout), out, type_name)
    with LlamaCpp(out, threads=1, n_ctx=256) as theirs:
        logits = theirs.logits(TOKENS)
    exact = reference.forward(*reference.load(out), TOKENS)
    assert reference.mean_kl(exact, logits) < (1e-3 if type_name in ("q8_0", "bf16") else 1e-5)
    with np.load(DATA / "checkpoint-logits.npz") as arrays:
        assert reference.mean_kl(arrays[layout], logits[ROWS]) < (1e-5 if type_name == "f32" else 5e-3)


@pytest.mark.parametrize("fim", [True, False])
def test_special_tokens(tmp_path: Path, fim: bool) -> None:
    out = tmp_path / "m.gguf"
    convert(builder.write_checkpoint(tmp_path / "c", special=False), out, fim=fim)
    first = builder.BPE_TOKENS
    with LlamaCpp(out, threads=1, n_ctx=256) as theirs:
        vocabulary = llama_cpp.llama_model_get_vocab(theirs._model)
        found = [getattr(llama_cpp, f"llama_vocab_{name}")(vocabulary) for name in ("fim_pre", "fim_mid", "fim_suf")]
        assert found == ([first + 1, first + 2, first + 3] if fim else [-1] * 3)
        assert llama_cpp.llama_vocab_eos(vocabulary) == first
        assert llama_cpp.llama_vocab_is_eog(vocabulary, first)
        assert not llama_cpp.llama_vocab_get_add_bos(vocabulary)
        assert llama_cpp.llama_vocab_is_control(vocabulary, first + 1) == fim
