"""Adds files to an index: lexemes, grams and compression on several threads, everything else on the caller's."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from santacoder.attribution.lexemes import fingerprint
from santacoder.attribution.origins import SourceFile
from santacoder.attribution.postings import Postings
from santacoder.attribution.rows import BLOCK_BYTES, Content, Place, add_content, compress, content_of
from santacoder.attribution.shards import merge_shards, write_shard
from santacoder.attribution.state import Lot, State
from santacoder.attribution.writer import Writer

LOT_BYTES: Final = 256 << 20  # of text in a transaction
CHUNK_BYTES: Final = 1 << 19  # of text that a thread takes at a time
MOST_SHARDS: Final = 64  # before they are merged while there is more to add


class _Prints(NamedTuple):
    """What is stored of a text: its chosen grams, (n) each."""

    lexemes: int
    exact: tuple[NDArray[np.uint32], NDArray[np.uint32]]
    renamed: tuple[NDArray[np.uint32], NDArray[np.uint32]] | None


class _Chunk(NamedTuple):
    """What is stored of some texts, and the compressed blocks with those that are long enough."""

    prints: list[_Prints]
    blocks: list[bytes]


def _prepare(texts: list[bytes], state: State) -> _Chunk:
    """Compute what is stored of texts; called on any thread."""
    prints = []
    for text in texts:
        lexemes, *exact = fingerprint(text, state.exact, renamed=False)
        renamed = fingerprint(text, state.renamed, renamed=True)[1:] if state.renamed is not None else None
        prints.append(_Prints(lexemes, (exact[0], exact[1]), renamed))
    stored = [text for text, each in zip(texts, prints, strict=True) if each.lexemes >= state.exact.gram]
    return _Chunk(prints, [compress(b"".join(block)) for block in _blocks(stored)] if state.texts else [])


def _blocks(texts: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield texts that share a block."""
    block: list[bytes] = []
    size = 0
    for text in texts:
        if block and size + len(text) > BLOCK_BYTES:
            yield block
            block, size = [], 0
        block.append(text)
        size += len(text)
    if block:
        yield block


@dataclass
class _New:
    """A text that the index does not hold, and the files that hold it."""

    text: bytes
    digest: bytes
    files: list[SourceFile]


@dataclass
class _Chosen:
    """The chosen grams of the texts of a lot: keys and first lexemes (n) of each text, and the lexemes before it."""

    keys: list[NDArray[np.uint32]] = field(default_factory=list)
    firsts: list[NDArray[np.uint32]] = field(default_factory=list)
    before: list[int] = field(default_factory=list)

    def add(self, keys: NDArray[np.uint32], firsts: NDArray[np.uint32], before: int) -> None:
        """Add a text."""
        self.keys.append(keys)
        self.firsts.append(firsts)
        self.before.append(before)

    def postings(self) -> Postings:
        """Return all of them as postings."""
        if not self.keys:
            return np.empty(0, np.uint64)
        keys = np.concatenate(self.keys).astype(np.uint64)
        positions = np.concatenate(self.firsts).astype(np.uint64)
        positions += np.repeat(np.array(self.before, np.uint64), [len(each) for each in self.keys])
        return keys << np.uint64(32) | positions


@dataclass
class Added:
    """What a run did.

    Attributes:
        files: new or changed files.
        unchanged: files that were there before.
        short: files with fewer lexemes than a gram, which nothing can be found in.
        contents: different texts that were added.
        size: bytes of all files that were looked at.
    """

    files: int = 0
    unchanged: int = 0
    short: int = 0
    contents: int = 0
    size: int = 0

    def add(self, other: Added) -> None:
        """Add what another run did."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass
class Builder:
    """Adds files to an index.

    Attributes:
        writer: of the index.
        jobs: threads, 1 or more.
        added: what was done so far.
    """

    writer: Writer
    jobs: int = 1
    added: Added = field(default_factory=Added)

    def __post_init__(self) -> None:
        self._new: dict[bytes, _New] = {}  # on their way into the lot, by digest
        self._chosen: dict[bool, _Chosen] = {False: _Chosen(), True: _Chosen()}
        self._lexemes = self._bytes = self._blocks = 0  # of the lot

    def add(self, files: Iterable[SourceFile]) -> None:
        """Add files; what is there stays. Commits after each LOT_BYTES, and at the end."""
        with ThreadPoolExecutor(self.jobs) as pool:
            working: deque[tuple[list[_New], Future[_Chunk] | None]] = deque()
            try:
                for chunk in self._chunks(files):
                    threaded = self.jobs > 1
                    task = pool.submit(_prepare, [new.text for new in chunk], self.writer.state) if threaded else None
                    working.append((chunk, task))
                    while len(working) > (2 * self.jobs if threaded else 0):
                        self._store(*working.popleft())
                    if self._bytes >= LOT_BYTES:
                        while working:
                            self._store(*working.popleft())
                        self._end_lot()
                while working:
                    self._store(*working.popleft())
            finally:
                pool.shutdown(cancel_futures=True)
        self._end_lot()
        merge_shards(self.writer, whole=True)
        self.writer.shrink()

    def _chunks(self, files: Iterable[SourceFile]) -> Iterator[list[_New]]:
        """Yield new texts, about CHUNK_BYTES at a time; record files whose text is there."""
        chunk: list[_New] = []
        size = 0
        for file in files:
            self.added.size += len(file.data)
            digest = sha256(file.data).digest()
            if digest in self._new:
                self._new[digest].files.append(file)
            elif (content := content_of(self.writer.connection, digest)) is not None:
                self._place(file, content.id)
            else:
                self._new[digest] = new = _New(file.data, digest, [file])
                chunk.append(new)
                size += len(file.data) + 512  # small files cost more than their size
                if size >= CHUNK_BYTES:
                    yield chunk
                    chunk, size = [], 0
        yield chunk

    def _place(self, file: SourceFile, content: int) -> None:
        if self.writer.add_place(Place(file.origin, file.path, content)):
            self.added.files += 1
        else:
            self.added.unchanged += 1

    def _store(self, chunk: list[_New], task: Future[_Chunk] | None) -> None:
        """Store a chunk of new texts."""
        state = self.writer.state
        found = task.result() if task is not None else _prepare([new.text for new in chunk], state)
        kept = []
        for new, prints in zip(chunk, found.prints, strict=True):
            del self._new[new.digest]
            if prints.lexemes < state.exact.gram:
                self.added.short += len(new.files)
            else:
                kept.append((new, prints))
        spots = iter([(-1, 0)] * len(kept))
        if state.texts:
            spots = self._store_blocks([new.text for new, _ in kept], found.blocks)
        for (new, prints), (block, start) in zip(kept, spots, strict=True):
            files = {(file.origin.repository, file.path): file for file in new.files}
            content = Content(
                (state.lots << 32) + self._lexemes, new.digest, len(new.text), prints.lexemes, len(files), block, start
            )
            for file in files.values():
                self.writer.add_place(Place(file.origin, file.path, content.id), new=True)
            self.added.files += len(files)
            self._add_content(content, prints)

    def _store_blocks(self, texts: list[bytes], blocks: list[bytes]) -> Iterator[tuple[int, int]]:
        """Store compressed blocks; yield the block of each text, and where in it the text starts."""
        for block, data in zip(_blocks(texts), blocks, strict=True):
            number = (self.writer.state.lots << 32) + self._blocks
            self._blocks += 1
            self.writer.connection.execute("INSERT INTO block VALUES (?, ?)", (number, data))
            start = 0
            for text in block:
                yield number, start
                start += len(text)

    def _add_content(self, content: Content, prints: _Prints) -> None:
        add_content(self.writer.connection, content)
        for renamed, chosen in ((False, prints.exact), (True, prints.renamed)):
            if chosen is not None:
                self._chosen[renamed].add(*chosen, self._lexemes)
        self._lexemes += content.lexemes
        self._bytes += content.size
        state = self.writer.state
        state.contents += 1
        state.size += content.size
        state.lexemes += content.lexemes
        self.added.contents += 1

    def _end_lot(self) -> None:
        """Write the postings of the lot, and commit."""
        if self._lexemes:
            lot = Lot(self.writer.state.lots, self._lexemes)
            for renamed, chosen in self._chosen.items():
                postings = chosen.postings()
                if len(postings):
                    write_shard(self.writer, postings, renamed, [lot])
                self._chosen[renamed] = _Chosen()
            self.writer.state.lots += 1
            self._lexemes = self._bytes = self._blocks = 0
        if len(self.writer.state.shards) >= MOST_SHARDS:
            merge_shards(self.writer)
        self.writer.commit()
