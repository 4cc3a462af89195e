"""Samples with the same tokens so far: they share a row of each step, and part where they choose different tokens.

One of them leads: the model runs for it, and the others, its followers, choose from its logits, each with its own
random bits. What a sample is like never depends on this: the same tokens have the same logits, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

import numpy as np
from numpy.typing import NDArray

from santacoder.decoding.sequence import Sequence
from santacoder.engine.kv_cache import KVCache
from santacoder.errors import SantaCoderError
from santacoder.text.token_ids import common_prefix


def readers(batch: Iterable[Sequence]) -> dict[bytes, Sequence]:
    """Return, by their prompts, the sequences that others may follow: their prompts are being read."""
    return {
        sequence.prompt.tobytes(): sequence
        for sequence in batch
        if sequence.may_share and sequence.follows is None and not (sequence.generated or sequence.ended)
    }


def part(batch: Iterable[Sequence], new_cache: Callable[[], KVCache]) -> None:
    """Give followers whose leaders have ended or have other tokens a new leader: the first with the same ones."""
    leaders: dict[tuple[int, bytes], Sequence] = {}
    for sequence in batch:
        if sequence.follows is None or sequence.ended:
            continue
        leader, agreed = sequence.follows
        if _still_agree(sequence, leader, agreed):
            sequence.follows = leader, sequence.generated
            continue
        key = id(leader), sequence.token_ids[sequence.prompt.size + agreed :].tobytes()
        new = leaders.setdefault(key, sequence)
        if new is not sequence:
            sequence.follows = new, sequence.generated
        elif leader.cache is None:
            sequence.lead(new_cache())
        else:
            common = common_prefix(leader.token_ids, sequence.token_ids)
            sequence.lead(leader.cache.fork(min(common, len(leader.cache))))


def _still_agree(sequence: Sequence, leader: Sequence, agreed: int) -> bool:
    """Return whether a sequence has the tokens of its leader, which goes on; the first `agreed` are known to be."""
    known = sequence.generated
    if leader.ended or leader.generated != known:
        return False
    first = sequence.prompt.size + agreed
    return known == agreed or not (sequence.token_ids[first:] != leader.token_ids[first:]).any()


def followers(batch: Iterable[Sequence]) -> dict[Sequence, list[Sequence]]:
    """Return the followers of each leader that has any."""
    found: dict[Sequence, list[Sequence]] = {}
    for sequence in batch:
        if sequence.follows is not None:
            found.setdefault(sequence.follows[0], []).append(sequence)
    return found


def advance(alike: list[Sequence], logits: NDArray[np.float32], draft_ids: list[int]) -> None:
    """Give sequences with the same tokens so far their logits (1 + draft tokens, V), which are overwritten.

    Those of one kind choose together, others from a copy of their own.
    """
    kinds: dict[Hashable, list[Sequence]] = {}
    for sequence in alike:
        if not sequence.ended:
            kinds.setdefault(sequence.kind, []).append(sequence)
    for first, *others in kinds.values():
        rows = logits.copy() if len(kinds) > 1 else logits
        try:
            first.advance(rows, draft_ids, alike=others)
        except SantaCoderError as error:
            for sequence in (first, *others):
                if not sequence.ended:
                    sequence.error = error
