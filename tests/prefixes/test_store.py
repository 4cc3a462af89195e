"""What is kept on disk, what is looked for there, and what becomes of errors."""

from __future__ import annotations

import _thread
import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from santacoder.engine.kv_cache import KV_BLOCK, KVCache, new_block
from santacoder.errors import InvalidRequestError
from santacoder.prefixes import store as module
from santacoder.prefixes.store import MOST_WAITING, REMEMBERED, StoredPrefixes
from santacoder.text.token_ids import TokenIds
from tests.support.stored_blocks import block_paths
from tests.support.waiting import HANG, wait_for

SIZE = 64 * KV_BLOCK


@pytest.fixture
def stored(folder: Path) -> StoredPrefixes:
    return StoredPrefixes(folder, 1 << 30, "f" * 64, SIZE)


def tokens_of(blocks: int, rest: int = 0) -> TokenIds:
    return np.arange(blocks * KV_BLOCK + rest, dtype=np.int32)


def cache_of(tokens: TokenIds, seed: int = 0) -> KVCache:
    cache = KVCache(SIZE, 64 * KV_BLOCK, dim=32, item_bytes=1)
    random = np.random.default_rng(seed)

    def fill(block: np.ndarray[Any, Any]) -> None:
        block[:] = random.integers(0, 256, SIZE)

    cache.fill(tokens.size, fill)
    return cache


def keep(stored: StoredPrefixes, tokens: TokenIds, seed: int = 0) -> KVCache:
    cache = cache_of(tokens, seed)
    stored.keep(tokens, cache)
    assert stored.flush(HANG)
    return cache


def found(stored: StoredPrefixes, tokens: TokenIds, known: int = 0) -> list[bytes] | None:
    done = threading.Event()
    loading = stored.look_up(tokens, known, tokens.size, done.set)
    if loading is None:
        return None
    assert done.wait(HANG)
    assert loading.done
    assert loading.first == known // KV_BLOCK
    return [block.tobytes() for block in loading.blocks]


def contents(cache: KVCache) -> list[bytes]:
    return [bytes(block) for block in cache.contents()]


def test_whole_blocks_are_kept(stored: StoredPrefixes, folder: Path) -> None:
    tokens = tokens_of(3, 10)
    cache = keep(stored, tokens)
    assert len(block_paths(folder)) == 3
    assert found(stored, tokens) == contents(cache)[:3]
    assert found(stored, tokens, known=KV_BLOCK + 5) == contents(cache)[1:3]
    assert found(stored, tokens, known=3 * KV_BLOCK) is None
    assert found(stored, tokens[: 2 * KV_BLOCK + 1]) == contents(cache)[:2]
    assert found(stored, tokens + 1) is None
    short = tokens_of(0, KV_BLOCK - 1)
    stored.keep(short, cache_of(short))
    assert len(block_paths(folder)) == 3


def test_tokens_that_have_files(stored: StoredPrefixes, folder: Path) -> None:
    tokens = tokens_of(3, 10)
    keep(stored, tokens)
    longer = tokens_of(5)
    counts = [stored.count_known(longer, known) for known in (0, 10, 2 * KV_BLOCK + 5, 3 * KV_BLOCK + 5)]
    assert counts == [3 * KV_BLOCK] * 3 + [3 * KV_BLOCK + 5]
    assert stored.count_known(longer + 1, 7) == 7
    assert stored.count_known(tokens[:10], 0) == 0
    assert stored.count_known(tokens, 0) == 3 * KV_BLOCK
    block_paths(folder)[0].unlink()
    assert stored.count_known(longer, 0) < 3 * KV_BLOCK


def test_a_cache_that_goes_on_is_kept_as_it_was(stored: StoredPrefixes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread writes later; meanwhile the cache is cut and filled with something else."""
    tokens = tokens_of(2)
    cache, go = cache_of(tokens), threading.Event()
    write = stored._files.write
    monkeypatch.setattr(stored._files, "write", lambda *arguments: (go.wait(HANG), write(*arguments)))
    expected = contents(cache)
    stored.keep(tokens, cache)
    cache.fill(2 * KV_BLOCK, lambda block: block.fill(7))
    go.set()
    assert stored.flush(HANG)
    assert found(stored, tokens) == expected != contents(cache)


def test_a_block_is_written_once_and_marked_as_used(
    stored: StoredPrefixes, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    tokens = tokens_of(3)
    keep(stored, tokens)
    for path in block_paths(folder):
        os.utime(path, ns=(5, 5))
    keep(stored, tokens, seed=1)
    assert {path.stat().st_mtime_ns for path in block_paths(folder)} == {5}
    now += REMEMBERED
    keep(stored, tokens, seed=1)
    assert min(path.stat().st_mtime_ns for path in block_paths(folder)) > 5
    assert found(stored, tokens) == contents(cache_of(tokens))
    other = StoredPrefixes(folder, 1 << 30, "f" * 64, SIZE)
    keep(other, tokens, seed=1)
    assert found(stored, tokens) == contents(cache_of(tokens))


def test_the_first_blocks_of_a_text_are_the_last_to_go(folder: Path) -> None:
    stored = StoredPrefixes(folder, 5 * 2 * 4096, "f" * 64, SIZE)
    old, new = tokens_of(4), tokens_of(3) + 1000
    keep(stored, old)
    keep(stored, new, seed=1)
    assert found(stored, new) == contents(cache_of(new, 1))
    left = found(stored, old)
    assert left == contents(cache_of(old))[: len(block_paths(folder)) - 3]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG])
def test_a_full_disk(
    stored: StoredPrefixes, folder: Path, number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning, no more writes for a while, and what there is can be read."""
    now, tries = 1000.0, 0

    def fail(*_: object) -> int:
        nonlocal tries
        tries += 1
        raise OSError(number, os.strerror(number))

    tokens = tokens_of(2)
    cache = keep(stored, tokens)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(os, "write", fail)
    with caplog.at_level(logging.WARNING, "santacoder"):
        for seed in range(3):
            keep(stored, tokens + 1 + seed)
        assert tries == 1
        now += module.PAUSE
        keep(stored, tokens + 9)
        assert tries == 2
    [record] = caplog.records
    assert record.getMessage() == (
        f"the prefix cache in {stored.folder} cannot be written, so nothing is kept for now: {os.strerror(number)}"
    )
    assert found(stored, tokens) == contents(cache)
    assert len(list(stored.folder.iterdir())) == 2
    monkeypatch.undo()
    stored._resumes = 0.0
    keep(stored, tokens + 1)
    assert len(block_paths(folder)) == 4


def test_what_comes_too_fast_is_dropped(stored: StoredPrefixes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the end, so that the blocks that are kept are of use."""
    go, most = threading.Event(), 5
    monkeypatch.setattr(module, "MOST_WAITING", most * SIZE)
    write = stored._files.write
    monkeypatch.setattr(stored._files, "write", lambda *arguments: (go.wait(HANG), write(*arguments)))
    first, second, third = tokens_of(3), tokens_of(4) + 1, tokens_of(2) + 2
    for tokens in (first, second, third):
        stored.keep(tokens, cache_of(tokens))
    go.set()
    assert stored.flush(HANG)
    assert [len(found(stored, tokens) or []) for tokens in (first, second, third)] == [3, 2, 0]
    assert MOST_WAITING > 100 << 20  # the longest text of the largest model
    keep(stored, third)
    assert len(found(stored, third) or []) == 2


def test_a_damaged_block_ends_what_is_found_and_is_written_again(stored: StoredPrefixes, folder: Path) -> None:
    tokens = tokens_of(3)
    cache = keep(stored, tokens)
    [second] = [path for path in block_paths(folder) if path.read_bytes()[64:] == contents(cache)[1]]
    second.write_bytes(b"")
    assert found(stored, tokens) == contents(cache)[:1]
    keep(StoredPrefixes(folder, 1 << 30, "f" * 64, SIZE), tokens)
    assert found(stored, tokens) == contents(cache)


def test_a_cache_that_is_cleared_meanwhile(stored: StoredPrefixes, folder: Path) -> None:
    import shutil

    keep(stored, tokens_of(1))
    shutil.rmtree(folder)
    assert found(stored, tokens_of(1)) is None
    cache = keep(stored, tokens_of(1) + 1)
    assert found(stored, tokens_of(1) + 1) == contents(cache)


def test_a_limit_that_holds_no_block(folder: Path) -> None:
    told = "^prefix_cache_bytes is 4159, but one block of this model takes 4160$"
    with pytest.raises(InvalidRequestError, match=told):
        StoredPrefixes(folder, SIZE + 63, "f" * 64, SIZE)


def test_no_memory_for_a_block(stored: StoredPrefixes, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, made = tokens_of(3), 0
    cache = keep(stored, tokens)

    def fail(size: int) -> np.ndarray[Any, Any]:
        nonlocal made
        made += 1
        if made == 2:
            raise MemoryError("no memory")
        return new_block(size)

    monkeypatch.setattr(module, "new_block", fail)
    assert found(stored, tokens) == contents(cache)[:1]


def test_no_thread(stored: StoredPrefixes, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(stored, tokens_of(1))

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    assert found(stored, tokens_of(1)) is None
    stored.keep(tokens_of(1) + 1, cache_of(tokens_of(1)))
    monkeypatch.undo()
    assert found(stored, tokens_of(1)) is not None


def test_closing_waits_for_what_is_written(stored: StoredPrefixes, folder: Path) -> None:
    tokens = tokens_of(9)
    stored.keep(tokens, cache_of(tokens))
    stored.close()
    assert len(block_paths(folder)) == 9
    stored.keep(tokens + 1, cache_of(tokens))
    assert stored.flush(HANG)
    assert len(block_paths(folder)) == 9
    assert stored.look_up(tokens, 0, tokens.size, lambda: None) is None


def test_a_forked_child_begins_anew(stored: StoredPrefixes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for nothing that its parent reads or writes."""
    go, begun = threading.Event(), threading.Event()
    tokens = tokens_of(2)
    cache = cache_of(tokens)
    write: Callable[..., None] = stored._files.write

    def wait(*arguments: Any) -> None:
        begun.set()
        go.wait(HANG)
        write(*arguments)

    monkeypatch.setattr(stored._files, "write", wait)
    stored.keep(tokens, cache)
    begun.wait(HANG)
    stored.after_fork()
    monkeypatch.setattr(stored._files, "write", write)
    assert stored.flush(0)
    keep(stored, tokens + 1)
    assert len(found(stored, tokens + 1) or []) == 2
    go.set()
    wait_for(lambda: found(stored, tokens) == contents(cache))
