"""Runs of benchmarks on the packaged model: resumed, refused, torn and locked, with the same bytes at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

import santacoder
from santacoder.errors import ContextOverflowError, InvalidRequestError, SantaCoderError
from santacoder.harness.record import (
    EXECUTIONS,
    GENERATIONS,
    PLOT,
    RECORD,
    RESULTS,
    RUN_LOG,
    SAMPLES,
    SETTINGS,
    SampleRecord,
    open_record,
)
from santacoder.harness.report import make_report
from santacoder.harness.run_log import read_run_log
from santacoder.harness.sampling_run import LocalSamples, Sampling, encode_problem, generate, run_seed
from santacoder.harness.tasks import Problem
from santacoder.sources.packaged import packaged_model
from tests.support.harness_samples import SAMPLING, lines, problems_of, settings_of

OTHERS_WARN = pytest.mark.filterwarnings("ignore")  # from the other project's imports

SOURCE = LocalSamples(packaged_model(), threads=1)


class Stops:
    """The packaged model's samples, up to a number of them."""

    def __init__(self, count: int) -> None:
        self._count = count

    def run(self, wanted: Sequence[tuple[Problem, int]], sampling: Sampling) -> Iterator[SampleRecord]:
        """See `SampleSource.run`."""
        for given, sample in enumerate(SOURCE.run(wanted, sampling)):
            if given == self._count:
                raise KeyboardInterrupt
            yield sample


class Never:
    """A source that must not be asked."""

    def run(self, wanted: Sequence[tuple[Problem, int]], sampling: Sampling) -> Iterator[SampleRecord]:
        """See `SampleSource.run`."""
        raise AssertionError("nothing is missing")


def results(folder: Path) -> tuple[bytes, bytes]:
    """Return a finished run's samples; its record must be gone."""
    assert not (folder / RECORD).exists()
    return (folder / SAMPLES).read_bytes(), (folder / GENERATIONS).read_bytes()


def go(folder: Path, name: str = "humaneval", source: Any = SOURCE, sampling: Sampling = SAMPLING) -> Any:
    return generate(folder, problems_of(name), settings_of(name, sampling), sampling, source, progress=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    go(folder)
    return folder


def test_a_new_run_begins_without_the_results_of_the_last(tmp_path: Path) -> None:
    go(tmp_path)
    left = [RESULTS, EXECUTIONS, PLOT]
    for name in left:
        (tmp_path / name).write_bytes(b"of the last run")
    go(tmp_path)  # nothing is missing: all stays
    assert all((tmp_path / name).exists() for name in left)
    (tmp_path / SAMPLES).unlink()
    go(tmp_path)
    assert not any((tmp_path / name).exists() for name in left)


def test_samples_are_those_of_complete_many(whole: Path) -> None:
    problems = problems_of("humaneval")
    with santacoder.load(threads=1) as model:
        expected = [
            model.complete_many(
                [problem.prompt],
                n=3,
                max_tokens=24,
                temperature=0.8,
                seed=5,
                stop=problem.stops,
                progress=False,
                token_healing=False,
            )[0]
            for problem in problems
        ]
    found = lines(whole / SAMPLES)
    assert [(line["task_id"], line["sample"]) for line in found] == [
        (problem.task_id, index) for problem in problems for index in range(3)
    ]
    flat = [completion for row in expected for completion in row]
    assert [line["completion"] for line in found] == [completion.text for completion in flat]
    assert [line["completion_tokens"] for line in found] == [completion.usage.completion_tokens for completion in flat]
    assert {line["seed"] for line in found} == {5}
    assert len({line["completion"] for line in found}) > 3


def test_generations_are_what_the_harness_saves(whole: Path) -> None:
    """A list of lists of texts, prompt and cut completion, in the order of the problems."""
    texts = json.loads((whole / GENERATIONS).read_bytes())
    found = lines(whole / SAMPLES)
    problems = problems_of("humaneval")
    assert texts == [
        [problem.prompt + line["completion"] for line in found[3 * i : 3 * i + 3]] for i, problem in enumerate(problems)
    ]
    assert not any(stop in line["completion"] for line in found for stop in problems[0].stops)


@OTHERS_WARN
def test_bigcode_harness_loads_them(whole: Path) -> None:
    loader: Any = pytest.importorskip("bigcode_eval.generation")
    arguments = type("Arguments", (), {"load_generations_path": str(whole / GENERATIONS)})
    accelerator = type("Accelerator", (), {"is_main_process": True})
    loaded = loader.parallel_generations(None, None, accelerator, None, None, 2, arguments)
    assert loaded == json.loads((whole / GENERATIONS).read_bytes())[:2]


@pytest.mark.parametrize("given", [0, 1, 5, 8])
def test_an_interrupted_run_ends_with_the_same_bytes(tmp_path: Path, whole: Path, given: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, source=Stops(given))
    assert len(lines(tmp_path / RECORD)) == given
    asked: list[int] = []

    class Counts:
        def run(self, wanted: Sequence[tuple[Problem, int]], sampling: Sampling) -> Iterator[SampleRecord]:
            asked.append(len(wanted))
            return SOURCE.run(wanted, sampling)

    go(tmp_path, source=Counts())
    assert asked == [9 - given]
    assert results(tmp_path) == results(whole)
    assert [entry["samples"] for entry in read_run_log(tmp_path)] == [given, 9 - given]


def test_a_finished_run_is_not_run_again(tmp_path: Path, whole: Path) -> None:
    go(tmp_path)
    go(tmp_path, source=Never())
    assert results(tmp_path) == results(whole)


@pytest.mark.parametrize("tear", [b'{"task_id": "Exam', b'{"task_id": "Example/0"}\n', b"\0\0\0\0"])
def test_a_torn_line_is_cut_off(tmp_path: Path, whole: Path, tear: bytes) -> None:
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, source=Stops(4))
    with (tmp_path / RECORD).open("ab") as file:
        file.write(tear)
    with open_record(tmp_path, settings_of("humaneval"), problems_of("humaneval"), 3) as record:
        assert len(record.samples) == 4
    go(tmp_path)
    assert results(tmp_path) == results(whole)


def test_damage_in_the_middle_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, source=Stops(4))
    record = (tmp_path / RECORD).read_bytes().splitlines(keepends=True)
    (tmp_path / RECORD).write_bytes(b"".join([record[0], b"?\n", *record[1:]]))
    with pytest.raises(InvalidRequestError, match=r"record.jsonl is damaged in line 2: remove that line"):
        go(tmp_path)


def test_samples_of_another_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, source=Stops(1))
    with (tmp_path / RECORD).open("a") as file:
        file.write(json.dumps(asdict(SampleRecord("x", 0, "", "stop", 1, 1))) + "\n")
    with pytest.raises(InvalidRequestError, match="holds sample 0 of x: not of this run"):
        go(tmp_path)


def test_a_folder_is_for_one_process(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    tmp_path.joinpath(RECORD).touch()
    with (tmp_path / RECORD).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InvalidRequestError, match="another process is at work in"):
            go(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.5}, "with temperature 0.8, not 0.5"),
        ({"n_samples": 2}, "with n_samples 3, not 2"),
        ({"max_length": None}, "with max_length 512, not None"),
        ({"seed": 6}, "with seed 5, not 6"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, source=Stops(1))
    with pytest.raises(InvalidRequestError, match=message):
        go(tmp_path, sampling=replace(SAMPLING, **change))
    with pytest.raises(InvalidRequestError, match="with task 'humaneval', not 'mbpp': go on"):
        go(tmp_path, "mbpp")


@pytest.mark.parametrize("given", [1, 9])
def test_samples_are_added_to_a_run(tmp_path: Path, given: int) -> None:
    """The first ones stay as they are, whether the run was finished or not."""
    larger = replace(SAMPLING, n_samples=5)
    with suppress(KeyboardInterrupt):
        go(tmp_path / "grown", source=Stops(given) if given < 9 else SOURCE)
    asked: list[int] = []

    class Stopped:
        def run(self, wanted: Sequence[tuple[Problem, int]], sampling: Sampling) -> Iterator[SampleRecord]:
            asked.append(len(wanted))
            return Stops(2).run(wanted, sampling)

    for _ in range(2):  # an addition that is interrupted goes on too
        with pytest.raises(KeyboardInterrupt):
            go(tmp_path / "grown", sampling=larger, source=Stopped())
        with pytest.raises(InvalidRequestError, match="is not finished"):
            make_report(tmp_path / "grown")
    go(tmp_path / "grown", sampling=larger)
    go(tmp_path / "whole", sampling=larger)
    assert asked == [15 - given, 13 - given]
    assert results(tmp_path / "grown") == results(tmp_path / "whole")
    assert json.loads((tmp_path / "grown" / SETTINGS).read_bytes())["n_samples"] == 5


def test_other_settings_are_taken_while_there_is_no_sample(tmp_path: Path, whole: Path) -> None:
    with pytest.raises(ContextOverflowError):
        go(tmp_path, sampling=replace(SAMPLING, max_length=10))
    with (tmp_path / RECORD).open("ab") as file:
        file.write(b'{"task_id": "Exam')
    go(tmp_path)
    assert results(tmp_path) == results(whole)
    assert json.loads((tmp_path / SETTINGS).read_bytes())["max_length"] == 512


def test_settings_are_written_under_the_lock(tmp_path: Path) -> None:
    """A process that is refused does not change the settings of the run in progress."""
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / RECORD).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InvalidRequestError, match="another process is at work in"):
            go(tmp_path)
    assert not (tmp_path / SETTINGS).exists()


@pytest.mark.parametrize("settings", ["[]", "3", "null", '"text"'])
def test_settings_that_are_no_object(tmp_path: Path, whole: Path, settings: str) -> None:
    for name in (SAMPLES, GENERATIONS):
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    (tmp_path / SETTINGS).write_text(settings)
    for attempt in (lambda: go(tmp_path), lambda: run_seed(tmp_path, None), lambda: make_report(tmp_path)):
        with pytest.raises(
            InvalidRequestError, match=r"settings.json holds a JSON (list|int|NoneType|str), not an object"
        ):
            attempt()


@pytest.mark.parametrize("settings", [{}, {"task": 3, "model": "m"}, {"task": "humaneval", "model": None}])
def test_a_report_of_damaged_settings(tmp_path: Path, settings: dict[str, Any]) -> None:
    (tmp_path / SETTINGS).write_text(json.dumps(settings))
    (tmp_path / SAMPLES).touch()
    with pytest.raises(InvalidRequestError, match=r"settings.json is damaged: its (task|model) is "):
        make_report(tmp_path)


@pytest.mark.parametrize("scores", ["{}", "[]", '{"metric": "pass@k"}', '{"metric": []}'])
def test_a_report_of_damaged_results(tmp_path: Path, scores: str) -> None:
    (tmp_path / SETTINGS).write_text(json.dumps(settings_of("humaneval")))
    (tmp_path / SAMPLES).touch()
    (tmp_path / RESULTS).write_text(scores)
    with pytest.raises(
        InvalidRequestError,
        match=r"results.json (is damaged: it holds no values of a metric|holds a JSON list, not an object)$",
    ):
        make_report(tmp_path)


@pytest.mark.parametrize("sessions", ["{}", "[1]"])
def test_damaged_sessions(tmp_path: Path, sessions: str) -> None:
    (tmp_path / RUN_LOG).write_text(sessions)
    with pytest.raises(InvalidRequestError, match=r"sessions.json is damaged: it holds .*, not a list of JSON objects"):
        read_run_log(tmp_path)


@pytest.mark.parametrize(
    "change", [{"task_id": []}, {"sample": "0"}, {"sample": True}, {"completion": None}, {"completion_tokens": 1.5}]
)
def test_fields_of_a_wrong_type_are_damage(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, source=Stops(2))
    found = lines(tmp_path / RECORD)
    found[0] |= change
    (tmp_path / RECORD).write_text("".join(json.dumps(line) + "\n" for line in found))
    with pytest.raises(InvalidRequestError, match=r"record.jsonl is damaged in line 1: remove that line"):
        go(tmp_path)


def test_seeds(tmp_path: Path, whole: Path) -> None:
    assert run_seed(whole, None) == 5
    assert run_seed(whole, 7) == 7
    assert run_seed(tmp_path / "new", None) != run_seed(tmp_path / "new", None)


def test_infilling(tmp_path: Path) -> None:
    """Only completions, of the prompt that `infill` makes in mode psm, without its filters."""
    sampling = replace(SAMPLING, max_length=None)
    go(tmp_path, "fim", sampling=sampling)
    texts = json.loads((tmp_path / GENERATIONS).read_bytes())
    assert texts == [[line["completion"] for line in lines(tmp_path / SAMPLES)[3 * i : 3 * i + 3]] for i in range(3)]
    with santacoder.load(threads=1) as model:
        problem = problems_of("fim")[0]
        text = f"<fim-prefix>{problem.prompt}<fim-suffix>{problem.suffix}<fim-middle>"
        tokens, room = encode_problem(model.tokenizer, model.context, problem, sampling)
        assert (tokens, room) == (model.tokenizer.encode(text), 24)
        assert model.complete(text, max_tokens=24, temperature=0.8, seed=5, stop=problem.stops).text == texts[0][0]


def test_line_breaks_are_sent_as_they_are() -> None:
    problem = replace(problems_of("fim")[0], prompt="a\r\n", suffix="\r\nb")
    with santacoder.load(threads=1) as model:
        expected = model.tokenizer.encode("<fim-prefix>a\r\n<fim-suffix>\r\nb<fim-middle>")
        assert encode_problem(model.tokenizer, model.context, problem, SAMPLING)[0] == expected


def test_length_is_bounded(tmp_path: Path) -> None:
    problem = problems_of("humaneval")[0]
    with santacoder.load(threads=1) as model:
        length = len(model.tokenizer.encode(problem.prompt))
        short = replace(SAMPLING, max_length=length + 5)
        assert encode_problem(model.tokenizer, model.context, problem, short)[1] == 5
    with pytest.raises(ContextOverflowError, match=r"the prompt of Example/\d has \d+ tokens"):
        go(tmp_path, sampling=replace(SAMPLING, max_length=10))
    assert not lines(tmp_path / RECORD)


def test_a_prompt_is_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for each of its samples."""
    encoded: list[str] = []

    def encode(tokenizer: Any, context: int, problem: Problem, sampling: Sampling) -> tuple[Any, int]:
        encoded.append(problem.task_id)
        return encode_problem(tokenizer, context, problem, sampling)

    monkeypatch.setattr("santacoder.harness.sampling_run.encode_problem", encode)
    go(tmp_path)
    assert encoded == [problem.task_id for problem in problems_of("humaneval")]


def test_a_source_that_leaves_something_out(tmp_path: Path) -> None:
    class Lazy:
        def run(self, wanted: Sequence[tuple[Problem, int]], sampling: Sampling) -> Iterator[SampleRecord]:
            return SOURCE.run(wanted[1:], sampling)

    with pytest.raises(SantaCoderError, match="left out 1 samples"):
        go(tmp_path, source=Lazy())


@pytest.mark.parametrize(
    ("change", "message"),
    [({"n_samples": 0}, "n_samples is 0"), ({"top_p": 2.0}, "top_p is 2.0"), ({"max_length": 0}, "max_length is 0")],
)
def test_bad_sampling(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        replace(SAMPLING, **change)
