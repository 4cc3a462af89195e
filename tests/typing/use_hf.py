"""The interface of transformers as users write it; checked by mypy and pyright, never run."""

from pathlib import Path

from typing_extensions import assert_type

from santacoder import SantaCoder
from santacoder.hf import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BatchEncoding,
    CausalLM,
    CausalLMOutput,
    CodeTokenizer,
    GenerationConfig,
    ModelConfig,
    set_seed,
)


def generate() -> None:
    tokenizer = AutoTokenizer.from_pretrained("owner/name", gguf_file="m.gguf", padding_side="left")
    assert_type(tokenizer, CodeTokenizer)
    model = AutoModelForCausalLM.from_pretrained(Path("m.gguf"), trust_remote_code=True, threads=2).to("cpu").eval()
    assert_type(model, CausalLM)
    inputs = tokenizer(["def f():", "x"], padding=True, return_tensors="np").to("cpu")
    assert_type(inputs, BatchEncoding)
    set_seed(1)
    outputs = model.generate(**inputs, max_new_tokens=8, do_sample=True)
    assert_type(tokenizer.batch_decode(outputs, skip_special_tokens=True), list[str])
    assert_type(tokenizer.decode(outputs[0], skip_special_tokens=True), str)
    assert_type(model(inputs.input_ids, inputs["attention_mask"]), CausalLMOutput)
    model.generate(inputs.input_ids, GenerationConfig(max_new_tokens=4, eos_token_id=[1, 2], stop_strings="\n"))
    model.generation_config.top_k = None
    assert_type(model.config, ModelConfig)
    assert_type(model.config.n_positions, int)
    assert_type(model.engine, SantaCoder)

    AutoModelForCausalLM.from_pretrained()  # type: ignore[call-arg]
    AutoModelForCausalLM.from_pretrained("m", 2)  # type: ignore[call-arg, arg-type]
    AutoModelForCausalLM.from_pretrained("m", load_in_8bit=True)  # type: ignore[call-arg]
    model.generate(inputs, {"max_new_tokens": 3})  # type: ignore[arg-type]
    GenerationConfig(max_tokens=3)  # type: ignore[call-arg]
    GenerationConfig(temperature="hot")  # type: ignore[arg-type]


def tokenize(tokenizer: CodeTokenizer) -> None:
    assert_type(tokenizer.tokenize("def f():"), list[str])
    assert_type(tokenizer.get_vocab(), dict[str, int])
    assert_type((len(tokenizer), tokenizer.vocab_size), tuple[int, int])
    assert_type(tokenizer.eos_token_id, int | None)
    assert_type(tokenizer.eos_token, str | None)
    assert_type(tokenizer.all_special_tokens, list[str])
    assert_type(tokenizer.convert_tokens_to_string(["a", "b"]), str)
    tokenizer.pad_token = tokenizer.eos_token

    AutoTokenizer.from_pretrained("m", padding_side="up")  # type: ignore[arg-type]
    tokenizer(5)  # type: ignore[arg-type]
    tokenizer("a", padding=[])  # type: ignore[arg-type]
    tokenizer("a", True)  # type: ignore[call-arg]
    tokenizer.padding_side = "up"  # type: ignore[assignment]
    tokenizer.pad_token = 5  # type: ignore[assignment]
    tokenizer.decode()  # type: ignore[call-arg]
