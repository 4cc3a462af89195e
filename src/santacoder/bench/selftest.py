"""Whether this machine computes the same bits as every other: a piece of work, and the hashes of what it gives."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

import numpy as np

from santacoder import load
from santacoder._util.json_file import read_object
from santacoder.engine.isa import VARIABLE, available
from santacoder.errors import ModelFormatError
from santacoder.sources.packaged import packaged_model

#: The hashes by name; `make expected` writes them.
EXPECTED: Final = Path(__file__).parents[1] / "models" / "expected.json"
PROMPT: Final = 'def fibonacci(n):\n    """Return the n-th number."""\n    if n < 2:\n        return n\n    return'


@dataclass(frozen=True, slots=True)
class IsaResult:
    """What one instruction set computed.

    Attributes:
        isa: its name.
        seconds: that the work took, loading included.
        hashes: SHA-256 by the name of the result.
        wrong: names of the results that differ from those of other machines.
    """

    isa: str
    seconds: float
    hashes: dict[str, str]
    wrong: list[str]


def selftest(threads: int | None = None) -> Iterator[IsaResult]:
    """Yield the result of each instruction set that this CPU has, slowest first.

    Raises:
        ModelFormatError: the packaged model is not the one that was published.
        ModelNotFoundError: this installation lacks it.
    """
    expected = expected_hashes()
    if (found := model_hash()) != expected["model"]:
        raise ModelFormatError(
            f"{packaged_model()} is damaged: its SHA-256 is {found}, not {expected['model']}: install santacoder again"
        )
    for isa in available():
        start = perf_counter()
        hashes = compute_hashes(isa, threads)
        wrong = [name for name, value in hashes.items() if value != expected[name]]
        yield IsaResult(isa, perf_counter() - start, hashes, wrong)


def expected_hashes() -> dict[str, str]:
    """Read the hashes that every machine should find."""
    return read_object(EXPECTED)


def model_hash() -> str:
    """Return the SHA-256 of the packaged model."""
    return hashlib.sha256(packaged_model().read_bytes()).hexdigest()


def compute_hashes(isa: str, threads: int | None = None) -> dict[str, str]:
    """Load the packaged model for an instruction set, and return the SHA-256 of what it computes."""
    with _forced(isa), load("packaged", threads) as model:
        greedy = model.complete(PROMPT, max_tokens=24, temperature=0)
        sampled = model.complete(PROMPT, max_tokens=24, temperature=0.8, top_p=0.95, seed=7)
        infill = model.infill("def hello():\n    ", "\n    return name\n", max_tokens=12, temperature=0)
        scores = [value for value in model.score(PROMPT).logprobs if value is not None]
        return {
            "logits": _sha256(model.logits(PROMPT).astype("<f4").tobytes()),
            "greedy": _sha256(greedy.text.encode()),
            "sampled": _sha256(sampled.text.encode()),
            "infill": _sha256(infill.text.encode()),
            "score": _sha256(np.array(scores, dtype="<f8").tobytes()),
        }


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _forced(isa: str) -> Iterator[None]:
    """Choose the instruction set of models that are loaded meanwhile, in the whole process."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = isa
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        if before is not None:
            os.environ[VARIABLE] = before
