"""The scheduler's decisions as pure functions: turns, prefixes, room and the rows of a step, tested without a model.

Sequences wait in a queue until there is room. A sequence whose prompt begins like one that is being read waits for
that prefix and then shares its cache: for n samples, a prompt is read once. Batching is continuous (Yu et al. 2022,
"Orca"): after each step sequences may join and leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from santacoder.engine.kv_cache import KV_BLOCK, KVCache
from santacoder.text.token_ids import TokenIds, common_prefix

MAX_RUNNING: Final = 64  # sequences in a step: more gain little speed
ALIKE: Final = 4  # as many in the batch: those with the same tokens so far need one row of a step
PROMPT_ROWS: Final = 128  # rows of prompts in a step where other sequences generate: they should not wait long
MAX_DRAFTING: Final = 4  # sequences with drafts: with more, the rows of a step are better spent on sequences
WORTH_ABANDONING: Final = 32  # rows that nobody wants, in a step that is given up for them though others want theirs
WORTH_WAITING: Final = KV_BLOCK // 4  # tokens: a sequence waits for a prefix being read that is longer by this

T = TypeVar("T")


class Reading(Protocol):
    """A sequence whose prompt is in its cache, or is being read into it."""

    @property
    def prompt(self) -> TokenIds: ...
    @property
    def cache(self) -> KVCache | None: ...


class Kept(Protocol):
    """A cache that is kept, and the tokens that it holds."""

    @property
    def tokens(self) -> TokenIds: ...
    @property
    def cache(self) -> KVCache: ...


class Stepping(Protocol):
    """A sequence of the batch."""

    @property
    def generated(self) -> int: ...
    def pending(self, room: int, beside: int | None) -> tuple[TokenIds, int]: ...


S = TypeVar("S", bound=Stepping)


class Rows(NamedTuple, Generic[S]):
    """A sequence's part of a step: its tokens, and for how many of these, at the end, the logits are wanted."""

    sequence: S
    token_ids: TokenIds
    wanted: int


class Prefix(NamedTuple):
    """The first `length` tokens of a prompt, and a cache that holds at least these; None for length 0."""

    length: int
    cache: KVCache | None


def in_turn(queues: Iterable[Iterator[T]]) -> Iterator[T]:
    """Yield the first item of each queue, then the second of each, and so on; no queue is asked before its turn."""
    while True:
        others = []
        for queue in queues:
            for item in queue:
                yield item
                others.append(queue)
                break
        if not others:
            return
        queues = others


def find_prefix(
    prompt: TokenIds, batch: Iterable[Reading], kept: Iterable[Kept], reads_from: int | None = None
) -> Prefix | None:
    """Return the longest prefix of a prompt that a cache holds, or None while a longer one is being read.

    The last token is never part of it: its logits are needed, so it runs in any case. With `reads_from`, all tokens
    from there on run.
    """
    best = Prefix(0, None)
    most = prompt.size - 1
    if reads_from is None:
        reads_from = most
    for entry in kept:
        length = common_prefix(prompt, entry.tokens)
        if length > best.length:
            best = Prefix(length, entry.cache)
    coming = 0
    for other in batch:
        common = common_prefix(prompt, other.prompt)
        coming = max(coming, common)
        held = 0 if other.cache is None else min(common, len(other.cache))
        if held > best.length:
            best = Prefix(held, other.cache)
    length = min(best.length, reads_from)
    if min(coming, most) - length >= WORTH_WAITING:
        return None
    return Prefix(length, best.cache if length else None)


def count_dropped(excess: int, kept_blocks: Iterable[int]) -> int | None:
    """Return how many of the first kept caches to drop to free `excess` kv_blocks; None if all are too few."""
    dropped = 0
    sizes = iter(kept_blocks)
    while excess > 0:
        size = next(sizes, None)
        if size is None:
            return None
        excess -= size
        dropped += 1
    return dropped


def is_unwanted(unwanted: int, rows: int, again: bool) -> bool:
    """Return whether to give up a step because nobody wants so many of its rows any more.

    The other rows have to run again, so they must be fewer; and not twice in a row: somebody who comes and goes all the
    time cannot stop the others. `again` says that the step before was given up.
    """
    return unwanted == rows or (not again and unwanted >= WORTH_ABANDONING and 2 * unwanted > rows)


def plan_step(batch: Iterable[S], chunk: int, most: int = MAX_RUNNING) -> list[Rows[S]]:
    """Return what to run in at most `chunk` rows: first generating sequences, then prompts while rows are left.

    The first `most` of those that generate run, and the others later.
    """
    members = list(batch)
    generating = [sequence for sequence in members if sequence.generated][: min(chunk, most)]
    draft = len(members) <= MAX_DRAFTING
    plan: list[Rows[S]] = []
    room = chunk
    for others, sequence in zip(range(len(generating) - 1, -1, -1), generating, strict=True):
        beside = chunk - room + others if draft else None
        plan.append(Rows(sequence, *sequence.pending(max(room - others, 1), beside)))
        room -= plan[-1].token_ids.size
    room = min(room, PROMPT_ROWS) if plan else room
    for sequence in members:
        if room <= 0:
            break
        if not sequence.generated:
            plan.append(Rows(sequence, *sequence.pending(room, None)))
            room -= plan[-1].token_ids.size
    return plan
