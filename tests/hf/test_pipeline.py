"""`santacoder.hf.pipeline` by itself; test_calls.py compares it with that of transformers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import santacoder
from santacoder.hf import CausalLM, GenerationConfig, TextGenerationPipeline, pipeline, set_seed
from tests.support.paths import FILE

TEXTS = ["def f():", "x", "import os\n\nprint("]
GREEDY: dict[str, Any] = {"do_sample": False, "max_new_tokens": 6}


@pytest.fixture(scope="module")
def pipe(model: CausalLM) -> TextGenerationPipeline:
    return pipeline("text-generation", model=model)


@pytest.mark.parametrize("options", [{}, {"tokenizer": FILE}, {"device": -1}, {"device": "cpu", "torch_dtype": "auto"}])
def test_by_name(options: dict[str, Any]) -> None:
    made = pipeline("text-generation", str(FILE), model_kwargs={"threads": 1}, **options)
    assert made.model.name_or_path == str(FILE)
    assert made("x", **GREEDY)[0]["generated_text"].startswith("x")
    assert (made.task, str(made.device)) == ("text-generation", "cpu")


def test_texts(pipe: TextGenerationPipeline) -> None:
    engine = pipe.model.engine
    expected = [
        engine.complete(text, temperature=0, max_tokens=6, any_token=True, token_healing=False).text for text in TEXTS
    ]
    assert [pipe(text, **GREEDY) for text in TEXTS] == [
        [{"generated_text": text + new}] for text, new in zip(TEXTS, expected, strict=True)
    ]
    for size in (1, 2, 3):
        records = pipe(TEXTS, batch_size=size, return_full_text=False, **GREEDY)
        assert records == [[{"generated_text": new}] for new in expected]
    assert list(pipe(iter(TEXTS), batch_size=2, **GREEDY)) == pipe(TEXTS, **GREEDY)
    assert pipe([], **GREEDY) == []


def test_iterables_are_read_as_results_are_asked(pipe: TextGenerationPipeline) -> None:
    given: list[str] = []

    def texts() -> Iterator[str]:
        for text in TEXTS:
            given.append(text)
            yield text

    results = pipe(texts(), **GREEDY)
    assert given == []
    next(results)
    assert given == TEXTS[:1]


def test_defaults(model: CausalLM, pipe: TextGenerationPipeline) -> None:
    arrays = pipeline(model=model, framework="np")
    set_seed(1)
    first = arrays("x", return_tensors=True)[0]["generated_token_ids"]
    set_seed(1)
    ids = pipe.tokenizer("x", return_tensors="np").input_ids
    options: dict[str, Any] = {"do_sample": True, "temperature": 0.7, "max_new_tokens": 256 - ids.shape[1]}
    assert first == model.generate(ids, **options)[0].tolist()
    options = {"max_new_tokens": 9, "eos_token_id": []}
    for config in (GenerationConfig(do_sample=False, **options), GenerationConfig(temperature=1.0, seed=1, **options)):
        [record] = arrays("x", return_tensors=True, generation_config=config)
        config.do_sample = config.do_sample is not False
        assert record["generated_token_ids"] == model.generate(ids, config)[0].tolist()
    config = GenerationConfig(max_new_tokens=2, eos_token_id=[])
    assert len(pipe("x", return_tensors=True, generation_config=config)[0]["generated_token_ids"]) == ids.shape[1] + 2
    longer = pipe("x", max_new_tokens=4, return_tensors=True, eos_token_id=[])[0]["generated_token_ids"]
    assert len(longer) == ids.shape[1] + 4
    with_defaults = pipeline(model=model, max_new_tokens=3, do_sample=False, eos_token_id=[])
    assert len(with_defaults("x", return_tensors=True)[0]["generated_token_ids"]) == ids.shape[1] + 3
    assert len(with_defaults("x", max_length=ids.shape[1] + 1, max_new_tokens=None, return_tensors=True)) == 1


def test_long_prompts_get_what_fits(pipe: TextGenerationPipeline) -> None:
    prompts = ["x " * 100, "y"]
    options: dict[str, Any] = {"do_sample": False, "eos_token_id": [], "return_tensors": True}
    records = pipe(prompts, batch_size=2, **options)
    assert [len(record["generated_token_ids"]) for [record] in records] == [256, 256]
    assert records == pipe(prompts, **options)


def test_several(pipe: TextGenerationPipeline) -> None:
    records = pipe(TEXTS[:2], num_return_sequences=3, max_new_tokens=8, do_sample=True, seed=3, batch_size=2)
    assert [len(each) for each in records] == [3, 3]
    assert records[0] == pipe(TEXTS[0], num_return_sequences=3, max_new_tokens=8, do_sample=True, seed=3)
    assert len({record["generated_text"] for record in records[0]}) == 3
    hooks: dict[str, Any] = {"logits_processor": [lambda ids, scores: scores], "return_dict_in_generate": True}
    assert pipe("x", **GREEDY, **hooks) == pipe("x", **GREEDY)


def test_empty_text(pipe: TextGenerationPipeline) -> None:
    [[record], _] = pipe(["", "x"], batch_size=2, eos_token_id=[], **GREEDY)
    assert record == pipe("", eos_token_id=[], **GREEDY)[0]
    assert record["generated_text"] != ""


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda pipe: pipeline("fill-mask", model=pipe.model), "task is 'fill-mask', but it must be 'text-generation'"),
        (lambda pipe: pipeline("text-generation"), "pipeline() needs a model: "),
        (lambda pipe: pipeline(model=pipe.model, device=0), "the device is '0', but this library runs on the CPU only"),
        (lambda pipe: pipe(5), "text_inputs is 5, but it must be a text or a list of texts"),
        (lambda pipe: pipe([5]), "the text is a int, but it must be a str"),
        (lambda pipe: pipe([{"role": "user", "content": "hi"}]), "apply_chat_template() needs a chat template"),
        (lambda pipe: pipe([[{"role": "user", "content": "hi"}]]), "apply_chat_template() needs a chat template"),
        (
            lambda pipe: pipe("x", handle_long_generation="hole"),
            "handle_long_generation is 'hole', but pipeline()",
        ),
        (lambda pipe: pipe("x", return_text=True, return_tensors=True), "return_text and return_tensors exclude each"),
        (lambda pipe: pipe("x", batch_size=0), "batch_size is 0, but it must be an integer of 1 or more"),
        (lambda pipe: pipe("x", num_beams=3), "num_beams is 3, but generate() lacks this feature"),
        (lambda pipe: pipe("x", colour=3), "generate() does not know colour"),
    ],
)
def test_bad_calls(pipe: TextGenerationPipeline, call: Any, message: str) -> None:
    with pytest.raises(santacoder.InvalidRequestError) as error:
        call(pipe)
    assert str(error.value).startswith(message)


def test_repr(pipe: TextGenerationPipeline) -> None:
    assert repr(pipe).startswith("<TextGenerationPipeline: <CausalLM ")
