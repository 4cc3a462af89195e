"""Which type each tensor of a model gets."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import gguf
import pytest

from santacoder.errors import InvalidRequestError
from santacoder.gguf.config import Config
from santacoder.gguf.types import TYPES
from santacoder.quantize.mixes import MIXES, find_mix, tensor_types


def config(**changes: Any) -> Config:
    settings: dict[str, Any] = {
        "architecture": "starcoder", "name": "", "context_length": 2048, "embedding_length": 2048,
        "feed_forward_length": 8192, "block_count": 24, "head_count": 16, "head_count_kv": 1,
        "layer_norm_epsilon": 1e-5, "vocab_size": 49280, "tied_embeddings": True,
    }  # fmt: skip
    return Config(**{**settings, **changes})


def test_q4_k_m_of_santacoder() -> None:
    types = tensor_types(find_mix("Q4_K_M"), config())
    assert types["token_embd.weight"] == "Q6_K"
    assert types["position_embd.weight"] == types["blk.5.attn_qkv.bias"] == types["output_norm.weight"] == "F32"
    for name in ("attn_output", "ffn_up"):
        assert {types[f"blk.{layer}.{name}.weight"] for layer in range(24)} == {"Q4_K"}
    for name in ("attn_qkv", "ffn_down"):
        more = [layer for layer in range(24) if types[f"blk.{layer}.{name}.weight"] == "Q6_K"]
        assert more == [0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23]


def test_an_untied_head() -> None:
    types = tensor_types(find_mix("q4_k_m"), config(tied_embeddings=False))
    assert (types["output.weight"], types["token_embd.weight"]) == ("Q6_K", "Q4_K")


@pytest.mark.parametrize(("width", "fallback"), [(96, "Q8_0"), (48, "F16")])
def test_rows_that_do_not_divide_into_blocks(width: int, fallback: str) -> None:
    types = tensor_types(find_mix("q4_k_s"), config(embedding_length=width, head_count=2, feed_forward_length=512))
    assert types["blk.3.ffn_up.weight"] == types["token_embd.weight"] == fallback
    assert types["blk.3.ffn_down.weight"] == "Q4_K"


@pytest.mark.parametrize("name", ["q2_k", "", "Q4_1", None])
def test_unknown(name: Any) -> None:
    with pytest.raises(InvalidRequestError, match=rf"^the type is {name!r}, but it must be one of f32, f16"):
        find_mix(name)


def test_floats() -> None:
    for name in ("f32", "f16", "bf16"):
        types = tensor_types(MIXES[name], config())
        assert {types["token_embd.weight"], types["blk.0.attn_qkv.weight"]} == {name.upper()}
        assert types["position_embd.weight"] == types["blk.0.attn_qkv.bias"] == "F32"


@pytest.mark.parametrize("name", MIXES)
def test_numbers_are_those_of_llama_cpp(name: str) -> None:
    expected = gguf.LlamaFileType.ALL_F32 if name == "f32" else gguf.LlamaFileType[f"MOSTLY_{name.upper()}"]
    assert MIXES[name].file_type == expected


def test_every_type_that_can_be_written_is_in_a_mix() -> None:
    types = {kind for mix in MIXES.values() for kind in tensor_types(mix, config()).values()}
    assert types == {kind.name for kind in TYPES.values() if kind.writable}


def test_names_are_quick_to_import() -> None:
    """The command line shows them in its help."""
    slow = "{'numpy', 'gguf', 'santacoder._native'}"
    code = f"import sys, santacoder.quantize.mixes; sys.exit(str({slow} & set(sys.modules) or ''))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr == "\n"
