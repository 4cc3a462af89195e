"""What an index says of itself, in one checked row: how it was made, and which postings belong to which files."""

from __future__ import annotations

import json
import zlib
from bisect import bisect_right
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

from santacoder.attribution.lexemes import Winnowing
from santacoder.errors import AttributionIndexError, InvalidRequestError

#: Names and numbers that stand for each other make grams more alike, so these are longer.
EXACT: Final = Winnowing(16, 25, 6)
RENAMED: Final = Winnowing(24, 27, 6)

#: Positions within a shard, and lexemes of a lot, are 32-bit numbers.
MAX_POSITIONS: Final = 1 << 32


@dataclass
class Lot:
    """Files that were added together.

    Attributes:
        number: the upper 32 bits of the ids of their contents.
        lexemes: of all of them.
        first: the position of the first one in its shard.
    """

    number: int
    lexemes: int
    first: int = 0


@dataclass
class Shard:
    """Postings of one or more lots, in buckets by the upper bits of their keys.

    Attributes:
        number: the upper 32 bits of the ids of its buckets.
        renamed: whether the keys are of renamed lexemes.
        bits: of a key that say which bucket it is in.
        postings: how many.
        lots: by rising `first`.
    """

    number: int
    renamed: bool
    bits: int
    postings: int
    lots: list[Lot]

    def __post_init__(self) -> None:
        self.starts = [lot.first for lot in self.lots]

    def content_position(self, position: int) -> int:
        """Return the id of a content plus the index of a lexeme in it, for a position of this shard.

        Raises:
            AttributionIndexError: no lot has this position.
        """
        lot = self.lots[max(bisect_right(self.starts, position) - 1, 0)]
        if not 0 <= position - lot.first < lot.lexemes:
            raise AttributionIndexError("a posting is outside of its shard")
        return (lot.number << 32) + position - lot.first


@dataclass
class State:
    """What an index holds.

    Attributes:
        exact: how the grams of lexemes were chosen.
        renamed: the same for renamed lexemes; None without them.
        texts: whether the texts of the files are stored.
        lots: how many there ever were: the number of the next.
        shards: all postings.
        next_shard: the number of the next shard.
        contents, files, size, lexemes: totals of what is there: different contents, and files that hold them.
        removed: id and number of lexemes of contents that are gone, but whose postings are not.
    """

    exact: Winnowing = EXACT
    renamed: Winnowing | None = None
    texts: bool = True
    lots: int = 0
    shards: list[Shard] = field(default_factory=list)
    next_shard: int = 0
    contents: int = 0
    files: int = 0
    size: int = 0
    lexemes: int = 0
    removed: list[tuple[int, int]] = field(default_factory=list)

    def winnowing(self, renamed: bool) -> Winnowing:
        """Return how the grams of a kind were chosen."""
        return (self.renamed or RENAMED) if renamed else self.exact

    def of_kind(self, renamed: bool) -> list[Shard]:
        """Return the shards with postings of a kind."""
        return [shard for shard in self.shards if shard.renamed == renamed]

    @property
    def settings(self) -> dict[str, Any]:
        """What indexes must have in common to be merged."""
        return {"exact": self.exact, "renamed": self.renamed, "texts": self.texts}

    def encode(self) -> tuple[str, int]:
        """Return the row that holds it."""
        text = json.dumps(asdict(self))
        return text, zlib.crc32(text.encode())


def decode_state(text: object, crc: object) -> State:
    """Return the state in a row.

    Raises:
        AttributionIndexError: the row is damaged.
    """
    if not isinstance(text, str) or zlib.crc32(text.encode("utf-8", "surrogatepass")) != crc:
        raise AttributionIndexError("its description is damaged")
    try:
        return _parse(json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError, InvalidRequestError) as error:
        raise AttributionIndexError(f"its description is not one of an index: {error}") from None


def _parse(values: dict[str, Any]) -> State:
    """Rebuild a state, and check what loops and C rely on."""
    state = State(**{each.name: values[each.name] for each in fields(State)})
    state.exact = Winnowing(*values["exact"])
    state.exact.check()
    if values["renamed"] is not None:
        state.renamed = Winnowing(*values["renamed"])
        state.renamed.check()
    state.removed = [(int(start), int(count)) for start, count in values["removed"]]
    state.shards = [Shard(**{**shard, "lots": [Lot(**lot) for lot in shard["lots"]]}) for shard in values["shards"]]
    for shard in state.shards:
        at = 0
        for lot in shard.lots:
            if lot.first != at or not 0 <= lot.number < 1 << 31 or lot.lexemes < 1:
                raise ValueError(f"lot {lot.number} begins at {lot.first}, not at {at}")
            at += lot.lexemes
        if not 0 <= shard.bits <= 24 or not 0 <= shard.number < 1 << 31 or not 0 < at < MAX_POSITIONS:
            raise ValueError(f"shard {shard.number} has {shard.bits} bits and {at} positions")
    return state
