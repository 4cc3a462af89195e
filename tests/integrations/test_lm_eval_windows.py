"""Which tokens are scored after which for lm-eval's requests: fixed examples, and against HFLM, lm-eval's own model."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import santacoder
from santacoder.conversion.convert import convert
from santacoder.errors import ContextOverflowError, InvalidRequestError
from tests.support import checkpoint_builder as builder
from tests.support import lm_eval_parts

CONTEXT = 8
LETTERS = "abcghijklmnopqrstuvw"  # none of which merges with another: one token each


def instances(*arguments: tuple[Any, ...]) -> list[Any]:
    """Requests as lm-eval makes them."""
    return [SimpleNamespace(args=each, task_name="a") for each in arguments]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("safetensors")
    return builder.write_checkpoint(tmp_path_factory.mktemp("checkpoint"), "linear-mqa")


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Iterator[santacoder.SantaCoder]:
    convert(checkpoint, checkpoint / "m.gguf", "f32")
    with santacoder.load(checkpoint / "m.gguf", threads=1, context=CONTEXT) as model:
        yield model


@pytest.fixture
def lm(model: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch) -> Any:
    return lm_eval_parts.integration(monkeypatch).SantaCoderLM(model)


class Asked:
    """Records what a model is asked to score, in place of its `score_many`."""

    def __init__(self, model: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sequences: list[list[int]] = []
        self._score_many = model.score_many
        monkeypatch.setattr(model, "score_many", self)

    def __call__(self, prompts: list[list[int]], **options: Any) -> list[santacoder.Score]:
        self.sequences += prompts
        return self._score_many(prompts, **options)


def total(model: santacoder.SantaCoder, tokens: list[int], count: int) -> float:
    """The log-probability of the last `count` tokens."""
    return sum(value for value in model.score(tokens).logprobs[-count:] if value is not None)


def test_windows_read_the_whole_context(lm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reads as many tokens as the context has, and the one after them is scored too."""
    asked = Asked(lm.model, monkeypatch)
    t = lm.tok_encode(LETTERS)
    assert len(t) == 20
    (found,) = lm.loglikelihood_rolling(instances((LETTERS,)), disable_tqdm=True)
    windows = [[lm.eot_token_id, *t[:8]], t[7:16], t[11:20]]
    assert asked.sequences == windows
    assert found == pytest.approx(sum(map(total, [lm.model] * 3, windows, [8, 8, 4])), abs=1e-9)
    lm.loglikelihood_rolling(instances((LETTERS[:8],), (LETTERS[:9],), ("a",), ("",)), disable_tqdm=True)
    assert asked.sequences[3:] == [windows[0], windows[0], t[:9], [lm.eot_token_id, t[0]]]


def test_truncation_keeps_one_token_more_than_the_context(lm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(lm.model, monkeypatch)
    t = lm.tok_encode(LETTERS)
    pairs = [
        (LETTERS[:5], LETTERS[5:9]),
        (LETTERS[:5], LETTERS[5:10]),
        (LETTERS[:17], LETTERS[17:]),
        ("a", LETTERS[1:9]),
    ]
    found = lm.loglikelihood(instances(*pairs), disable_tqdm=True)
    assert asked.sequences == [t[:9], t[1:10], t[11:20], t[:9]]
    for (value, _), sequence, (_, text) in zip(found, asked.sequences, pairs, strict=True):
        assert value == pytest.approx(total(lm.model, sequence, len(text)), abs=1e-9)
    message = "^a continuation has 9 tokens, but the context has 8 positions$"
    with pytest.raises(ContextOverflowError, match=message):
        lm.loglikelihood(instances(("a", LETTERS[1:10])), disable_tqdm=True)


@pytest.mark.parametrize(("context", "continuation"), [("de", "f"), ("xd", "ef"), ("d", "e"), ("d", "ef")])
def test_a_token_shared_by_context_and_continuation(lm: Any, context: str, continuation: str) -> None:
    """No token of both is left for the continuation, so it is encoded by itself; other requests are not affected."""
    before, after = lm.tok_encode(context), lm.tok_encode(continuation)
    assert len(lm.tok_encode(context + continuation)) <= len(before)
    other = ("a", "b")
    found = lm.loglikelihood(instances(other, (context, continuation), other), disable_tqdm=True)
    assert found[1][0] == pytest.approx(total(lm.model, [*before, *after], len(after)), abs=1e-9)
    assert found[0] == found[2] == lm.loglikelihood(instances(other), disable_tqdm=True)[0]


def test_an_empty_continuation(lm: Any) -> None:
    for context in ("a", ""):
        with pytest.raises(InvalidRequestError, match=f"^the continuation of '{context}' is empty: there is nothing"):
            lm.loglikelihood(instances(("a", "b"), (context, "")), disable_tqdm=True)


def text(rng: random.Random, length: int) -> str:
    """Characters that often merge, over the borders of texts too."""
    return "".join(
        rng.choice(["d", "e", "f", "def", " ", "  ", "\n", " r", "et", "x", "é", "7"]) for _ in range(length)
    )


@pytest.mark.filterwarnings("ignore")  # from the other project's imports
class TestBesideHFLM:
    @pytest.fixture(scope="class")
    def theirs(self, checkpoint: Path) -> Any:
        pytest.importorskip("lm_eval")
        transformers = pytest.importorskip("transformers")
        huggingface = pytest.importorskip("lm_eval.models.huggingface")
        end = "<|endoftext|>"
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(checkpoint / "tokenizer.json"), eos_token=end, bos_token=end, pad_token=end
        )
        original = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype="float32")
        return huggingface.HFLM(
            pretrained=original.eval(), tokenizer=tokenizer, max_length=CONTEXT, device="cpu", batch_size=4
        )

    @pytest.mark.parametrize("seed", range(8))
    def test_log_likelihoods(self, theirs: Any, lm: Any, seed: int) -> None:
        rng = random.Random(seed)
        pairs: list[tuple[str, str]] = []
        while len(pairs) < 25:
            pair = rng.choice(["", text(rng, rng.randint(1, 14))]), text(rng, rng.randint(1, 5))
            if (not pair[0] or pair[0].strip()) and len(lm.tok_encode(" " * 9 + pair[1])) <= CONTEXT:
                pairs.append(pair)
        expected = []
        for context, continuation in pairs:
            if not context or theirs._encode_pair(context, continuation)[1]:
                expected += theirs.loglikelihood(instances((context, continuation)), disable_tqdm=True)
            else:  # it refuses these
                both = theirs.tok_encode(context), theirs.tok_encode(continuation)
                expected += theirs._loglikelihood_tokens([((context, continuation), *both)], disable_tqdm=True)
        found = lm.loglikelihood(instances(*pairs), disable_tqdm=True)
        assert [value for value, _ in found] == pytest.approx([value for value, _ in expected], abs=2e-3)
        assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]

    @pytest.mark.parametrize("seed", range(4))
    def test_rolling(self, theirs: Any, lm: Any, seed: int) -> None:
        rng = random.Random(seed)
        texts = [(text(rng, rng.randint(0, 40)),) for _ in range(12)]
        found = lm.loglikelihood_rolling(instances(*texts), disable_tqdm=True)
        expected = theirs.loglikelihood_rolling(instances(*texts), disable_tqdm=True)
        assert found == pytest.approx(expected, abs=5e-3)
