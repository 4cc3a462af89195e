"""Caches of finished requests, kept for the next one that begins alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from santacoder.decoding.prompt_scores import PromptScores
from santacoder.engine.kv_cache import KVCache
from santacoder.text.token_ids import TokenIds, common_prefix

ENTRIES: Final = 4


@dataclass(slots=True)
class Entry:
    """Tokens (N,), a cache that holds all of them, and the scores of the first ones, if they were asked for."""

    tokens: TokenIds
    cache: KVCache
    scores: PromptScores | None = None


class PrefixCache:
    """The caches of the last requests, newest last; one that holds a prefix of a newer one is dropped."""

    def __init__(self, entries: int = ENTRIES) -> None:
        self._most = entries
        self._entries: list[Entry] = []

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All of them, the oldest first."""
        return tuple(self._entries)

    def add(self, tokens: TokenIds, cache: KVCache, scores: PromptScores | None = None) -> None:
        """Keep a cache that holds `tokens`, or the first of them; nobody may write to it from now on."""
        entry = Entry(tokens[: len(cache)].copy(), cache, scores)
        if not entry.tokens.size:
            return
        kept = [e for e in self._entries if common_prefix(e.tokens, entry.tokens) < e.tokens.size]
        self._entries = [*kept, entry]
        self.resize(self._most)

    def resize(self, entries: int) -> None:
        """Keep at most so many from now on."""
        self._most = entries
        self.drop_oldest(len(self._entries) - entries)

    def drop_oldest(self, count: int) -> None:
        """Free the memory of the `count` oldest entries, if that is positive."""
        del self._entries[: max(count, 0)]

    @property
    def blocks(self) -> int:
        """Number of kv_blocks that the entries hold; a shared one counts for each."""
        return sum(entry.cache.blocks for entry in self._entries)
