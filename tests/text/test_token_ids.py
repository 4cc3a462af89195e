"""Common prefixes of prompts."""

from __future__ import annotations

import numpy as np

from santacoder.text.token_ids import common_prefix


def test_common_prefix() -> None:
    a, b = np.array([1, 2, 3, 4], np.int32), np.array([1, 2, 9], np.int32)
    assert common_prefix(a, b) == common_prefix(b, a) == 2
    assert common_prefix(a, a) == 4
    assert common_prefix(a, a[:3]) == 3
    assert common_prefix(a, a[1:]) == 0
    assert common_prefix(a, a[:0]) == 0
