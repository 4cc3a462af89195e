"""Memory for keys and values: what the batch may need, and what is kept of ended requests for those to come."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Several

from santacoder.batching.limits import Limits
from santacoder.batching.policy import count_dropped, find_prefix
from santacoder.batching.prefix_cache import PrefixCache
from santacoder.batching.shared_scores import share_scores
from santacoder.decoding.sequence import Sequence
from santacoder.engine.kv_cache import KV_BLOCK, KVCache
from santacoder.text.token_ids import TokenIds


class CacheRoom:
    """Gives sequences the caches that they start from. Callers hold the scheduler's lock."""

    def __init__(self, limits: Limits, block_bytes: int) -> None:
        """Take the limits, and the bytes of a kv_block."""
        self._block_bytes = block_bytes
        self._kept = PrefixCache()
        self.limit(limits)

    def limit(self, limits: Limits) -> None:
        """Keep to new limits from now on."""
        self._most_blocks = max(limits.cache_bytes // self._block_bytes, 1)
        self._kept.resize(limits.prefixes)

    def forget(self) -> None:
        """Free the memory of what is kept."""
        self._kept.drop_oldest(len(self._kept.entries))

    def blocks(self, batch: Several[Sequence]) -> int:
        """Count the kv_blocks that the batch may need and that are kept."""
        return sum(sequence.blocks for sequence in batch) + self._kept.blocks

    def keep(self, sequence: Sequence) -> None:
        """Release an ended sequence, and keep its cache if it has one of its own."""
        cache = sequence.release()
        if cache is not None:
            self._kept.add(sequence.token_ids, cache, sequence.request.scores)

    def cache_for(
        self, sequence: Sequence, batch: Several[Sequence], new_cache: Callable[[], KVCache]
    ) -> KVCache | None:
        """Return a cache with as much of the prompt as there is; None if there is no room or it is being read."""
        kept = self._kept.entries
        leaders = [each for each in batch if each.follows is None]  # the others have no caches
        readers = leaders if sequence.request.scores is None else share_scores(sequence, leaders, kept)
        prefix = find_prefix(sequence.prompt, readers, kept, sequence.reads_from)
        if prefix is None or not self._make_room(sequence.blocks - prefix.length // KV_BLOCK, batch):
            return None
        return new_cache() if prefix.cache is None else prefix.cache.fork(prefix.length)

    def has_room(self, sequence: Sequence, batch: Several[Sequence]) -> bool:
        """Return whether there is room for what a sequence may generate after a prompt that others have read."""
        return self._make_room(sequence.blocks - sequence.reads_from // KV_BLOCK, batch)

    def count_uncached(self, prompt: TokenIds, batch: Several[Sequence]) -> int:
        """Count the tokens of a prompt that no cache holds, or will hold when the batch has read them."""
        prefix = find_prefix(prompt, batch, self._kept.entries)
        return prompt.size - prefix.length if prefix else 1

    def _make_room(self, blocks: int, batch: Several[Sequence]) -> bool:
        """Drop kept caches as needed; return whether so many kv_blocks fit. A lone sequence runs in any case.

        Those that wait for a thread to ask their hooks, of streams that nobody reads for example, do not count.
        """
        kept = [entry.cache.blocks for entry in self._kept.entries]
        dropped = count_dropped(self.blocks(batch) + blocks - self._most_blocks, kept)
        if dropped is None and any(each.held is None or not each.asks_itself for each in batch):
            return False
        self._kept.drop_oldest(len(kept) if dropped is None else dropped)
        return True
