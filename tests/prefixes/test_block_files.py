"""Blocks in files: what is right is read, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from santacoder.engine.kv_cache import KV_BLOCK, new_block
from santacoder.prefixes import block_files
from santacoder.prefixes.block_files import HEADER, MAGIC, BlockFiles
from santacoder.prefixes.block_names import LETTERS, block_names, root_name

SIZE = 300
NAME, OTHER = "ab" * (LETTERS // 2), "cd" * (LETTERS // 2)


@pytest.fixture
def files(folder: Path) -> BlockFiles:
    return BlockFiles(folder / ("0" * 16), SIZE)


@pytest.fixture
def block() -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.random.default_rng(1).integers(0, 256, SIZE).astype(np.uint8)


Block = np.ndarray[tuple[int], np.dtype[np.uint8]]


def read(files: BlockFiles, name: str = NAME) -> bytes | None:
    into = new_block(files.block_bytes)
    return into.tobytes() if files.read(name, into) else None


def test_what_was_written_is_read(files: BlockFiles, block: Block) -> None:
    assert (files.has(NAME), read(files), files.touch(NAME, 1)) == (False, None, False)
    files.write(NAME, block, 123)
    assert (files.has(NAME), read(files)) == (True, block.tobytes())
    path = files.folder / NAME
    assert (path.stat().st_mtime_ns, path.stat().st_size) == (123, files.file_bytes)
    assert files.touch(NAME, 456)
    assert path.stat().st_mtime_ns == 456


def test_every_flipped_bit_and_every_length(files: BlockFiles, block: Block) -> None:
    files.write(NAME, block, 1)
    path = files.folder / NAME
    data = path.read_bytes()
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert read(files) is None
        assert not path.exists()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        assert read(files) is None
        assert not path.exists()
    path.write_bytes(data + b"\0")
    assert read(files) is None
    path.write_bytes(data)
    assert read(files) == block.tobytes()


def test_another_blocks_file(files: BlockFiles, block: Block) -> None:
    files.write(NAME, block, 1)
    (files.folder / NAME).rename(files.folder / OTHER)
    assert (read(files, OTHER), files.has(OTHER)) == (None, False)


def test_another_layout_or_size(files: BlockFiles, block: Block) -> None:
    files.write(NAME, block, 1)
    path = files.folder / NAME
    data = path.read_bytes()
    path.write_bytes(b"SCPREF99" + data[8:])
    assert read(files) is None
    path.write_bytes(data)
    assert read(BlockFiles(files.folder, SIZE - 1)) is None
    assert not path.exists()


def test_the_layout_that_the_module_describes(files: BlockFiles, block: Block) -> None:
    ends = [int(end) for end in re.findall(r"^    (?:bytes )?\d+\.\.(\d+) ", block_files.__doc__ or "", re.MULTILINE)]
    assert ends == [7, 27, 31, 63]
    files.write(NAME, block, 1)
    data = (files.folder / NAME).read_bytes()
    assert (data[:8], data[8:28].hex(), int.from_bytes(data[28:32], "little")) == (MAGIC, NAME, SIZE)
    assert (HEADER.size, data[64:]) == (64, block.tobytes())


def test_names_depend_on_everything() -> None:
    root = root_name("f" * 64, 100)
    tokens = np.arange(5 * KV_BLOCK, dtype=np.int32)
    names = block_names(root, tokens, 4)
    assert {len(name) for name in names} == {LETTERS}
    assert names == [*block_names(root, tokens, 3), names[3]]
    assert block_names(root, tokens, 0) == []
    for place in (0, KV_BLOCK - 1, KV_BLOCK, 4 * KV_BLOCK - 1):
        other = tokens.copy()
        other[place] += 1
        same = [a == b for a, b in zip(names, block_names(root, other, 4), strict=True)]
        assert same == [number < place // KV_BLOCK for number in range(4)]
    for another in (root_name("e" * 64, 100), root_name("f" * 64, 101)):
        assert not set(names) & set(block_names(another, tokens, 4))
    assert len(set(names)) == 4
