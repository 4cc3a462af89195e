"""Name the texts that hold a test prompt or a benchmark's problem, so that nothing is trained on them.

    python overlap.py --prompts ../../bench/studies/everyday.jsonl --humaneval HumanEval.jsonl.gz FILES...

Texts are compared as sequences of words in lower case. A text overlaps with a prompt if it has PROMPT_WORDS words in
the same order, or the whole of a shorter one; with a problem (its prompt, solution and tests) if it has PROBLEM_WORDS.
A .jsonl file holds a text in each line, under "text". The names of those that overlap are printed, for a list's lines
with their numbers from 0.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

PROMPT_WORDS = 8
PROBLEM_WORDS = 13
WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """Return the words of a text in lower case; an underscore ends one."""
    return WORD.findall(text.lower())


class Forbidden:
    """Sequences of words that no training text may have."""

    def __init__(self) -> None:
        self._sequences: dict[int, set[tuple[str, ...]]] = {}
        self._beginnings: set[str] = set()

    def add(self, text: str, most: int) -> None:
        """Forbid every sequence of `most` words of a text, or all of a shorter one."""
        found = words(text)
        length = min(most, len(found))
        for start in range(len(found) - length + 1) if length else ():
            self._sequences.setdefault(length, set()).add(tuple(found[start : start + length]))
            self._beginnings.add(found[start])

    def first_in(self, text: str) -> str | None:
        """Return the first forbidden sequence that a text has, or None."""
        found = words(text)
        for start, word in enumerate(found):
            if word in self._beginnings:
                for length, sequences in self._sequences.items():
                    if tuple(found[start : start + length]) in sequences:
                        return " ".join(found[start : start + length])
        return None


def read_forbidden(prompts: Iterable[Path], problems: Iterable[Path]) -> Forbidden:
    """Forbid the prompts of some files, and the problems of others."""
    forbidden = Forbidden()
    for path in prompts:
        for row in map(json.loads, path.read_text("utf-8").splitlines()):
            forbidden.add(row["prompt"], PROMPT_WORDS)
    for path in problems:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for row in map(json.loads, file):
                forbidden.add(row["prompt"] + row["canonical_solution"], PROBLEM_WORDS)
                forbidden.add(row["test"], PROBLEM_WORDS)
    return forbidden


def read_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and text of a file, or of each line of a .jsonl file."""
    text = path.read_text("utf-8")
    if path.suffix != ".jsonl":
        yield str(path), text
        return
    for number, line in enumerate(text.splitlines()):
        yield f"{path}:{number}", json.loads(line)["text"]


def main() -> None:
    """Print the texts that overlap."""
    parser = argparse.ArgumentParser(description="Name the texts that overlap with test prompts or problems.")
    parser.add_argument("--prompts", type=Path, nargs="*", default=[], help="files of prompts, as JSONL")
    parser.add_argument("--humaneval", type=Path, nargs="*", default=[], help="HumanEval's problems, as JSONL.gz")
    parser.add_argument("--list", type=Path, help="a file that names more texts, relative to --root")
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("files", type=Path, nargs="*")
    arguments = parser.parse_args()
    forbidden = read_forbidden(arguments.prompts, arguments.humaneval)
    listed = arguments.list.read_text("utf-8").splitlines() if arguments.list else []
    for path in (*arguments.files, *(arguments.root / name for name in listed)):
        for name, text in read_texts(path):
            found = forbidden.first_in(text)
            if found:
                print(f"{name}\t{found}")


if __name__ == "__main__":
    main()
