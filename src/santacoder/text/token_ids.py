"""Token ids, in one form from the request to the kernels: int32 arrays, made once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: (T,) int32.
TokenIds = NDArray[np.int32]


def common_prefix(a: TokenIds, b: TokenIds) -> int:
    """Return how many tokens at the beginning of two sequences, (N,) and (M,), are equal."""
    n = min(a.size, b.size)
    different = np.flatnonzero(a[:n] != b[:n])
    return int(different[0]) if different.size else n
