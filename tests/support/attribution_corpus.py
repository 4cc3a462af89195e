"""A small corpus of generated code, and indexes of it."""

from __future__ import annotations

import random
from pathlib import Path

from santacoder.attribution.indexing import add_to_index

_VERBS, _NOUNS = ("load", "save", "find", "make", "drop", "join"), ("item", "row", "key", "set")
_WORDS = [f"{verb}_{noun}" for verb in _VERBS for noun in _NOUNS]


def code(seed: int, lines: int = 30, indent: str = "    ") -> str:
    """Return lines of code that no other seed has."""
    source = random.Random(seed)
    made = []
    for _ in range(lines):
        names = [f"{source.choice(_WORDS)}_{source.randrange(1000)}" for _ in range(4)]
        depth = indent * source.randrange(3)
        made.append(f"{depth}{names[0]} = {names[1]}({names[2]}, {source.randrange(100)})[{names[3]!r}]\n")
    return "".join(made)


def write_corpus(folder: Path, files: dict[str, str]) -> Path:
    """Write files below a folder, and return it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return folder


def make_index(folder: Path, files: dict[str, str], *, name: str = "corpus", renamed: bool = False) -> Path:
    """Index files below `folder`/name, which is their repository's name; return the index."""
    corpus = write_corpus(folder / name, files)
    index = folder / f"{name}.scidx"
    add_to_index(index, [corpus], repository=name, renamed=renamed)
    return index
