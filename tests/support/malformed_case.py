"""How a malformed file is made: a whole small model with one thing wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.gguf_builder import GGUFBuilder, tiny_builder

LAYER, TOKENS, MERGES = "starcoder", "tokenizer.ggml.tokens", "tokenizer.ggml.merges"
SYMBOLS = "abdefrtĠ"


@dataclass(frozen=True)
class Case:
    """A path to load.

    Attributes:
        name: what is wrong, or odd.
        write: makes the file in a folder and gives its path.
        problem: a part of the error's message; None where the model loads and runs a token.
    """

    name: str
    write: Callable[[Path], Path]
    problem: str | None


def model(**changes: Any) -> GGUFBuilder:
    """A complete model of under 4 KB."""
    sizes = {"width": 8, "heads": 1, "context": 2, "hidden": 8, "n_padding": 0, "weight_type": "F16"}
    return tiny_builder(**{**sizes, "symbols": SYMBOLS, **changes})


def file(name: str, data: bytes, problem: str | None) -> Case:
    """A case that is a file with these bytes."""

    def write(folder: Path) -> Path:
        path = folder / "case.gguf"
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        return path

    return Case(name, write, problem)


def built(name: str, out: GGUFBuilder, problem: str | None) -> Case:
    """A case from a builder; `@FIELD@` in the problem is where that field lies."""
    data = out.build()
    if problem is not None:
        problem = re.sub("@([^@]+)@", lambda found: str(out.offsets[found[1]]), problem)
    return file(name, data, problem)


def keys(name: str, value: Any, problem: str | None, **changes: Any) -> Case:
    """A model with one metadata value changed; None drops the key."""
    shown = value[1][:12].hex() if isinstance(value, tuple) else repr(value)[:40]
    return built(f"{name} = {shown}", model(metadata={name: value}, **changes), problem)


def tensor(what: str, problem: str | None, name: str = "blk.0.ffn_up.weight", **fields: Any) -> Case:
    """A model with fields of one tensor changed."""
    out = model()
    for key, value in fields.items():
        setattr(out.tensor(name), key, value)
    return built(f"tensor: {what}", out, problem)
