"""A program that has NumPy raise or warn where a number underflows or overflows: every result stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import santacoder
from santacoder.decoding.logprobs import log_softmax, token_logprobs
from santacoder.decoding.options import SamplingParams
from santacoder.decoding.sampler import Sampler
from santacoder.harness.pass_at_k import pass_at_k
from santacoder.hf import AutoModelForCausalLM
from santacoder.quantize import quantize
from santacoder.scoring import perplexity
from tests.support import checkpoint_builder as builder
from tests.support.gguf_builder import tiny_builder
from tests.support.samples import CODE

PROMPT = [5, 6, 7]
MOST = float(np.finfo(np.float32).max)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose logits differ by thousands, so that most probabilities are 0 in float64."""
    made = tiny_builder(weight_type="F32", context=64)
    norm = made.tensor("output_norm.weight")
    norm.data = (np.frombuffer(norm.data, np.float32) * np.float32(500)).tobytes()
    path = tmp_path_factory.mktemp("model") / "steep.gguf"
    path.write_bytes(made.build())
    return path


def results(path: Path) -> list[Any]:
    """Everything that uses NumPy: scores, samples, evaluations, `santacoder.hf`."""
    sampled: dict[str, Any] = {
        "max_tokens": 8, "temperature": 0.7, "top_k": 9, "min_p": 0.1, "seed": 3, "ignore_eos": True, "logprobs": 4,
        "repetition_penalty": 1.3, "frequency_penalty": 0.3, "presence_penalty": -0.1, "logit_bias": {3: 1e-300},
    }  # fmt: skip
    with santacoder.load(path, threads=1) as model:
        text = "def f(a):\n    return a\n"
        completion = model.complete(PROMPT, **sampled)
        likelihood = perplexity.measure_likelihood(model, text)
        divergence = perplexity.measure_divergence(model, model, text)
        session = model.session()
        found: list[Any] = [
            np.ptp(model.logits(PROMPT)) > 746,
            model.score(PROMPT),
            model.score(PROMPT).total,
            model.score_many([PROMPT, PROMPT[:2]]),
            (completion.tokens, completion.logprobs),
            session.complete("def f", **sampled).logprobs,
            (likelihood, likelihood.perplexity, perplexity.Likelihood.total([likelihood] * 2)),
            (divergence, divergence.perplexity_ratio, perplexity.Divergence.total([divergence] * 2)),
        ]
    door = AutoModelForCausalLM.from_pretrained(path, threads=1)
    ids = np.array([PROMPT])
    options: dict[str, Any] = {"max_new_tokens": 4, "repetition_penalty": 1.2, "eos_token_id": []}
    found += [door.generate(ids, **options).tolist(), door.generate(ids, do_sample=True, seed=1, **options).tolist()]
    return [*found, door(ids).logits.tobytes()]


def functions() -> list[Any]:
    """Computations on the largest and the smallest numbers."""
    extreme = np.array([MOST, -MOST, 1e-45, 0], dtype=np.float32)
    steep = np.array([0, -1e4, 1e-40, -800], dtype=np.float32)
    found: list[Any] = [log_softmax(extreme).tolist(), token_logprobs(steep, 1, 3)]
    for options in ({"repetition_penalty": 100.0}, {"frequency_penalty": 2.0}, {"logit_bias": {1: -1e-50, 2: 100.0}}):
        params = SamplingParams(temperature=0.5, **options)
        found.append(Sampler(params, 4, [3], 1, prompt=[1, 2]).next(np.array([5, 1e-45, -1e-45, 0], np.float32)))
    return [*found, pass_at_k(3000, [0, 1500, 3000], 1500).tolist()]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of its weights are less than half precision and float32 can hold."""
    pytest.importorskip("safetensors")
    tensors = builder.weights("linear-mqa")
    for values in tensors.values():
        values.reshape(-1)[::3] = np.float32(1e-42)
    return builder.write_checkpoint(tmp_path_factory.mktemp("checkpoint"), "linear-mqa", tensors=tensors)


def files(path: Path, checkpoint: Path, folder: Path) -> list[bytes]:
    """Models that were rounded."""
    for kind in ("f16", "q8_0"):
        santacoder.convert(checkpoint, folder / f"{kind}.gguf", kind, force=True)
    quantize(path, folder / "rounded.gguf", "q8_0", calibration=[CODE * 20], threads=1, force=True)
    return [(folder / f"{name}.gguf").read_bytes() for name in ("f16", "q8_0", "rounded")]


@contextmanager
def numpy_says(setting: Any) -> Iterator[None]:
    """A program's settings; warnings are errors in these tests."""

    def stop(kind: str, flag: int) -> None:
        raise FloatingPointError(kind)

    with np.errstate(all=setting, call=stop):
        yield
        assert np.geterr() == dict.fromkeys(("divide", "over", "under", "invalid"), setting)


@pytest.mark.parametrize("setting", ["raise", "warn", "call"])
class TestResultsDoNotFollow:
    def test_models(self, setting: str, path: Path) -> None:
        expected = results(path)
        assert expected[0]
        with numpy_says(setting):
            assert results(path) == expected

    def test_functions(self, setting: str) -> None:
        with np.errstate(all="ignore"):
            expected = functions()
        with numpy_says(setting):
            assert functions() == expected

    def test_files(self, setting: str, path: Path, checkpoint: Path, tmp_path: Path) -> None:
        expected = files(path, checkpoint, tmp_path)
        with numpy_says(setting):
            assert files(path, checkpoint, tmp_path) == expected


def test_the_setting_is_real() -> None:
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match="underflow"):
        np.exp(np.float64(-746))
