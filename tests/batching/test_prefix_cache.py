"""Common beginnings of prompts, and the caches that are kept for them."""

from __future__ import annotations

import numpy as np

from santacoder.batching.prefix_cache import PrefixCache, common_prefix


def test_common_prefix_is_found_in_kept_caches() -> None:
    a, b = np.array([1, 2, 3, 4], np.int32), np.array([1, 2, 9], np.int32)
    assert common_prefix(a, b) == 2
    assert common_prefix(a, a[:3]) == 3
    assert common_prefix(a, a[:0]) == 0
    assert PrefixCache().find(a) == (0, None)
