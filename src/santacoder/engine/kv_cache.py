"""The KV cache of one sequence: keys and values in f16, or in f32 where all weights are.

They lie in kv_blocks of 64 positions that cover every layer: a paged cache (Kwon et al. 2023, "vLLM").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from santacoder._native import ffi, lib

KV_BLOCK: Final[int] = lib.SC_KV_BLOCK
ALIGNMENT: Final = 64  # bytes: one vector
#: Of files with blocks in them: raised with the layout of a block, or the arithmetic that makes the keys and values.
KV_FORMAT: Final = 2


def new_block(size: int) -> NDArray[np.uint8]:
    """Return zeros, (size,), where the kernels can read a block."""
    memory = np.zeros(size + ALIGNMENT, dtype=np.uint8)
    skip = -memory.ctypes.data % ALIGNMENT
    return memory[skip : skip + size]


class KVCache:
    """A cache that grows by blocks as positions are appended; `len(cache)` is the number of positions it holds.

    Sequences with a common prefix share its blocks (`fork`): a block that others may read is never written, but
    replaced by a copy.

    A block has for each layer and kv head the keys, (dim, 64), then the values, (64, dim), where `dim` is the size of a
    head padded to a multiple of 32: the kernels' layout, which csrc/state.h indexes. A position's contents are written
    by the forward pass.
    """

    def __init__(self, block_bytes: int, capacity: int, *, dim: int, item_bytes: int) -> None:
        """Make an empty cache of up to `capacity` positions; `item_bytes` is the size of a number in it."""
        self.capacity = capacity
        self.block_bytes = block_bytes
        self._dim, self._item_bytes = dim, item_bytes
        self._length = 0
        self._blocks: list[NDArray[np.uint8]] = []
        self._shared = 0  # how many blocks, the first ones, other caches may read too
        self._table = np.zeros(-(-capacity // KV_BLOCK), dtype=np.uintp)
        self.table = ffi.from_buffer("void *[]", self._table)

    def __len__(self) -> int:
        return self._length

    @property
    def blocks(self) -> int:
        """Blocks of memory, shared ones included."""
        return len(self._blocks)

    def fork(self, length: int | None = None) -> KVCache:
        """Return a second cache with the same positions, or the first `length`, without copying them.

        Raises:
            ValueError: it has fewer positions.
        """
        other = KVCache(self.block_bytes, self.capacity, dim=self._dim, item_bytes=self._item_bytes)
        other._length = self._length if length is None else length
        if not 0 <= other._length <= self._length:
            raise ValueError(f"cannot fork {length} positions of a cache of {self._length}")
        used = -(-other._length // KV_BLOCK)
        for index in range(used):
            other._put(index, self._blocks[index])
        other._shared = used
        self._shared = max(self._shared, used)
        return other

    def reserve(self, count: int) -> None:
        """Make room for `count` further positions; the length stays.

        Raises:
            ValueError: they exceed the capacity.
        """
        if self._length + count > self.capacity:
            raise ValueError(f"a cache of {self.capacity} positions cannot take {self._length + count}")
        first = self._length // KV_BLOCK  # to be written
        for index in range(first, self._shared):
            memory = new_block(self.block_bytes)
            if index * KV_BLOCK < self._length:
                memory[:] = self._blocks[index]
            self._put(index, memory)
        self._shared = min(self._shared, first)
        while len(self._blocks) * KV_BLOCK < self._length + count:
            self._put(len(self._blocks), new_block(self.block_bytes))

    def _put(self, index: int, block: NDArray[np.uint8]) -> None:
        self._table[index] = block.ctypes.data
        self._blocks[index : index + 1] = [block]

    def contents(self) -> Iterator[memoryview]:
        """Yield the blocks that hold the positions, in order; beyond the last position there are zeros."""
        whole, rest = divmod(self._length, KV_BLOCK)
        for block in self._blocks[:whole]:
            yield block.data
        if rest:
            yield self._without_rest(self._blocks[whole], rest).data

    def _without_rest(self, block: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
        """Return a copy of a block with its first `length` positions, and zeros in place of the others."""
        copy = block.copy()
        halves = copy.reshape(-1, 2, KV_BLOCK * self._dim * self._item_bytes)
        halves[:, 0].reshape(-1, self._dim, KV_BLOCK, self._item_bytes)[:, :, length:] = 0
        halves[:, 1].reshape(-1, KV_BLOCK, self._dim * self._item_bytes)[:, length:] = 0
        return copy

    def fill(self, length: int, read_into: Callable[[NDArray[np.uint8]], object]) -> None:
        """Replace all positions by `length` others; `read_into` fills their blocks, in the order of `contents`."""
        self.truncate(0)
        self.reserve(length)
        for block in self._blocks[: -(-length // KV_BLOCK)]:
            read_into(block)
        self.append(length)

    def adopt(self, first: int, blocks: Sequence[NDArray[np.uint8]]) -> None:
        """Take whole blocks from elsewhere, from block number `first` on, in place of what the cache holds there."""
        self.truncate(first * KV_BLOCK)
        self._shared = min(self._shared, first)
        for index, block in enumerate(blocks, first):
            self._put(index, block)
        self._length = (first + len(blocks)) * KV_BLOCK

    def share(self, first: int, last: int) -> Sequence[NDArray[np.uint8]]:
        """Return the blocks number `first` to `last` - 1, which nobody writes to from now on: they are whole.

        Raises:
            ValueError: they are not.
        """
        if not 0 <= first <= last <= self._length // KV_BLOCK:
            raise ValueError(f"cannot share blocks {first}..{last - 1} of a cache of {self._length} positions")
        self._shared = max(self._shared, last)
        return self._blocks[first:last]

    def append(self, count: int) -> None:
        """Count `count` positions that were written as part of the sequence."""
        self._length += count

    def truncate(self, length: int) -> None:
        """Forget all positions from `length` on; their blocks stay for reuse."""
        if not 0 <= length <= self._length:
            raise ValueError(f"cannot truncate a cache of {self._length} positions to {length}")
        self._length = length
