"""`santacoder complete --prompts`: many prompts in one batch, with results that a later call continues."""

from __future__ import annotations

import argparse
import difflib
import json
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from santacoder._util.atomic_file import atomic_file, check_not_read, is_file
from santacoder._util.json_file import read_object
from santacoder._util.line_file import LineFile, check_same_settings, json_line, open_lines
from santacoder._util.progress import ProgressBar, progress_bar
from santacoder.cli import options
from santacoder.cli.prompt_request import PromptRequest
from santacoder.cli.sampling import sampling, with_defaults
from santacoder.cli.stopping import telling_how_to_go_on
from santacoder.decoding.options import OPTIONS
from santacoder.decoding.results import Completion
from santacoder.errors import InvalidRequestError, SantaCoderError
from santacoder.gguf.digest import model_sha256
from santacoder.harness.record import dump_json
from santacoder.model import SantaCoder
from santacoder.requests import Request, sampling_params

Key = tuple[int, int]  # a prompt's index and a sample's number

#: Fields of a result, which a line of the prompts cannot have.
RESULT_FIELDS: Final = frozenset({"index", "sample", "error", *(field.name for field in fields(Completion))} - {"seed"})
#: The settings of a run stand in a file beside its results.
SETTINGS_SUFFIX: Final = ".settings.json"
#: How much a field's name is like that of an option if it is taken for a mistake, 0..1.
LIKENESS: Final = 0.8


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file of prompts.

    Attributes:
        prompt: a text or token ids.
        options: keywords of `complete`: those of the command line, and the line's own.
        others: fields that its results get too.
    """

    prompt: str | list[int]
    options: dict[str, Any]
    others: dict[str, Any]

    def request(self, model: SantaCoder, seed: int, sample: int) -> Request:
        """Return the request for one of the samples."""
        prompt, keywords = self.prompt, self.options
        if isinstance(prompt, str):
            asked = PromptRequest(prompt, keywords)
            prompt, keywords = asked.prompt, asked.options
        return Request(prompt, {"seed": seed, **with_defaults(model, keywords)}, sample)  # type: ignore[typeddict-item]

    def finished(self, completion: Completion) -> Completion:
        """Return a completion as the user gets it."""
        if isinstance(self.prompt, str):
            return PromptRequest(self.prompt, self.options).finished(completion)
        return completion


def run_prompts(args: argparse.Namespace) -> None:
    """Complete the prompts, and print the results or write them to a file.

    Raises:
        OSError: a file cannot be read or written.
        SantaCoderError: the prompts or the file of results cannot be used; or, when all is done, requests failed.
    """
    args.json = True  # results are lines of JSON
    given = sampling(args)
    text = options.read_input(args.prompts)
    lines = read_prompts(text, args.prompts, given)
    path = options.model_path(args)
    n = args.samples or 1
    keys = [(index, sample) for index in range(len(lines)) for sample in range(n)]
    if args.out is None:
        failed = _print_results(args, path, lines, keys, given.get("seed", secrets.randbits(64)))
    else:
        out = Path(args.out)
        check_not_read(out, [args.prompts, path])
        settings = {
            "prompts_sha256": sha256(text.encode()).hexdigest(), "samples": n, "model_sha256": model_sha256(Path(path)),
            "context": args.context, "options": json.loads(json.dumps(given)), "seed": _seed(out, given),
        }  # fmt: skip
        failed = _write_results(args, path, lines, keys, out, settings)
    if failed:
        raise SantaCoderError(f'{failed} of {len(keys)} samples failed: see "error" in their results')


def read_prompts(text: str, name: str, given: Mapping[str, Any]) -> list[Line]:
    """Read the lines of a file `name` of prompts; `given` are options of all.

    Raises:
        InvalidRequestError: a line is not a prompt, an option of it is wrong, or there is none.
    """
    lines = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                lines.append(_parse(line, given))
            except (ValueError, RecursionError) as error:
                raise InvalidRequestError(f"{name}, line {number}: {error}") from None
    if not lines:
        raise InvalidRequestError(f"{name} holds no prompt")
    return lines


def _parse(line: str, given: Mapping[str, Any]) -> Line:
    row = json.loads(line)
    row = row if isinstance(row, dict) else {"prompt": row}
    prompt = row.pop("prompt", None)
    if not isinstance(prompt, str | list):
        raise InvalidRequestError('the prompt is missing: a line is a text, or an object with a text "prompt"')
    own = {key: value for key, value in row.items() if key in OPTIONS}
    others = {key: value for key, value in row.items() if key not in OPTIONS}
    for name in others:
        if name in RESULT_FIELDS:
            raise InvalidRequestError(f"{name!r} is the name of a field of the results: rename it")
        if like := difflib.get_close_matches(name, OPTIONS, 1, LIKENESS):
            raise InvalidRequestError(f"{name!r} is not an option: did you mean {like[0]!r}?")
    keywords = {**given, **own}
    sampling_params(keywords)
    return Line(prompt, keywords, others)


def _complete(
    model: SantaCoder, lines: Sequence[Line], keys: Sequence[Key], seed: int, bar: ProgressBar
) -> Iterator[dict[str, Any]]:
    """Yield the results as they are done; one that failed has an error."""
    requests = (lines[index].request(model, seed, sample) for index, sample in keys)
    for position, completion in model.complete_each(requests, on_error="return"):
        index, sample = keys[position]
        line = lines[index]
        if isinstance(completion, Completion):
            found = asdict(line.finished(completion))
        else:
            found = {"error": str(completion).removeprefix(f"requests[{position}]: ")}
        bar.update(1)
        yield {"index": index, "sample": sample, **line.others, **found}


def _print_results(args: argparse.Namespace, path: str, lines: Sequence[Line], keys: Sequence[Key], seed: int) -> int:
    """Print the results as they are done, and return how many have an error."""
    failed = 0
    shown = False if sys.stdout.isatty() else None  # the results are progress enough
    with options.load_model(path, args) as model, progress_bar(len(keys), "samples", shown, lines=True) as bar:
        options.index_project(model, args)
        for result in _complete(model, lines, keys, seed, bar):
            options.print_json_line(result)
            failed += "error" in result
    return failed


def _write_results(
    args: argparse.Namespace, path: str, lines: Sequence[Line], keys: Sequence[Key], out: Path,
    settings: Mapping[str, Any],
) -> int:  # fmt: skip
    """Write the results that a file lacks, put all in order, and return how many have an error."""
    with _open_results(out, settings) as (file, results):
        missing = [key for key in keys if key not in results]
        if missing:
            with (
                telling_how_to_go_on(out, len(keys), lambda: len(results)),
                options.load_model(path, args) as model,
                progress_bar(len(keys), "samples", done=len(results), lines=True) as bar,
            ):
                options.index_project(model, args)
                for result in _complete(model, lines, missing, settings["seed"], bar):
                    line = json_line(result)
                    file.add(line)
                    results[result["index"], result["sample"]] = line
        if [*results] != keys:
            with atomic_file(out) as ordered:
                ordered.writelines(results[key] for key in keys)
    return sum("error" in json.loads(line) for line in results.values())


@contextmanager
def _open_results(out: Path, settings: Mapping[str, Any]) -> Iterator[tuple[LineFile, dict[Key, bytes]]]:
    """Open a file of results, exclusively, and return those it has.

    Raises:
        OSError: it cannot be read or written.
        InvalidRequestError: it is something else, its run had other settings, or another process is at work in it.
    """
    beside = _settings_file(out)
    if is_file(out) and out.stat().st_size and not beside.exists():
        raise InvalidRequestError(f"{out} exists, and is not a file of results, as {beside} is missing")
    with open_lines(out, lambda line: _key(line) is not None, out) as file:
        before = read_object(beside, InvalidRequestError) if file.lines else {}
        if not before or check_same_settings(out, before, settings, growing=["samples"]):
            dump_json(beside, settings)
        results = {}
        for number, line in enumerate(file.lines, 1):
            key = _key(line)
            if key is None:
                raise InvalidRequestError(f"{out} is damaged in line {number}: remove that line to generate it again")
            results[key] = line
        yield file, results


def _settings_file(out: Path) -> Path:
    return out.with_name(f"{out.name}{SETTINGS_SUFFIX}")


def _seed(out: Path, given: Mapping[str, Any]) -> int:
    """Return the given seed, else that of the run in the file, else a new one."""
    if "seed" in given:
        return int(given["seed"])
    if _settings_file(out).exists() and out.exists():
        before = read_object(_settings_file(out), InvalidRequestError).get("seed")
        if isinstance(before, int):
            return before
    return secrets.randbits(64)


def _key(line: bytes) -> Key | None:
    """Return which result a line is, or None if it is not one."""
    try:
        result = json.loads(line)
        index, sample = result["index"], result["sample"]
    except (ValueError, KeyError, TypeError):
        return None
    return (index, sample) if type(index) is int and type(sample) is int else None
