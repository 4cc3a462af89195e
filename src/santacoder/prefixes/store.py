"""The prefix cache on disk, as the scheduler sees it: what it may read, and what it should keep.

Reading and writing have a thread each, which exist only while there is something to do. A step waits for neither. What
is wrong with the disk or a file costs time only: the prompt is computed as without a cache.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from santacoder._util.background import Background
from santacoder.engine.kv_cache import KV_BLOCK, KVCache, new_block
from santacoder.errors import InvalidRequestError
from santacoder.prefixes.block_files import BlockFiles
from santacoder.prefixes.block_names import block_names, root_name
from santacoder.prefixes.eviction import Room, folder_name
from santacoder.prefixes.loading import Loading
from santacoder.text.token_ids import TokenIds

#: Bytes of blocks that wait to be written; what comes when so many wait is dropped.
MOST_WAITING: Final = 128 << 20
#: Seconds that `close` waits for what is being written.
FLUSH: Final = 2.0
#: Seconds after which a block that is used again is looked for, and marked as used, again.
REMEMBERED: Final = 60.0
#: Seconds for which nothing is written after that failed.
PAUSE: Final = 600.0
#: Names that are remembered.
_MOST_NAMES: Final = 1 << 14
_STANDS_BACK: Final = 19
_ORDER_NS: Final = 1000

_log: Final = logging.getLogger("santacoder")


class StoredPrefixes:
    """The blocks of one model in a folder that other processes share."""

    def __init__(self, folder: Path, limit: int, fingerprint: str, block_bytes: int) -> None:
        """Take the cache's folder and the most bytes in it, the fingerprint of the weights, and the bytes of a block.

        Raises:
            InvalidRequestError: not even one block fits.
        """
        self._files = BlockFiles(folder / folder_name(fingerprint), block_bytes)
        if limit < self._files.file_bytes:
            raise InvalidRequestError(
                f"prefix_cache_bytes is {limit}, but one block of this model takes {self._files.file_bytes}"
            )
        self._root = root_name(fingerprint, block_bytes)
        self._room = Room(folder, limit)
        self._reader = Background()
        self._writer = Background(_STANDS_BACK)
        self._seen: dict[str, float] = {}  # names of blocks -> when they were written or marked as used
        self._resumes = 0.0  # when to write again after a failure
        self._warned = self._closed = False

    @property
    def folder(self) -> Path:
        """The folder of the model's blocks."""
        return self._files.folder

    def after_fork(self) -> None:
        """Leave to the parent what it was reading and writing."""
        self._reader.after_fork()
        self._writer.after_fork()

    def close(self) -> None:
        """Take no more, and wait for a moment until what there is has been written."""
        self._closed = True
        self.flush(FLUSH)

    def flush(self, seconds: float) -> bool:
        """Wait until all has been written that was kept so far; return False if that takes longer."""
        return self._writer.wait(seconds)

    def look_up(self, prompt: TokenIds, known: int, most: int, done: Callable[[], object]) -> Loading | None:
        """Begin to read what follows the first `known` tokens of a prompt, up to `most`; None if nothing is there.

        `done` is called by another thread when it has been read.
        """
        first, count = known // KV_BLOCK, most // KV_BLOCK
        if count <= first or self._closed:
            return None
        names = block_names(self._root, prompt, count)[first:]
        if not self._files.has(names[0]):
            return None
        loading = Loading(first)
        loading.unwanted = not self._reader.submit(partial(self._read, loading, names, done))
        return None if loading.unwanted else loading

    def count_known(self, prompt: TokenIds, known: int) -> int:
        """Return how many of the first tokens of a prompt have files, if more than `known`; these may be damaged."""
        first, count = known // KV_BLOCK, prompt.size // KV_BLOCK
        for number, name in enumerate(block_names(self._root, prompt, count)[first:], first):
            if not self._files.has(name):
                return max(known, number * KV_BLOCK)
        return max(known, count * KV_BLOCK)

    def _read(self, loading: Loading, names: Sequence[str], done: Callable[[], object]) -> None:
        try:
            for name in names:
                block = new_block(self._files.block_bytes)
                if loading.unwanted or not self._files.read(name, block):
                    break
                loading.blocks.append(block)
        except MemoryError:  # the rest is computed
            pass
        finally:
            loading.done = True
            done()

    def keep(self, prompt: TokenIds, cache: KVCache) -> None:
        """Have the whole blocks of a prompt written that are not on the disk yet; `cache` holds at least these."""
        count = prompt.size // KV_BLOCK
        now = time.monotonic()
        if not count or self._closed or now < self._resumes:
            return
        names = block_names(self._root, prompt, count)
        first = self._first_old(names, now - REMEMBERED)
        room = (MOST_WAITING - self._writer.load) // self._files.block_bytes
        last = min(first + room, count)
        if last > first:
            job = partial(self._write, names[first:last], cache.share(first, last), first)
            self._writer.submit(job, (last - first) * self._files.block_bytes)

    def _first_old(self, names: Sequence[str], before: float) -> int:
        """Return the number of the first block that was not written or marked as used since then."""
        for number, name in enumerate(names):
            if self._seen.get(name, before) <= before:
                return number
        return len(names)

    def _write(self, names: Sequence[str], blocks: Sequence[NDArray[np.uint8]], first: int) -> None:
        """Write blocks, or mark them as used: the first ones last, since the others are of no use without them."""
        now = time.time_ns()
        try:
            for number, (name, block) in enumerate(zip(names, blocks, strict=True), first):
                used_ns = now - number * _ORDER_NS
                if not self._files.touch(name, used_ns):
                    self._room.make(self._files.file_bytes)
                    self._files.write(name, block, used_ns)
                if len(self._seen) >= _MOST_NAMES:
                    self._seen = {}
                self._seen[name] = time.monotonic()
        except (OSError, InvalidRequestError, MemoryError) as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, OSError) and error.errno == errno.ENOENT:
            return  # somebody has cleared the cache meanwhile
        self._resumes = time.monotonic() + PAUSE
        if not self._warned:
            self._warned = True
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            _log.warning("the prefix cache in %s cannot be written, so nothing is kept for now: %s", self.folder, why)
