"""llama.cpp on the same files: equal text as far as rounding allows, and ours nearer to the exact logits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import reference
from numpy.typing import NDArray

pytest.importorskip("llama_cpp", exc_type=ImportError)

from llama_cpp_peer import LlamaCpp

import santacoder

pytestmark = pytest.mark.peer

DATA = Path(__file__).parent / "data"
PROMPT = 12
COUNT = 16

# Our divergence from the exact logits is at most this part of llama.cpp's. On K-quants we scale every 32
# activations and llama.cpp every 256; on Q8_0 both round alike, and neither can be ahead by much.
FIXTURES = {"mqa-q4_k_m": 0.8, "mha-q4_k_m": 0.8, "mqa-q8_0": 1.1}

# The logits spread by 1.2; either engine's are off by 0.03 (standard deviation) and by 0.17 at the most.
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
