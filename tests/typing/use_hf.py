"""The interface of transformers as users write it; checked by mypy and pyright, never run."""

from pathlib import Path
from typing import Any

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
    LogitsProcessor,
    LogitsProcessorList,
    ModelConfig,
    StoppingCriteria,
    StoppingCriteriaList,
    TextGenerationPipeline,
    TextIteratorStreamer,
    TextStreamer,
    pipeline,
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
    assert_type(model(inputs.input_ids, use_cache=True, return_dict=True), CausalLMOutput)
    assert_type(model(inputs.input_ids, return_dict=False), CausalLMOutput | tuple[Any, ...])
    assert_type(model.half().float(), CausalLM)
    assert_type(model.num_parameters(), int)
    assert_type(sum(each.numel() for each in model.parameters()), int)
    assert_type(model.config.to_dict(), dict[str, Any])
    assert_type(model.config, ModelConfig)
    assert_type(model.config.n_positions, int)
    assert_type(model.engine, SantaCoder)

    AutoModelForCausalLM.from_pretrained()  # type: ignore[call-arg]
    AutoModelForCausalLM.from_pretrained("m", 2)  # type: ignore[call-arg, arg-type]
    GenerationConfig(max_tokens=3)  # type: ignore[call-arg]
    GenerationConfig(temperature="hot")  # type: ignore[arg-type]


class Ban(LogitsProcessor):
    def __call__(self, input_ids: Any, scores: Any) -> Any:
        scores[:, 5] = -float("inf")
        return scores


class Short(StoppingCriteria):
    def __call__(self, input_ids: Any, scores: Any, **options: Any) -> bool:
        return bool(input_ids.shape[1] > 9)


def hooks(model: CausalLM, tokenizer: CodeTokenizer, inputs: BatchEncoding) -> None:
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, timeout=1.5, skip_special_tokens=True)
    model.generate(
        **inputs,
        logits_processor=LogitsProcessorList([Ban(), lambda input_ids, scores: scores]),
        stopping_criteria=StoppingCriteriaList([Short()]),
        streamer=streamer,
        bad_words_ids=[[1, 2]],
        max_time=2.5,
    )
    assert_type(list(streamer), list[str])
    TextStreamer(tokenizer).on_finalized_text("x", stream_end=True)
    config = GenerationConfig(min_new_tokens=1, return_dict_in_generate=True, output_scores=True)
    assert_type(config.to_dict(), dict[str, Any])
    generator = pipeline("text-generation", model=model, tokenizer=tokenizer, max_new_tokens=4)
    assert_type(generator, TextGenerationPipeline)
    generator(["a", "b"], batch_size=2, return_full_text=False)

    GenerationConfig(max_time="long")  # type: ignore[arg-type]
    pipeline(5)  # type: ignore[arg-type]
    TextStreamer()  # type: ignore[call-arg]


def tokenize(tokenizer: CodeTokenizer) -> None:
    assert_type(tokenizer.tokenize("def f():"), list[str])
    assert_type(tokenizer.pad([{"input_ids": [1, 2]}], return_tensors="np"), BatchEncoding)
    assert_type(tokenizer("x", return_offsets_mapping=True, text_pair=None), BatchEncoding)
    fast: bool = tokenizer.is_fast
    assert fast
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
