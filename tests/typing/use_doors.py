"""Every way to a model and to its plugins, as users write it; checked by mypy and pyright, never run."""

from pathlib import Path

from typing_extensions import assert_type

import santacoder
from santacoder.cli import main
from santacoder.hf import AutoModelForCausalLM, AutoTokenizer, CausalLM, CodeTokenizer
from santacoder.integrations.llm_plugin import AsyncModel, Model
from santacoder.integrations.lm_eval import SantaCoderLM


def library() -> None:
    assert_type(santacoder.load(), santacoder.SantaCoder)
    assert_type(santacoder.load("packaged", 2, 512), santacoder.SantaCoder)
    santacoder.load(Path("m.gguf"), threads=2, context=512)
    santacoder.load("bigcode/santacoder", revision="no-fim", type="q8_0", cache_dir=Path("hub"), token=True)
    santacoder.load(prefix_cache=Path("prefixes"), prefix_cache_bytes=1 << 30)
    santacoder.from_pretrained("owner/name", prefix_cache=True)
    santacoder.load("https://huggingface.co/bigcode/santacoder/tree/fim", local_files_only=True, force_download=True)
    assert_type(santacoder.from_pretrained("owner/name", "m.gguf", "main", 2, 512), santacoder.SantaCoder)
    santacoder.from_pretrained("owner/name", type="f16", cache_dir="hub", token="t", local_files_only=True)
    assert_type(santacoder.SantaCoder.load("owner/name", 2), santacoder.SantaCoder)
    santacoder.convert("owner/name", "m.gguf", "f16", "main", cache_dir="hub", token="t", local_files_only=True)

    santacoder.load(5)  # type: ignore[arg-type]
    santacoder.load("m.gguf", 2, 512, "f16")  # type: ignore[call-arg]
    santacoder.load("m.gguf", prefix_cache=1.5)  # type: ignore[arg-type]
    santacoder.load("m.gguf", type=1)  # type: ignore[arg-type]
    santacoder.load("m.gguf", trust_remote_code=True)  # type: ignore[call-arg]
    santacoder.from_pretrained()  # type: ignore[call-arg]


def interface_of_transformers() -> None:
    tokenizer = AutoTokenizer.from_pretrained("bigcode/santacoder", revision="fim", trust_remote_code=True)
    assert_type(tokenizer, CodeTokenizer)
    model = AutoModelForCausalLM.from_pretrained(
        "bigcode/santacoder", revision="fim", trust_remote_code=True, torch_dtype="auto", dtype=None, type="f16",
        cache_dir="hub", token=False, local_files_only=True, force_download=False,
    )  # fmt: skip
    assert_type(model, CausalLM)
    AutoModelForCausalLM.from_pretrained("bigcode/santacoder", type=16)  # type: ignore[arg-type]


def evaluation() -> None:
    lm = SantaCoderLM("owner/name", type="q8_0", revision="main", cache_dir="hub", token="t", local_files_only=True)
    assert_type(lm.model, santacoder.SantaCoder)
    SantaCoderLM("owner/name", type=8)  # type: ignore[arg-type]


def command_line() -> None:
    assert_type(main(["cache", "list", "--json"]), int)
    assert_type(main(), int)

    main(7)  # type: ignore[arg-type]


def command_llm() -> None:
    assert_type((Model().model_id, AsyncModel().model_id), tuple[str, str])
    assert_type((Model().can_stream, AsyncModel().can_stream), tuple[bool, bool])
