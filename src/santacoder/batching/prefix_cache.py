"""Caches of finished requests, kept for the next one that begins alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from santacoder.engine.kv_cache import KVCache

ENTRIES: Final = 4


def common_prefix(a: NDArray[np.int32], b: NDArray[np.int32]) -> int:
    """How many tokens of two sequences, (N,) and (M,), are alike from the beginning."""
    n = min(a.size, b.size)
    different = np.flatnonzero(a[:n] != b[:n])
    return int(different[0]) if different.size else n


@dataclass(slots=True)
class Entry:
    """Tokens (N,) and a cache that holds all of them."""

    tokens: NDArray[np.int32]
    cache: KVCache


class PrefixCache:
    """The caches of the last requests, newest last; none whose tokens another one begins with."""

    def __init__(self, entries: int = ENTRIES) -> None:
        self._most = entries
        self._entries: list[Entry] = []

    def find(self, tokens: NDArray[np.int32]) -> tuple[int, KVCache | None]:
        """The longest common beginning with any entry, and its cache."""
        best: tuple[int, KVCache | None] = (0, None)
        for entry in self._entries:
            length = common_prefix(tokens, entry.tokens)
            if length > best[0]:
                best = length, entry.cache
        return best

    def add(self, tokens: Sequence[int], cache: KVCache) -> None:
        """Keep a cache whose positions hold `tokens`, as many as it has; nobody else writes to it from now on."""
        entry = Entry(np.asarray(tokens[: len(cache)], dtype=np.int32), cache)
        if not entry.tokens.size:
            return
        kept = [e for e in self._entries if common_prefix(e.tokens, entry.tokens) < e.tokens.size]
        self._entries = [*kept, entry][-self._most :]

    def drop_oldest(self) -> bool:
        """Give back the memory of the oldest entry; whether there was one."""
        if not self._entries:
            return False
        del self._entries[0]
        return True

    @property
    def blocks(self) -> int:
        """Blocks of memory that the entries hold, those that they share counted for each."""
        return sum(entry.cache.blocks for entry in self._entries)
