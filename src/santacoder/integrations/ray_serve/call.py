"""A request on its way from the door to a replica."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

#: Of a prompt's beginning: 64 tokens, or about as many characters.
TOKENS: Final = 64
CHARACTERS: Final = 4 * TOKENS

#: Where a prompt is, by the path that it is posted to.
COMPLETIONS: Final = frozenset({"/v1/completions", "/completion", "/completions"})
INFILL: Final = "/infill"


@dataclass(frozen=True, slots=True)
class Call:
    """A request as a replica gets it.

    Attributes:
        scope: what ASGI says of it; of plain values.
        body: its bytes.
        seed: the seeds of its prompts that have none follow from it, so that it can be answered twice with equal bytes.
        beginning: a digest of the beginning of its prompt, or None where it has none.
    """

    scope: dict[str, Any]
    body: bytes
    seed: int
    beginning: bytes | None


def digest_of_beginning(path: str, body: bytes, suffix_first: bool) -> bytes | None:
    """Return a digest of the first block of what the model will read, or None for requests without a prompt.

    Args:
        path: of the request.
        body: its bytes, which may be anything.
        suffix_first: whether /infill puts the text after the gap first.
    """
    if path not in COMPLETIONS and path != INFILL:
        return None
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return None  # any replica can refuse it
    if not isinstance(fields, dict):
        return None
    block = repr(_first_block(fields, path == INFILL, suffix_first))
    return blake2b(block.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _first_block(fields: dict[str, Any], infills: bool, suffix_first: bool) -> str | list[Any]:
    if infills:
        before, after = _text(fields, "input_prefix") + _text(fields, "prompt"), _text(fields, "input_suffix")
        return (after + before if suffix_first else before + after)[:CHARACTERS]
    prompt = fields.get("prompt")
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list):
        prompt = prompt[0]  # of several, the first
    if isinstance(prompt, list):
        return prompt[:TOKENS]
    return _text({"prompt": prompt}, "prompt")[:CHARACTERS]


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""
