"""Prompts that are scored and begin alike: what they have in common is scored once."""

from __future__ import annotations

from collections.abc import Iterable

from santacoder.batching.prefix_cache import Entry
from santacoder.decoding.sequence import Sequence
from santacoder.text.token_ids import common_prefix


def share_scores(sequence: Sequence, batch: Iterable[Sequence], kept: Iterable[Entry]) -> list[Sequence]:
    """Let a sequence whose prompt is scored adopt what others know, so that it reads only the rest.

    Returns:
        Those of the batch that are worth waiting for: they find out what this one needs.
    """
    scores, prompt = sequence.request.scores, sequence.prompt
    useful: list[Sequence] = []
    if scores is None:
        return useful
    for entry in kept:
        if entry.scores is not None:
            scores.adopt(entry.scores, common_prefix(prompt, entry.tokens))
    for other in batch:
        known = other.request.scores
        if known is not None and known.k >= scores.k:
            scores.adopt(known, common_prefix(prompt, other.prompt))
            useful.append(other)
    return useful
