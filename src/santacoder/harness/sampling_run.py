"""Generating the samples of a benchmark: one request for each, all in one batch, each recorded when it is finished.

A sample depends only on its prompt, the seed and its number, not on other samples, threads or machines. So a run that
was stopped continues with the samples that are missing, and ends with the same bytes as one that was not.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from santacoder._util.json_file import read_object
from santacoder._util.progress import progress_bar
from santacoder._util.validation import check_integer
from santacoder.decoding.options import SamplingOptions, SamplingParams
from santacoder.errors import ContextOverflowError, InvalidRequestError, SantaCoderError
from santacoder.gguf.config_reader import read_config
from santacoder.gguf.digest import file_sha256, model_sha256
from santacoder.gguf.reader import GGUFFile
from santacoder.harness.record import OF_PROBLEMS, SETTINGS, Record, SampleRecord, open_record
from santacoder.harness.run_log import RunLogEntry
from santacoder.harness.tasks import Problem, Task
from santacoder.model import SantaCoder
from santacoder.requests import Prompt, Request, prompt_ids
from santacoder.text.infilling import infill_prompt
from santacoder.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Sampling:
    """Options of a benchmark's samples; the defaults are those of the published runs for pass@1.

    Attributes:
        n_samples: of each problem.
        max_tokens: of a completion, at most.
        max_length: of prompt and completion together, in tokens; None is the model's context, the limit in any case.
        temperature: 0 or more.
        top_p: as in `SantaCoder.complete`.
        top_k: likewise.
        seed: with a sample's number it decides the sample.
    """

    n_samples: int
    max_tokens: int
    max_length: int | None
    seed: int
    temperature: float = 0.2
    top_p: float = 0.95
    top_k: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InvalidRequestError: a value is of a wrong type or out of range.
        """
        check_integer("n_samples", self.n_samples, 1, None)
        check_integer("max_tokens", self.max_tokens, 1, None)
        if self.max_length is not None:
            check_integer("max_length", self.max_length, 1, None)
        SamplingParams(temperature=self.temperature, top_p=self.top_p, top_k=self.top_k, seed=self.seed)


class SampleSource(Protocol):
    """A source of samples: this machine, or a cluster."""

    def run(self, wanted: Sequence[tuple[Problem, int]], sampling: Sampling) -> Iterator[SampleRecord]:
        """Yield the samples in the order in which they finish."""
        ...


@dataclass(frozen=True, slots=True)
class LocalSamples:
    """This machine as a sample source; the model is loaded when samples are needed."""

    path: Path
    threads: int | None = None
    context: int | None = None

    def run(self, wanted: Sequence[tuple[Problem, int]], sampling: Sampling) -> Iterator[SampleRecord]:
        """See `SampleSource.run`."""
        with SantaCoder.load(self.path, self.threads, self.context) as model:
            yield from sample_problems(model, wanted, sampling)


def sample_problems(
    model: SantaCoder, wanted: Sequence[tuple[Problem, int]], sampling: Sampling
) -> Iterator[SampleRecord]:
    """Yield the wanted samples as they finish; all prompts are checked before anything runs.

    Raises:
        ContextOverflowError: a problem's prompt leaves no room for a completion.
        NumericalError: the model's logits are not finite.
    """
    encoded = {
        problem.task_id: encode_problem(model.tokenizer, model.context, problem, sampling)
        for problem in {problem.task_id: problem for problem, _ in wanted}.values()
    }
    requests = (_request(*encoded[problem.task_id], problem, index, sampling) for problem, index in wanted)
    with closing(model.complete_each(requests)) as completions:
        for position, completion in completions:
            problem, index = wanted[position]
            yield SampleRecord(
                problem.task_id, index, completion.text, completion.finish_reason,
                completion.usage.completion_tokens, sampling.seed,
            )  # fmt: skip


def _request(tokens: Prompt, room: int, problem: Problem, index: int, sampling: Sampling) -> Request:
    options: SamplingOptions = {
        "max_tokens": room,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "stop": problem.stops,
        "seed": sampling.seed,
    }
    return Request(tokens, options, index)


def encode_problem(tokenizer: Tokenizer, context: int, problem: Problem, sampling: Sampling) -> tuple[Prompt, int]:
    """Return the prompt's ids (T,) and the most tokens that its completion may have.

    An infilling prompt is cut by the rule of `infilling.fit`.

    Raises:
        ContextOverflowError: the prompt leaves no room.
        InvalidRequestError: the model cannot infill.
    """
    most = context if sampling.max_length is None else min(sampling.max_length, context)
    if problem.suffix is not None:
        room = most - sampling.max_tokens
        tokens: Prompt = infill_prompt(tokenizer, problem.prompt, problem.suffix, "psm", room)
    else:
        tokens = prompt_ids(tokenizer, problem.prompt)
    if len(tokens) >= most:
        raise ContextOverflowError(
            f"the prompt of {problem.task_id} has {len(tokens)} tokens, "
            f"but prompt and completion together may have {most}"
        )
    return tokens, min(sampling.max_tokens, most - len(tokens))


def run_settings(
    task: Task,
    data: Path,
    problems: Sequence[Problem],
    model_path: Path,
    context: int | None,
    sampling: Sampling,
    of_problems: int | None = None,
) -> dict[str, Any]:
    """Collect everything that decides a run's bytes, as JSON values; also `of_problems`, if `problems` are not all.

    Raises:
        OSError: a file cannot be read.
        ModelFormatError: the model's header cannot be read.
        InvalidRequestError: `context` is out of range.
    """
    with GGUFFile.open(model_path) as file:
        config = read_config(file)
    length = config.context_length
    return {
        "task": task.name,
        "data_sha256": file_sha256(data),
        "problems": len(problems),
        "model": config.name or model_path.name,
        "model_sha256": model_sha256(model_path),
        "context": length if context is None else check_integer("context", context, 1, length),
        **asdict(sampling),
        **({} if of_problems is None else {OF_PROBLEMS: of_problems}),
    }


def run_seed(folder: Path, seed: int | None) -> int:
    """Return the given seed, else that of the run in this folder, else a new one."""
    if seed is not None:
        return seed
    path = folder / SETTINGS
    if path.exists() and isinstance(before := read_object(path, InvalidRequestError).get("seed"), int):
        return before
    return secrets.randbits(32)


def generate(
    folder: Path, problems: Sequence[Problem], settings: dict[str, Any], sampling: Sampling, source: SampleSource,
    progress: bool | None = None,
) -> list[list[SampleRecord]]:  # fmt: skip
    """Generate the samples that a run's folder lacks, record them, and return all.

    Args:
        folder: created if need be.
        problems: the benchmark.
        settings: see `run_settings`; must be those of the run in the folder, if there is one.
        sampling: how to sample.
        source: what makes the samples.
        progress: whether to draw a bar; None draws one on a terminal, and prints a line a minute elsewhere.

    Returns:
        [problem][sample]

    Raises:
        OSError: the folder cannot be used.
        InvalidRequestError: it holds another run or a damaged one, or another process works on it.
        SantaCoderError: what the model raised.
    """
    with open_record(folder, settings, problems, sampling.n_samples) as record:
        if missing := record.missing:
            _fill(folder, record, missing, sampling, source, progress)
        record.finish()
        return record.rows


def _fill(
    folder: Path, record: Record, missing: Sequence[tuple[Problem, int]], sampling: Sampling, source: SampleSource,
    progress: bool | None,
) -> None:  # fmt: skip
    total = len(record.wanted)
    done = total - len(missing)
    with RunLogEntry(folder) as entry, progress_bar(total, "samples", progress, done, lines=True) as bar:
        for sample in source.run(missing, sampling):
            record.add(sample)
            entry.count(sample.completion_tokens)
            bar.set_postfix_str(f"{entry.tokens_per_second:.0f} tokens/s", refresh=False)
            bar.update(1)
    if record.missing:
        raise SantaCoderError(f"the engine left out {len(record.missing)} samples")
