"""llama.cpp on the same files: equal text as far as rounding allows, and ours nearer to the exact logits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support import reference
from tests.support.gguf_builder import tiny_builder
from tests.support.paths import DATA

pytest.importorskip("llama_cpp", exc_type=ImportError)

import santacoder
from bench.peers.llama_cpp_peer import LlamaCpp

pytestmark = pytest.mark.peer

PROMPT = 12
COUNT = 16

# Our divergence from the exact logits is at most this fraction of llama.cpp's. On K-quants we scale every 32
# activations and llama.cpp every 256; on Q8_0 both round alike, and neither can be ahead by much.
FIXTURES = {"mqa-q4_k_m": 0.8, "mha-q4_k_m": 0.8, "mqa-q8_0": 1.1}

# The logits' standard deviation is 1.2; the errors' of either engine is 0.03, and the largest error 0.17.
LARGEST_ERROR = 0.25
TIE = 0.15


class Case:
    """One file in both engines and in the reference, and its tokens cut into prompts."""

    def __init__(self, name: str) -> None:
        path = DATA / f"{name}.gguf"
        stored = np.load(path.with_suffix(".npz"))
        self.tokens: list[int] = stored["tokens"].tolist()
        self.exact: NDArray[np.float32] = stored["logits"]
        self.ratio = FIXTURES[name]
        self.prompts = [self.tokens[start : start + PROMPT] for start in range(0, 60, PROMPT)]
        self.weights, self.config = reference.load(path)
        self.ours = santacoder.load(path)
        self.theirs = LlamaCpp(path, threads=2, n_ctx=256)


@pytest.fixture(scope="module", params=FIXTURES)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    case = Case(request.param)
    with case.ours, case.theirs:
        yield case


def test_logits(case: Case) -> None:
    ours, theirs = case.ours.logits(case.tokens), case.theirs.logits(case.tokens)
    assert np.abs(ours - case.exact).max() < LARGEST_ERROR
    assert np.abs(theirs - case.exact).max() < LARGEST_ERROR
    assert reference.mean_kl(theirs, ours) < 2e-3
    assert reference.mean_kl(case.exact, ours) < case.ratio * reference.mean_kl(case.exact, theirs)


def test_greedy(case: Case) -> None:
    """After equal tokens both choose the same next one, unless the exact logits of the two nearly tie."""
    ties = 0
    for prompt in case.prompts:
        ours = case.ours.complete(prompt, max_tokens=COUNT, temperature=0, ignore_eos=True).tokens
        assert len(ours) == COUNT
        exact = reference.forward(case.weights, case.config, prompt + ours)[PROMPT - 1 : -1]  # (COUNT, V)
        for index, (logits, our) in enumerate(zip(exact, ours, strict=True)):
            [their] = case.theirs.greedy(prompt + ours[:index], 1)
            assert logits.max() - logits[[our, their]].min() < TIE
            ties += our != their
    assert ties <= len(case.prompts) * COUNT // 10


@pytest.mark.parametrize("kv_heads", [1, 4])
def test_scores_on_float32_weights(tmp_path: Path, kv_heads: int) -> None:
    """Nothing is quantised, so the log-probabilities are the same but for the order of sums and the f16 cache."""
    path = tmp_path / "model.gguf"
    builder = tiny_builder(layers=2, width=64, heads=4, kv_heads=kv_heads, context=256, weight_type="F32")
    path.write_bytes(builder.build())
    tokens = np.random.default_rng(kv_heads).integers(0, 256, 200).tolist()
    with santacoder.load(path) as ours, LlamaCpp(path, threads=2, n_ctx=256) as theirs:
        score, logits = ours.score(tokens), theirs.logits(tokens)
    expected = reference.log_softmax(logits)[range(199), tokens[1:]]
    assert np.abs(np.array(score.logprobs[1:], np.float64) - expected).max() < 2e-2
    assert np.mean(score.greedy[1:] == logits[:-1].argmax(1)) > 0.98
