"""HumanEval as the bigcode evaluation harness generates it through santacoder.hf: greedy texts are our own runner's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from santacoder.harness.sampling_run import Sampling, sample_problems
from santacoder.harness.tasks import Problem
from santacoder.hf import AutoModelForCausalLM, AutoTokenizer, CausalLM, StoppingCriteria, StoppingCriteriaList
from santacoder.sources.packaged import packaged_model
from tests.support.harness_samples import problems_of

LENGTH = 96  # tokens of prompt and completion


class EndOfFunction(StoppingCriteria):
    """Stops where all rows of the batch hold a stop string, as the harness does."""

    def __init__(self, tokenizer: Any, stops: list[str]) -> None:
        self.tokenizer = tokenizer
        self.stops = stops
        self.start_length = 0

    def __call__(self, input_ids: Any, scores: Any, **options: Any) -> bool:
        texts = self.tokenizer.batch_decode(input_ids[:, self.start_length :])
        return all(any(stop in text for stop in self.stops) for text in texts)


@pytest.fixture(scope="module")
def model() -> Iterator[CausalLM]:
    model = AutoModelForCausalLM.from_pretrained(
        packaged_model(), revision=None, trust_remote_code=True, token=None, threads=2
    )
    yield model
    model.engine.close()


def generate(model: CausalLM, problems: list[Problem], kind: str) -> list[str]:
    """Return the completions, cut at their stop strings."""
    tokenizer = AutoTokenizer.from_pretrained(
        packaged_model(), revision=None, trust_remote_code=True, token=None, padding_side="right"
    )
    tokenizer.pad_token = tokenizer.eos_token
    stops = [*problems[0].stops, tokenizer.eos_token or ""]
    criterion = EndOfFunction(tokenizer, stops)
    options: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    prompts = [problem.prompt for problem in problems]
    batch = tokenizer(
        prompts, padding=True, truncation=True, return_tensors=kind, max_length=LENGTH, return_token_type_ids=None
    )
    texts = []
    for prompt, row, mask in zip(prompts, batch.input_ids, batch.attention_mask, strict=True):
        length = int(mask.sum())
        criterion.start_length = length
        inputs = row[None, :length]
        generated = model.to("cpu").generate(
            input_ids=inputs,
            num_return_sequences=1,
            max_length=LENGTH,
            stopping_criteria=StoppingCriteriaList([criterion]),
            **options,
        )
        text = tokenizer.decode(generated[0], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert text.startswith(prompt)
        completion = text[len(prompt) :]
        texts.append(completion[: min([completion.find(stop) for stop in stops if stop in completion], default=None)])
    return texts


@pytest.mark.parametrize("kind", ["np", "pt"])
def test_greedy_texts(model: CausalLM, kind: str) -> None:
    if kind == "pt":
        pytest.importorskip("torch")
    problems = problems_of("humaneval")
    found = generate(model, problems, kind)
    sampling = Sampling(n_samples=1, max_tokens=LENGTH, max_length=LENGTH, seed=0, temperature=0)
    samples = sample_problems(model.engine, [(problem, 0) for problem in problems], sampling)
    expected = {sample.task_id: sample for sample in samples}
    assert found == [expected[problem.task_id].completion for problem in problems]
    assert {sample.finish_reason for sample in expected.values()} >= {"stop"}
    assert all(found)
