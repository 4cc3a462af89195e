"""Scores of a run: pass@k for programs (Chen et al. 2021), exact match for infilling.

Confidence intervals are 95 % percentile bootstrap intervals over problems: 10,000 resamples of the problems, with a
fixed seed, so the same samples always give the same interval. They estimate how much the result would vary with other
problems of the same kind; the samples of each problem are not resampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from santacoder._util.atomic_file import atomic_file
from santacoder._util.line_file import json_line
from santacoder._util.progress import progress_bar
from santacoder.engine.fpenv import default_fpenv
from santacoder.harness.record import EXECUTIONS, RESULTS, SampleRecord, dump_json
from santacoder.harness.sandbox.runner import Limits, Verdict, run_programs
from santacoder.harness.tasks import Problem

RESAMPLES: Final = 10_000
BLOCK: Final = 250  # resamples in memory at once
CONFIDENCE: Final = 95.0
KS: Final = (1, 10, 100)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over problems, 0..1, and its confidence interval."""

    value: float
    low: float
    high: float


@default_fpenv()
def pass_at_k(n: int, correct: Sequence[int], k: int) -> NDArray[np.float64]:
    """Estimate without bias, for each problem, the probability that at least one of `k` samples passes.

    Args:
        n: samples of each problem, at least `k`.
        correct: how many of them passed, (P,).
        k: at least 1.

    Returns:
        (P,): 1 - C(n - c, k) / C(n, k), without overflow.
    """
    if not 1 <= k <= n:
        raise ValueError(f"k is {k}, but it must be in 1..{n}")
    factors = [1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1)) if n - c >= k else 1.0 for c in correct]
    return np.array(factors, dtype=np.float64)


def estimate(values: NDArray[np.float64]) -> Estimate:
    """Return the mean of one value per problem, (P,) with P at least 1, and its confidence interval."""
    random = np.random.default_rng(0)
    means = [
        values[random.integers(0, values.size, (BLOCK, values.size))].mean(axis=1) for _ in range(RESAMPLES // BLOCK)
    ]
    tail = (100.0 - CONFIDENCE) / 2
    low, high = np.percentile(np.concatenate(means), [tail, 100.0 - tail])
    return Estimate(float(values.mean()), float(low), float(high))


def score_programs(
    folder: Path,
    problems: Sequence[Problem],
    rows: Sequence[Sequence[SampleRecord]],
    limits: Limits,
    workers: int | None = None,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Execute every sample with its problem's tests, and write the verdicts and scores into the run's folder.

    Raises:
        IsolationError: programs cannot be executed safely here; none was executed.
    """
    programs = [
        problem.program(sample.completion) for problem, row in zip(problems, rows, strict=True) for sample in row
    ]
    with progress_bar(len(programs), "programs", progress, lines=True) as bar:
        verdicts = run_programs(programs, limits, workers, bar.update)
    _write_executions(folder, rows, verdicts)
    n = len(rows[0])
    passed = np.array([verdict.passed for verdict in verdicts]).reshape(len(rows), n)
    correct = passed.sum(axis=1).tolist()
    results = {
        "metric": "pass@k",
        "n_samples": n,
        "limits": asdict(limits),
        "pass@k": {str(k): asdict(estimate(pass_at_k(n, correct, k))) for k in KS if k <= n},
        "curve": [float(pass_at_k(n, correct, k).mean()) for k in range(1, n + 1)],
        "correct": dict(zip((problem.task_id for problem in problems), correct, strict=True)),
    }
    dump_json(folder / RESULTS, results)
    return results


def score_infilling(
    folder: Path, problems: Sequence[Problem], rows: Sequence[Sequence[SampleRecord]]
) -> dict[str, Any]:
    """Compare every sample with the right text, ignoring white space around both, and write the scores.

    A language's score is that of the bigcode harness: equal samples divided by all samples.
    """
    hits: dict[str, list[float]] = {}
    for problem, row in zip(problems, rows, strict=True):
        equal = [sample.completion.strip() == problem.check.strip() for sample in row]
        hits.setdefault(problem.group, []).append(sum(equal) / len(equal))
    every = [hit for group in hits.values() for hit in group]
    results = {
        "metric": "exact match",
        "n_samples": len(rows[0]),
        "exact match": {
            name: {**asdict(estimate(np.array(part))), "problems": len(part)}
            for name, part in {**dict(sorted(hits.items())), "all": every}.items()
        },
    }
    dump_json(folder / RESULTS, results)
    return results


def _write_executions(folder: Path, rows: Sequence[Sequence[SampleRecord]], verdicts: Sequence[Verdict]) -> None:
    samples = [sample for row in rows for sample in row]
    with atomic_file(folder / EXECUTIONS) as file:
        for sample, verdict in zip(samples, verdicts, strict=True):
            file.write(json_line({"task_id": sample.task_id, "sample": sample.sample, **asdict(verdict)}))
