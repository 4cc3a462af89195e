"""The vocabulary in the order of its bytes: the tokens that begin with given bytes are one range."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from santacoder.text.token_ids import TokenIds

#: Of a token that has no place in the table.
NO_RANK: Final = -1


@dataclass(frozen=True, slots=True)
class Agreeing:
    """The tokens that agree with bytes that a text has to begin with.

    Attributes:
        ranks: (V,) int32, the place of each token in the table.
        first: the first rank of the tokens that begin with all of the bytes.
        last: the rank after the last of these.
        shorter: (S,) int32, where there is no such token: the longest that the bytes begin with, and after which tokens
            can spell the rest; several where the vocabulary repeats it.
    """

    ranks: TokenIds
    first: int
    last: int
    shorter: TokenIds


class TokenTable:
    """Finds tokens by how their bytes begin.

    Attributes:
        ranks: (V,) int32, the place of each token in the order of bytes; NO_RANK for those that the table lacks.
    """

    def __init__(self, ids: Sequence[int], spellings: Sequence[bytes], vocab_size: int) -> None:
        """Sort tokens: ids in 0..vocab_size-1, each with its bytes; those without bytes are left out."""
        order = sorted((place for place, data in enumerate(spellings) if data), key=spellings.__getitem__)
        self._bytes = [spellings[place] for place in order]
        self._ids = np.array([ids[place] for place in order], dtype=np.int32)
        self._longest = max(map(len, self._bytes), default=0)
        self._first = dict(zip(reversed(self._bytes), range(len(order) - 1, -1, -1), strict=True))
        self._missing = frozenset(byte for byte in range(256) if bytes([byte]) not in self._first)
        self.ranks: TokenIds = np.full(vocab_size, NO_RANK, dtype=np.int32)
        self.ranks[self._ids] = np.arange(self._ids.size, dtype=np.int32)

    def agreeing(self, owed: bytes) -> Agreeing:
        """Return the tokens that may come next where the text has to go on with `owed`, at least one byte."""
        first, last = self._range(owed)
        shorter: TokenIds = np.empty(0, dtype=np.int32)
        if first == last:
            for length in range(min(len(owed) - 1, self._longest), 0, -1):
                if owed[:length] in self._first and self.can_spell(owed[length:]):
                    begin = self._first[owed[:length]]
                    shorter = self._ids[begin : bisect_left(self._bytes, owed[:length] + b"\0", begin)]
                    break
        return Agreeing(self.ranks, first, last, shorter)

    def _range(self, data: bytes) -> tuple[int, int]:
        """Return the ranks of the tokens that begin with `data`: the first, and after the last."""
        first = bisect_left(self._bytes, data)
        head = data.rstrip(b"\xff")  # with one more in its last byte: the least bytes above all that begin with `data`
        if not head:
            return first, len(self._bytes)
        return first, bisect_left(self._bytes, head[:-1] + bytes([head[-1] + 1]), first)

    def can_spell(self, owed: bytes) -> bool:
        """Return whether tokens can spell `owed`, the last of them perhaps with more bytes."""
        if self._missing.isdisjoint(owed):
            return True
        reached = [False] * len(owed) + [True]  # whether the bytes from here on can be spelled
        for start in range(len(owed) - 1, -1, -1):
            first, last = self._range(owed[start:])
            reached[start] = first < last or any(
                reached[stop] and owed[start:stop] in self._first
                for stop in range(start + 1, min(len(owed), start + self._longest + 1))
            )
        return reached[0]
