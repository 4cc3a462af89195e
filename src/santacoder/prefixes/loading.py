"""Blocks of a prompt on their way from the disk into a cache."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True, eq=False)
class Loading:
    """What a thread reads for a sequence, which waits for it.

    Attributes:
        first: the number of the first block.
        blocks: those that were read so far, each (block_bytes,).
        done: whether there will be no more.
        unwanted: whether nobody waits any more.
    """

    first: int
    blocks: list[NDArray[np.uint8]] = field(default_factory=list)
    done: bool = False
    unwanted: bool = False
