"""Does the model use the text after the gap? Single lines of Python, with the suffix and without it.

    python bench/studies/infilling.py MODEL FILES... --count 200

A hole is a line with its indentation, so the prefix ends with a newline. `infill` sees the lines before and after it; a
plain continuation by the same model sees only those before. Both are greedy and end at a newline. A hit is an exact
match, apart from space around the line.

With `--hole content` the hole is the line without its indentation, as when somebody types there. A tokenizer like
GPT-2's joins the last space of an indentation to the word after it, so the model rarely saw such a prefix in training.
The continuation is then measured a second time without that space, which the model has to write itself, and the better
of the two counts.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import santacoder
from santacoder._util.progress import progress_bar
from santacoder._util.text_file import decode_text
from santacoder.text.line_breaks import as_lf

NEIGHBOURS = 3  # lines that a hole has before and after it, at least
MIN_LENGTH = 10  # characters of a hole other than space
FIM_TOKENS = 3
LINE, CONTENT = "line", "content"
INFILL, PREFIX, SHORTER_PREFIX = "infill", "prefix only", "prefix less a space"


@dataclass(frozen=True)
class Hole:
    """A line to guess, and the text around it."""

    file: str
    line: int  # from 1
    prefix: str
    indentation: str  # part of the prefix or of the hole
    middle: str  # without indentation
    suffix: str  # with the newline that ends the hole


def is_hole(lines: Sequence[str], index: int) -> bool:
    """Return whether a line is one to guess: it has enough code and enough neighbours."""
    content = lines[index].strip()
    long_enough = sum(not character.isspace() for character in content) >= MIN_LENGTH
    inside = NEIGHBOURS <= index < len(lines) - NEIGHBOURS
    return inside and long_enough and not content.startswith("#")


def nearest_lines(costs: Sequence[int], index: int, budget: int) -> tuple[int, int]:
    """Return the range of lines around `index`, itself included, that fits: taken from both sides in turn."""
    begin, end = index, index + 1
    budget -= costs[index]
    grown = True
    while grown:
        grown = False
        if begin > 0 and costs[begin - 1] <= budget:
            begin -= 1
            budget -= costs[begin]
            grown = True
        if end < len(costs) and costs[end] <= budget:
            budget -= costs[end]
            end += 1
            grown = True
    return begin, end


def make_hole(
    name: str, lines: Sequence[str], costs: Sequence[int], index: int, budget: int, kind: str = LINE
) -> Hole | None:
    """Return the hole at a line, or None if too little of the text around it fits; `kind` is LINE or CONTENT."""
    begin, end = nearest_lines(costs, index, budget)
    if min(index - begin, end - index - 1) < NEIGHBOURS:
        return None
    line = lines[index].rstrip("\n")
    indentation = line[: len(line) - len(line.lstrip())]
    prefix = "".join(lines[begin:index]) + (indentation if kind == CONTENT else "")
    return Hole(name, index + 1, prefix, indentation, line.strip(), "\n" + "".join(lines[index + 1 : end]))


def choose(
    texts: dict[str, str], count_tokens: Callable[[str], int], count: int, budget: int, seed: int, kind: str = LINE
) -> list[Hole]:
    """Return `count` holes, the same for the same texts and seed; fewer if there are not that many.

    Lines are tokenized one by one, which gives a few tokens more than the whole text has.
    """
    files = {name: re.findall(r"[^\n]*\n|[^\n]+", as_lf(text)) for name, text in sorted(texts.items())}
    places = [(name, index) for name, lines in files.items() for index in range(len(lines)) if is_hole(lines, index)]
    random.Random(seed).shuffle(places)
    costs: dict[str, list[int]] = {}
    holes: list[Hole] = []
    for name, index in places:
        if len(holes) == count:
            break
        if name not in costs:
            costs[name] = [count_tokens(line) for line in files[name]]
        hole = make_hole(name, files[name], costs[name], index, budget, kind)
        if hole:
            holes.append(hole)
    return holes


def guess(model: santacoder.SantaCoder, hole: Hole, mode: Any, max_tokens: int) -> dict[str, str]:
    """Return the model's guesses, by the text that it sees."""
    greedy: dict[str, Any] = {"temperature": 0, "stop": "\n", "max_tokens": max_tokens}

    def go_on(prefix: str) -> str:
        tokens = model.tokenizer.encode(prefix, special=False)
        return model.complete(tokens, **greedy).text.strip()

    plain = go_on(hole.prefix)
    guesses = {INFILL: model.infill(hole.prefix, hole.suffix, mode=mode, **greedy).text.strip(), PREFIX: plain}
    if not hole.prefix.endswith("\n"):
        guesses[SHORTER_PREFIX] = go_on(hole.prefix[:-1]) if hole.prefix.endswith(" ") else plain
    return guesses


def show(hole: Hole, guesses: dict[str, str]) -> str:
    """Format a hole between its neighbours, and the guesses: = marks a hit."""
    before = hole.prefix.split("\n")[:-1]
    lines = [f"    | {line}" for line in before[-2:]]
    lines.append(f"    > {hole.indentation}{hole.middle}")
    lines += [f"    | {line}" for line in hole.suffix.split("\n")[1:3]]
    lines += [f"    {'=' if text == hole.middle else ' '} {name}: {text}" for name, text in guesses.items()]
    return "\n".join([f"{hole.file}:{hole.line}", *lines, ""])


def summary(holes: Sequence[Hole], guesses: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Return rates of exact match, and the ratio of infilling to the better continuation (None if that has no hit)."""
    pairs = list(zip(holes, guesses, strict=True))
    names = dict.fromkeys(name for guessed in guesses for name in guessed)  # a line without indentation has only two
    hits = {name: sum(guessed.get(name, guessed[PREFIX]) == hole.middle for hole, guessed in pairs) for name in names}
    best = max(count for name, count in hits.items() if name != INFILL)
    return {
        "holes": len(holes),
        "hits": hits,
        "rates": {name: count / len(holes) for name, count in hits.items()},
        "ratio": hits[INFILL] / best if best else None,
    }


def options() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description="Exact match on single-line holes, with the suffix and without.")
    parser.add_argument("model", type=Path)
    parser.add_argument("files", type=Path, nargs="+", help="Python files that the model was not trained on")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mode", choices=("auto", "psm", "spm"), default="auto", help="as `infill` has it")
    parser.add_argument("--hole", choices=(LINE, CONTENT), default=LINE, help="a line with or without indentation")
    parser.add_argument("--context", type=int, default=700, help="most tokens of prefix, suffix and line together")
    parser.add_argument("--max-tokens", type=int, default=64, help="most tokens of the line")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print the first N holes")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the results there too")
    return parser


def main() -> None:
    """Measure, and print the rates."""
    parser = options()
    arguments = parser.parse_args()
    texts = {str(path): decode_text(path.read_bytes(), path) for path in arguments.files}
    with santacoder.load(arguments.model, arguments.threads) as model:

        def count_tokens(line: str) -> int:
            return len(model.tokenizer.encode(line, special=False))

        room = min(arguments.context, model.context) - arguments.max_tokens - FIM_TOKENS
        holes = choose(texts, count_tokens, arguments.count, room, arguments.seed, arguments.hole)
        if not holes:
            parser.error(f"no line of these files makes a hole with {NEIGHBOURS} lines around it in {room} tokens")
        guesses = []
        with progress_bar(len(holes), "holes") as bar:
            for hole in holes:
                guesses.append(guess(model, hole, arguments.mode, arguments.max_tokens))
                bar.update(1)
    for hole, guessed in zip(holes[: arguments.show], guesses[: arguments.show], strict=True):
        print(show(hole, guessed))
    found = summary(holes, guesses)
    print(f"{arguments.model.name}, {len(holes)} holes ({arguments.hole}), {arguments.mode}: exact matches")
    for name, count in found["hits"].items():
        print(f"{name:<20}{count:>5}{found['rates'][name]:>8.1%}")
    ratio = found["ratio"]
    print(f"{'ratio':<20}{'-' if ratio is None else format(ratio, '.2f'):>13}")
    if arguments.json:
        settings = {key: getattr(arguments, key) for key in ("seed", "mode", "hole", "context", "max_tokens")}
        results = {"model": arguments.model.name, **settings, **found}
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
