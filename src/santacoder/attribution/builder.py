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

from santacoder.attribution.lexemes import Fingerprints, fingerprints
from santacoder.attribution.origins import SourceFile
from santacoder.attribution.postings import Postings
from santacoder.attribution.rows import (
    BLOCK_BYTES,
    Content,
    Place,
    add_blocks,
    add_contents,
    compress,
    content_of,
    known_digests,
)
from santacoder.attribution.shards import merge_shards, write_shard
from santacoder.attribution.state import Lot, State
from santacoder.attribution.writer import Writer

LOT_BYTES: Final = 256 << 20  # of text in a transaction
CHUNK_BYTES: Final = 1 << 19  # of text that a thread takes at a time
MOST_SHARDS: Final = 64  # before they are merged while there is more to add


class _Prepared(NamedTuple):
    """What is stored of some texts, and the compressed blocks with those that are long enough."""

    exact: Fingerprints
    renamed: Fingerprints | None
    blocks: list[bytes]


def _prepare(texts: list[bytes], state: State) -> _Prepared:
    """Compute what is stored of texts; called on any thread."""
    exact = fingerprints(texts, state.exact, renamed=False)
    renamed = fingerprints(texts, state.renamed, renamed=True) if state.renamed is not None else None
    stored = [text for text, lexemes in zip(texts, exact.lexemes, strict=True) if lexemes >= state.exact.gram]
    return _Prepared(exact, renamed, [compress(b"".join(block)) for block in _blocks(stored)] if state.texts else [])


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


_Texts = dict[bytes, list[SourceFile]]  #: by their digests, each with the files that hold it


def _texts(new: _Texts) -> list[bytes]:
    return [files[0].data for files in new.values()]


@dataclass
class _Chunk:
    """Some files: those of new texts, and those whose text came before, with their digests."""

    new: _Texts = field(default_factory=dict)
    known: list[tuple[bytes, SourceFile]] = field(default_factory=list)


@dataclass
class _Chosen:
    """The chosen grams of the texts of a lot: keys and positions in the lot (n) of each chunk."""

    keys: list[NDArray[np.uint32]] = field(default_factory=list)
    positions: list[NDArray[np.uint32]] = field(default_factory=list)

    def add(self, prints: Fingerprints, before: NDArray[np.uint32]) -> None:
        """Add the grams of a chunk's texts, which have so many lexemes of the lot before them."""
        self.keys.append(prints.keys)
        self.positions.append(prints.firsts + np.repeat(before, prints.counts))

    def postings(self) -> Postings:
        """Return all of them as postings."""
        if not self.keys:
            return np.empty(0, np.uint64)
        return np.concatenate(self.keys).astype(np.uint64) << np.uint64(32) | np.concatenate(self.positions)


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
    """Adds files to an index. What it writes does not depend on the number of threads.

    Attributes:
        writer: of the index.
        jobs: threads, 1 or more.
        added: what was done so far.
    """

    writer: Writer
    jobs: int = 1
    added: Added = field(default_factory=Added)

    def __post_init__(self) -> None:
        self._on_their_way: set[bytes] = set()  # digests of new texts of chunks that are not stored yet
        self._chosen: dict[bool, _Chosen] = {False: _Chosen(), True: _Chosen()}
        self._lexemes = self._blocks = 0  # of the lot

    def add(self, files: Iterable[SourceFile]) -> None:
        """Add files; what is there stays. Commits after each LOT_BYTES, and at the end."""
        size = 0  # of the lot
        with ThreadPoolExecutor(self.jobs) as pool:
            working: deque[tuple[_Chunk, Future[_Prepared] | None]] = deque()
            try:
                for chunk in self._chunks(files):
                    texts = _texts(chunk.new)
                    task = pool.submit(_prepare, texts, self.writer.state) if self.jobs > 1 and texts else None
                    working.append((chunk, task))
                    size += sum(map(len, texts))
                    while len(working) > (2 * self.jobs if self.jobs > 1 else 0) or (working and size >= LOT_BYTES):
                        self._store(*working.popleft())
                    if size >= LOT_BYTES:
                        self._end_lot()
                        size = 0
                while working:
                    self._store(*working.popleft())
            finally:
                pool.shutdown(cancel_futures=True)
        self._end_lot()
        merge_shards(self.writer, whole=True)
        self.writer.shrink()

    def _chunks(self, files: Iterable[SourceFile]) -> Iterator[_Chunk]:
        """Yield files, about CHUNK_BYTES at a time."""
        waiting: list[SourceFile] = []
        size = 0
        for file in files:
            waiting.append(file)
            self.added.size += len(file.data)
            size += len(file.data) + 512  # small files cost more than their size
            if size >= CHUNK_BYTES:
                yield self._chunk(waiting)
                waiting, size = [], 0
        yield self._chunk(waiting)

    def _chunk(self, files: list[SourceFile]) -> _Chunk:
        """Tell which texts of some files are new."""
        digests = [sha256(file.data).digest() for file in files]
        known = known_digests(self.writer.connection, {*digests} - self._on_their_way) | self._on_their_way
        chunk = _Chunk()
        for digest, file in zip(digests, files, strict=True):
            if digest in known:
                chunk.known.append((digest, file))
            else:
                chunk.new.setdefault(digest, []).append(file)
        self._on_their_way |= chunk.new.keys()
        return chunk

    def _store(self, chunk: _Chunk, task: Future[_Prepared] | None) -> None:
        """Store a chunk."""
        if chunk.new:
            self._store_new(chunk.new, task.result() if task is not None else self._prepared(chunk.new))
            self._on_their_way -= chunk.new.keys()
        short: _Texts = {}  # or gone meanwhile, with the only file that held it
        for digest, file in chunk.known:
            content = content_of(self.writer.connection, digest)
            if content is None:
                short.setdefault(digest, []).append(file)
            elif self.writer.add_place(Place(file.origin, file.path, content.id)):
                self.added.files += 1
            else:
                self.added.unchanged += 1
        if short:
            self._store_new(short, self._prepared(short))

    def _prepared(self, new: _Texts) -> _Prepared:
        return _prepare(_texts(new), self.writer.state)

    def _store_new(self, new: _Texts, prepared: _Prepared) -> None:
        """Store new texts and their files."""
        state = self.writer.state
        before: list[int] = []  # lexemes of the lot, for each text
        contents: list[Content] = []
        places: list[Place] = []
        kept: list[bytes] = []
        for (digest, files), lexemes in zip(new.items(), prepared.exact.lexemes.tolist(), strict=True):
            before.append(self._lexemes)
            if lexemes < state.exact.gram:
                self.added.short += len(files)
                continue
            number = (state.lots << 32) + self._lexemes
            different = {(file.origin.repository, file.path): file for file in files}
            places += [Place(file.origin, file.path, number) for file in different.values()]
            kept.append(files[0].data)
            contents.append(Content(number, digest, len(kept[-1]), lexemes, len(different)))
            self._lexemes += lexemes
        if state.texts:
            contents = [
                content._replace(block=block, start=start)
                for content, (block, start) in zip(contents, self._store_blocks(kept, prepared.blocks), strict=True)
            ]
        add_contents(self.writer.connection, contents)
        state.contents += len(contents)
        state.size += sum(map(len, kept))
        state.lexemes += sum(content.lexemes for content in contents)
        for renamed, prints in ((False, prepared.exact), (True, prepared.renamed)):
            if prints is not None:
                self._chosen[renamed].add(prints, np.array(before, np.uint32))
        for place in places:
            self.writer.add_place(place, new=True)
        self.added.files += len(places)
        self.added.contents += len(contents)

    def _store_blocks(self, texts: list[bytes], blocks: list[bytes]) -> list[tuple[int, int]]:
        """Store compressed blocks; return the block of each text, and where in it the text starts."""
        first = (self.writer.state.lots << 32) + self._blocks
        self._blocks += len(blocks)
        add_blocks(self.writer.connection, first, blocks)
        spots = []
        for number, block in enumerate(_blocks(texts), first):
            start = 0
            for text in block:
                spots.append((number, start))
                start += len(text)
        return spots

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
            self._lexemes = self._blocks = 0
        if len(self.writer.state.shards) >= MOST_SHARDS:
            merge_shards(self.writer)
        self.writer.commit()
