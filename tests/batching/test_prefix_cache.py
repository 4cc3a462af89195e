"""Which caches of finished requests are kept."""

from __future__ import annotations

import numpy as np

from santacoder.batching.prefix_cache import ENTRIES, PrefixCache
from santacoder.engine.kv_cache import KV_BLOCK, KVCache
from santacoder.text.token_ids import TokenIds


def ids(*tokens: int) -> TokenIds:
    return np.array(tokens, dtype=np.int32)


def cache_of(length: int) -> KVCache:
    cache = KVCache(64, 8 * KV_BLOCK, dim=1, item_bytes=1)
    cache.reserve(length)
    cache.append(length)
    return cache


def kept(prefixes: PrefixCache) -> list[list[int]]:
    return [entry.tokens.tolist() for entry in prefixes.entries]


def test_no_entry_is_the_beginning_of_another() -> None:
    prefixes = PrefixCache()
    for tokens in (ids(1, 2), ids(1, 3), ids(1, 2, 3), ids()):
        prefixes.add(tokens, cache_of(tokens.size))
    assert kept(prefixes) == [[1, 3], [1, 2, 3]]


def test_tokens_are_those_that_the_cache_holds_and_not_the_callers() -> None:
    prefixes, tokens = PrefixCache(), ids(1, 2, 3)
    prefixes.add(tokens, cache_of(2))
    tokens[:] = 9
    assert kept(prefixes) == [[1, 2]]


def test_the_newest_are_kept_and_the_oldest_go_first() -> None:
    prefixes = PrefixCache()
    for token in range(ENTRIES + 2):
        prefixes.add(ids(token, 0), cache_of(2))
    assert kept(prefixes) == [[token, 0] for token in range(2, ENTRIES + 2)]
    assert prefixes.blocks == ENTRIES
    prefixes.drop_oldest(ENTRIES - 1)
    assert kept(prefixes) == [[ENTRIES + 1, 0]]
    prefixes.drop_oldest(0)
    assert prefixes.blocks == 1
