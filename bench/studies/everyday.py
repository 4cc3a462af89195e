"""Does the model write everyday functions? 100 prompts of ten kinds, whose completions are executed.

    python bench/studies/everyday.py MODEL

The prompts are in everyday.jsonl, in HumanEval's format, so `santacoder eval humaneval --data everyday.jsonl` takes
them too. They are completed greedily, and SAMPLES times as the command line completes by default; a completion is
right if the tests of its prompt pass in the sandbox of the harness. It loops if the same piece of text stands in it
several times in a row (see `loops`).

everyday-languages.jsonl has five prompts each of JavaScript and Java. These are not executed: a greedy completion is
right if it is one of the texts listed with its prompt, apart from white space.

No training data may hold the prompts: tools/tiny/overlap.py looks for them.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import santacoder
from santacoder._util.progress import progress_bar
from santacoder.harness.sandbox.runner import Limits, run_programs
from santacoder.harness.tasks import Problem, find_task, read_problems
from santacoder.requests import Request

PROMPTS = Path(__file__).with_name("everyday.jsonl")
OTHER_LANGUAGES = Path(__file__).with_name("everyday-languages.jsonl")
MAX_TOKENS = 128  # the command line's default
TIMES, LEAST_LOOP = 3, 24  # a loop is a piece that stands there TIMES in a row, in LEAST_LOOP characters or more
LIMITS = Limits(seconds=5.0)


@dataclass(frozen=True)
class Score:
    """What became of some completions of one kind of prompts.

    Attributes:
        completions: their number.
        right: how many of them pass the tests.
        looping: how many of them loop.
    """

    completions: int
    right: int
    looping: int


def loops(text: str) -> bool:
    """Return whether a piece of a text stands in it TIMES in a row; digits count as equal, as does all white space."""
    plain = re.sub(r"\d", "0", " ".join(text.split()) + " ")
    for period in range(1, len(plain) // TIMES + 1):
        length, wanted = 0, max(TIMES * period, LEAST_LOOP) - period
        for here, there in zip(plain, plain[period:], strict=False):
            length = length + 1 if here == there else 0
            if length >= wanted:
                return True
    return False


def kind(problem: Problem) -> str:
    """Return the kind of a prompt, which its name begins with."""
    return problem.task_id.partition("/")[0]


def complete(
    model: santacoder.SantaCoder, problems: Sequence[Problem], samples: int, options: Mapping[str, Any]
) -> list[list[str]]:
    """Return `samples` completions of each problem, all of one batch."""
    requests = [
        Request(problem.prompt, {"max_tokens": MAX_TOKENS, "stop": problem.stops, **options}, sample)  # type: ignore[typeddict-item]
        for problem in problems
        for sample in range(samples)
    ]
    texts = [""] * len(requests)
    with progress_bar(len(requests), "completions") as bar:
        for index, completion in model.complete_each(requests):
            texts[index] = completion.text
            bar.update(1)
    return [texts[start : start + samples] for start in range(0, len(texts), samples)]


def judge(problems: Sequence[Problem], texts: Sequence[Sequence[str]]) -> list[list[bool]]:
    """Execute the completions of each problem, and return which pass its tests."""
    programs = [problem.program(text) for problem, row in zip(problems, texts, strict=True) for text in row]
    with progress_bar(len(programs), "programs") as bar:
        passed = iter([verdict.passed for verdict in run_programs(programs, LIMITS, progress=bar.update)])
    return [[next(passed) for _ in row] for row in texts]


def scores(
    problems: Sequence[Problem], texts: Sequence[Sequence[str]], passed: Sequence[Sequence[bool]]
) -> dict[str, Score]:
    """Return the score of each kind, and that of all under "all"."""

    def score(wanted: Iterable[int]) -> Score:
        chosen = [*wanted]
        written = [text for index in chosen for text in texts[index]]
        right = sum(sum(passed[index]) for index in chosen)
        return Score(len(written), right, sum(map(loops, written)))

    kinds = dict.fromkeys(map(kind, problems))
    found = {name: score(i for i, problem in enumerate(problems) if kind(problem) == name) for name in kinds}
    return {**found, "all": score(range(len(problems)))}


def in_other_languages(model: santacoder.SantaCoder) -> list[dict[str, Any]]:
    """Return the greedy completions of the prompts in JavaScript and Java, and whether they are right."""
    found = []
    for line in OTHER_LANGUAGES.read_text("utf-8").splitlines():
        row = json.loads(line)
        text = model.complete(row["prompt"], temperature=0, max_tokens=MAX_TOKENS, stop="\n}").text
        right = "".join(text.split()) in {"".join(body.split()) for body in row["right"]}
        found.append({"language": row["language"], "prompt": row["prompt"], "text": text, "right": right})
    return found


def options() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description="Execute completions of 100 everyday prompts.")
    parser.add_argument("model", nargs="?", help="a GGUF file (default: the packaged model)")
    parser.add_argument("--samples", type=int, default=5, help="with the defaults of the command line, of each prompt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--show", action="store_true", help="print the greedy completions: = marks a right one")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write prompts, completions and scores there too")
    return parser


def main() -> None:
    """Measure, and print the scores."""
    arguments = options().parse_args()
    problems = read_problems(find_task("humaneval"), PROMPTS)
    found: dict[str, dict[str, Score]] = {}
    rows: dict[str, Any] = {}
    with santacoder.load(arguments.model, arguments.threads) as model:
        default = {"seed": arguments.seed, **model.config.sampling_defaults}
        runs: dict[str, tuple[int, dict[str, Any]]] = {
            "greedy": (1, {"temperature": 0.0}),
            "default": (arguments.samples, default),
        }
        for name, (samples, chosen) in runs.items():
            texts = complete(model, problems, samples, chosen)
            passed = judge(problems, texts)
            found[name] = scores(problems, texts, passed)
            rows[name] = [
                {"task_id": problem.task_id, "completions": written, "passed": verdicts}
                for problem, written, verdicts in zip(problems, texts, passed, strict=True)
            ]
        others = in_other_languages(model)
    if arguments.show:
        for problem, row in zip(problems, rows["greedy"], strict=True):
            print(f"{'=' if row['passed'][0] else '-'} {problem.task_id}\n{problem.prompt}{row['completions'][0]}\n")
        for other in others:
            print(f"{'=' if other['right'] else '-'} {other['language']}\n{other['prompt']}{other['text']}\n")
    print(f"{'':<24}{'greedy':>16}{'default':>16}\n{'':<24}" + 2 * f"{'right':>8}{'looping':>8}")
    for name in found["greedy"]:
        cells = [found[run][name] for run in runs]
        print(
            f"{name:<24}" + "".join(f"{c.right / c.completions:>8.1%}{c.looping / c.completions:>8.1%}" for c in cells)
        )
    for language in dict.fromkeys(other["language"] for other in others):
        mine = [other["right"] for other in others if other["language"] == language]
        print(f"{language:<24}{sum(mine):>5} of {len(mine)}")
    if arguments.json:
        summary = {run: {name: asdict(score) for name, score in table.items()} for run, table in found.items()}
        results = {"scores": summary, "completions": rows, "other languages": others}
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
