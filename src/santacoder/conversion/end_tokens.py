"""The tokens that end a text, from every file of a checkpoint that names some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from santacoder._util.json_file import read_object
from santacoder.conversion.generation_config import GENERATION_CONFIG, read_generation_config

#: Names ends, too: other servers than transformers' `generate`, which follows generation_config.json, heed it.
TOKENIZER_CONFIG: Final = "tokenizer_config.json"


@dataclass(frozen=True)
class NamedEnd:
    """An end of text that a file names.

    Attributes:
        place: the file and the key, for messages.
        token: an id or a spelling in a valid file; anything that JSON can hold otherwise.
    """

    place: str
    token: object


def read_ends(folder: Path, config: Mapping[str, Any]) -> list[NamedEnd]:
    """Return all ends that a checkpoint names, those of config.json (whose values are `config`) first.

    Raises:
        OSError: a file cannot be read.
        ModelFormatError: a file is too large or not a JSON object; the file is named.
    """
    ends = _listed("config.json: eos_token_id", config.get("eos_token_id"))
    ends += _listed(f"{GENERATION_CONFIG}: eos_token_id", read_generation_config(folder).get("eos_token_id"))
    if (folder / TOKENIZER_CONFIG).is_file():
        token = read_object(folder / TOKENIZER_CONFIG).get("eos_token")
        spelling = token.get("content") if isinstance(token, dict) else token
        ends += _listed(f"{TOKENIZER_CONFIG}: eos_token", spelling)
    return ends


def _listed(place: str, value: object) -> list[NamedEnd]:
    """Return the ends in `value`: one token, a list of them, or null."""
    tokens = value if isinstance(value, list) else [] if value is None else [value]
    return [NamedEnd(place, token) for token in tokens]
