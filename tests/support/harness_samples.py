"""Helpers of the tests of benchmark runs: small problem files, and a run on the packaged model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from santacoder.harness.record import SampleRecord
from santacoder.harness.sampling_run import Sampling, run_settings
from santacoder.harness.tasks import Problem, Task, find_task, read_problems
from santacoder.sources.packaged import packaged_model
from tests.support import paths

DATA = paths.DATA / "harness"
FILES = {
    "humaneval": DATA / "humaneval.jsonl",
    "mbpp": DATA / "mbpp.jsonl",
    "multiple-js": DATA / "multiple-js.jsonl",
    "fim": DATA / "fim.jsonl",
}
SAMPLING = Sampling(n_samples=3, max_tokens=24, max_length=512, seed=5, temperature=0.8)


def problems_of(name: str) -> list[Problem]:
    """The problems of a small file."""
    return read_problems(find_task(name), FILES[name])


def settings_of(name: str, sampling: Sampling = SAMPLING) -> dict[str, Any]:
    """The settings of a run on the packaged model."""
    task: Task = find_task(name)
    return run_settings(task, FILES[name], problems_of(name), packaged_model(), None, sampling)


class Answers:
    """A sample source with the text that `answer` returns for a problem and a sample's number."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def run(self, wanted: Sequence[tuple[Problem, int]], sampling: Sampling) -> Iterator[SampleRecord]:
        """See `SampleSource.run`."""
        for problem, index in wanted:
            yield SampleRecord(problem.task_id, index, self._answer(problem, index), "stop", 1, sampling.seed)


def lines(path: Path) -> list[Any]:
    """The documents of a JSONL file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
