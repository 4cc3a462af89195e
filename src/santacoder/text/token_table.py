"""The vocabulary in the order of its bytes: the tokens that begin with given bytes are one range."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter
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
        last: the rank behind the last of these.
        shorter: (S,) int32, ids of tokens that the bytes begin with, and after which tokens can spell the rest.
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

    def __init__(self, tokens: Iterable[tuple[int, bytes]], vocab_size: int) -> None:
        """Sort tokens: ids in 0..vocab_size-1, each with its bytes; those without bytes are left out."""
        spelt = [(token, data) for token, data in tokens if data]
        spelt.sort(key=itemgetter(1))
        self._bytes = [data for _, data in spelt]
        self._ids = np.array([token for token, _ in spelt], dtype=np.int32)
        self._longest = max(map(len, self._bytes), default=0)
        self._first: dict[bytes, int] = {data: rank for rank, data in reversed([*enumerate(self._bytes)])}
        self._spells_all = all(bytes([byte]) in self._first for byte in range(256))
        self.ranks: TokenIds = np.full(vocab_size, NO_RANK, dtype=np.int32)
        self.ranks[self._ids] = np.arange(self._ids.size, dtype=np.int32)

    def agreeing(self, owed: bytes) -> Agreeing:
        """Return the tokens that may come next where the text has to go on with `owed`, at least one byte."""
        shorter: list[int] = []
        for length in range(1, min(len(owed), self._longest + 1)):
            rank = self._first.get(owed[:length])
            if rank is not None and self.can_spell(owed[length:]):
                while rank < len(self._bytes) and self._bytes[rank] == owed[:length]:  # real files repeat tokens
                    shorter.append(int(self._ids[rank]))
                    rank += 1
        return Agreeing(self.ranks, *self._range(owed), np.array(shorter, dtype=np.int32))

    def _range(self, data: bytes) -> tuple[int, int]:
        """Return the ranks of the tokens that begin with `data`: the first, and behind the last."""
        first = bisect_left(self._bytes, data)
        head = data.rstrip(b"\xff")  # with one more in its last byte: the least bytes above all that begin with `data`
        if not head:
            return first, len(self._bytes)
        return first, bisect_left(self._bytes, head[:-1] + bytes([head[-1] + 1]), first)

    def can_spell(self, owed: bytes) -> bool:
        """Return whether tokens can spell `owed`, the last of them perhaps with more bytes."""
        if self._spells_all:
            return True
        reached = [False] * len(owed) + [True]  # whether the bytes from here on can be spelt
        for start in range(len(owed) - 1, -1, -1):
            first, last = self._range(owed[start:])
            reached[start] = first < last or any(
                reached[stop] and owed[start:stop] in self._first
                for stop in range(start + 1, min(len(owed), start + self._longest + 1))
            )
        return reached[0]
