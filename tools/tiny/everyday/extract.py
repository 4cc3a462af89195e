"""Take short functions and classes that need nothing else out of a corpus, to train on each as a whole.

    python extract.py --corpus CORPUS --out functions.jsonl --prompts ../../../bench/studies/everyday.jsonl

A function stands at the outermost level of its file, has at most LINES lines and a docstring; a class has no bases but
object. Neither has decorators, and every name in them is their own or a builtin. Each is compiled and executed in the
harness's sandbox, which only defines it. None holds a prompt of the files --prompts or a problem of --humaneval.
A line of the file is an object with "text" and "path".
"""

from __future__ import annotations

import argparse
import ast
import builtins
import json
import re
import symtable
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from santacoder.harness.sandbox.runner import Limits, run_programs

sys.path.insert(0, str(Path(__file__).parents[1]))

from overlap import read_forbidden

LINES, LEAST_LINES = 25, 3
CLASS_LINES = 40
BATCH = 100  # texts executed by one process
BUILTINS = frozenset(dir(builtins))
#: A function or a class at the outermost level.
PIECE = re.compile(r"^(?:def|class) .*\n(?:(?:[ \t].*)?\n|\).*\n)*[ \t].*\n", re.MULTILINE)


def free_names(text: str) -> set[str]:
    """Return the global names that a text uses and does not define."""
    used: set[str] = set()
    table = symtable.symtable(text, "text", "exec")
    own = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_namespace()}
    tables = [table]
    while tables:
        each = tables.pop()
        tables += each.get_children()
        used |= {s.get_name() for s in each.get_symbols() if s.is_global() and s.is_referenced()}
    return used - own - BUILTINS


def is_plain(text: str) -> bool:
    """Return whether a text is one documented function, or one class without bases, that needs nothing else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            [node] = ast.parse(text).body
            if free_names(text):
                return False
    except (SyntaxError, ValueError, RecursionError):
        return False
    if isinstance(node, ast.FunctionDef):
        return ast.get_docstring(node) is not None and not node.decorator_list
    return isinstance(node, ast.ClassDef) and not node.decorator_list and not node.bases and not node.keywords


def pieces(text: str) -> Iterator[str]:
    """Yield the short functions and classes of a file."""
    for found in PIECE.finditer(text):
        piece = found[0]
        most = CLASS_LINES if piece.startswith("class") else LINES
        if (
            LEAST_LINES <= piece.count("\n") <= most
            and ('"""' in piece or piece.startswith("class"))
            and is_plain(piece)
        ):
            yield piece


def that_run(texts: list[str]) -> list[str]:
    """Return the texts that can be executed in the sandbox, each in a namespace of its own."""
    batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
    programs = ["\n".join(f"exec({text!r}, {{}})" for text in batch) for batch in batches]
    kept: list[str] = []
    singly: list[str] = []
    for batch, verdict in zip(batches, run_programs(programs, Limits(seconds=10.0)), strict=True):
        (kept if verdict.passed else singly).extend(batch)
    verdicts = run_programs(singly, Limits(seconds=3.0))
    return kept + [text for text, verdict in zip(singly, verdicts, strict=True) if verdict.passed]


def main() -> None:
    """Write the texts, and print how many there are."""
    parser = argparse.ArgumentParser(description="Take short functions that need nothing else out of a corpus.")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--prompts", type=Path, nargs="*", default=[])
    parser.add_argument("--humaneval", type=Path, nargs="*", default=[])
    arguments = parser.parse_args()
    forbidden = read_forbidden(arguments.prompts, arguments.humaneval)
    found: dict[str, str] = {}
    for path in (arguments.corpus / "train.txt").read_text().splitlines():
        if path.endswith(".py"):
            for piece in pieces((arguments.corpus / "files" / path).read_text("utf-8")):
                found.setdefault(piece, path)
    allowed = [text for text in found if forbidden.first_in(text) is None]
    texts = that_run(allowed)
    with arguments.out.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text, "path": found[text]}) + "\n" for text in texts)
    size = sum(map(len, texts))
    print(f"{len(found)} found, {len(allowed)} without prompts and problems, {len(texts)} run: {size} characters")


if __name__ == "__main__":
    main()
