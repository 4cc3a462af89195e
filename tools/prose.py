"""Finds words of prose that have a plainer one: `python tools/prose.py`.

Prints each place and has the status 1 if there is one. Only prose is read: comments and strings of Python and C, and
of Markdown what is outside code.
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
FOLDERS: Final = ("src", "csrc", "tests", "bench", "docs", "examples", "tools")
SUFFIXES: Final = frozenset({".py", ".pyi", ".c", ".h", ".md"})

#: What not to write, and what to write instead.
WORDS: Final = (
    (re.compile(r"(?<![Tt]here )(?<!'s )\bis no\b(?! (?:longer|more than|less than|such)\b)"), "is not a"),
    (re.compile(r"\balone\b(?![(.=\w]|_)"), "only, or by itself"),
)
#: Texts of others, data, and lines that name code.
SKIPPED: Final = re.compile(r"^tests/data/|^tools/tiny/.*\.(?:json|txt)$|^bench/results/")
CODE: Final = re.compile(r"`[^`]*`|--alone|\balone\.h\b|\"alone\"")


def main() -> int:
    """Print what is found."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    found = 0
    for path in sorted([*paths, *ROOT.glob("*.md"), ROOT / "setup.py"]):
        name = path.relative_to(ROOT).as_posix()
        if SKIPPED.search(name) or path == Path(__file__):
            continue
        for line, text in prose(path):
            for pattern, better in WORDS:
                if match := pattern.search(CODE.sub("", text)):
                    print(f"{name}:{line}: {match.group()!r}: write {better}")
                    found += 1
    return 1 if found else 0


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file that are prose, each with its number."""
    text = path.read_text(encoding="utf-8")
    if path.suffix in (".py", ".pyi"):
        kinds = (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.COMMENT))
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in kinds:
                yield from enumerate(token.string.splitlines(), token.start[0])
    elif path.suffix == ".md":
        fenced = False
        for number, line in enumerate(text.splitlines(), 1):
            fenced ^= line.lstrip().startswith("```")
            if not fenced:
                yield number, line
    else:
        for match in re.finditer(r"/\*.*?\*/|//[^\n]*|\"(?:[^\"\\\n]|\\.)*\"", text, re.DOTALL):
            yield from enumerate(match.group().splitlines(), text.count("\n", 0, match.start()) + 1)


if __name__ == "__main__":
    sys.exit(main())
