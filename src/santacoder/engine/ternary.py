"""The values of Q1_0 and Q2_0, which the `gguf` package does not dequantize."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

_F16: Final = 2  # bytes of a block's scale, with which it begins


def _q1_0(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Decode a bit for each value, the lowest first: +scale where it is set, else -scale."""
    scales = _scales(blocks)
    bits = np.unpackbits(blocks[:, _F16:], axis=1, bitorder="little")
    return np.where(bits, scales, -scales)


def _q2_0(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Decode two bits for each value, the lowest first: the scale times -1, 0, 1 or 2."""
    codes = (blocks[:, _F16:, None] >> np.arange(0, 8, 2, dtype=np.uint8)) & 3
    with np.errstate(invalid="ignore"):  # an infinite scale is found later, with the tensor's name
        return _scales(blocks) * (codes.reshape(len(blocks), -1).astype(np.float32) - 1)


def _scales(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the scale of each block, (n, 1)."""
    return np.ascontiguousarray(blocks[:, :_F16]).view("<f2").astype(np.float32)


#: Type -> from blocks (n, bytes per block) to their values (n, values per block).
DEQUANTIZERS: Final[dict[str, Callable[[NDArray[np.uint8]], NDArray[np.float32]]]] = {"Q1_0": _q1_0, "Q2_0": _q2_0}
