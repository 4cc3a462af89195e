"""Removes repositories from an index, and merges indexes."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from santacoder._util.validation import printable
from santacoder.attribution.builder import Added
from santacoder.attribution.postings import check_bucket
from santacoder.attribution.rows import (
    Content,
    Place,
    add_contents,
    all_contents,
    content_of,
    erase_text,
    places_of,
)
from santacoder.attribution.shards import merge_shards
from santacoder.attribution.state import Lot, Shard, State
from santacoder.attribution.store import index_errors, open_index, read_state
from santacoder.attribution.writer import Writer, open_writer
from santacoder.errors import AttributionIndexError, InvalidRequestError


def remove_repository(path: Path, repository: str) -> int:
    """Remove all files of a repository, with their texts and postings; return how many there were.

    Raises:
        InvalidRequestError: the index has no file of it, or another process is writing the index.
        AttributionIndexError, OSError: see `open_writer`.
    """
    with open_writer(path) as writer:
        row = writer.connection.execute("SELECT id FROM repository WHERE name = ?", (repository,)).fetchone()
        rows = row and writer.connection.execute("SELECT id, content FROM file WHERE repository = ?", row).fetchall()
        if not rows:
            raise InvalidRequestError(f"{printable(str(path))} has no file of the repository {repository!r}")
        for number, content in rows:
            writer.remove_file(number, content)
        writer.connection.execute("DELETE FROM origin WHERE repository = ?", row)
        writer.connection.execute("DELETE FROM repository WHERE id = ?", row)
        merge_shards(writer, whole=True)
        writer.shrink()
    return len(rows)


def merge_indexes(target: Path, sources: Sequence[Path]) -> None:
    """Add to an index all that others hold; create it if need be. Each of the others is added whole or not at all.

    Raises:
        InvalidRequestError: an index was made with other settings, is the target, or is being written.
        AttributionIndexError, OSError: an index cannot be read or written.
    """
    states = []
    for source in sources:
        if target.exists() and target.samefile(source):
            raise InvalidRequestError(f"{printable(str(source))} cannot be merged into itself")
        with index_errors(source):
            connection = open_index(source)
            try:
                states.append(read_state(connection))
            finally:
                connection.close()
    new = State(states[0].exact, states[0].renamed, states[0].texts)
    for source, state in zip(sources, states, strict=True):
        _check_settings(source, state, sources[0], new)
    with open_writer(target, new) as writer:
        for source, state in zip(sources, states, strict=True):
            _check_settings(source, state, target, writer.state)
            add_whole(writer, source)
        merge_shards(writer, whole=True)
        writer.shrink()


def _check_settings(source: Path, state: State, other: Path, wanted: State) -> None:
    for name, value in wanted.settings.items():
        if state.settings[name] != value:
            raise InvalidRequestError(
                f"{printable(str(source))} was made with {name} {_shown(state.settings[name])}, but "
                f"{printable(str(other))} with {_shown(value)}: only indexes with the same settings can be merged"
            )


def _shown(value: object) -> str:
    return "/".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()


def add_whole(writer: Writer, path: Path) -> Added:
    """Add all that an index with the same settings holds, in one transaction; return what was new.

    Raises:
        AttributionIndexError, OSError: the index cannot be read.
    """
    merge = _Merge(writer, path)
    merge.run()
    writer.commit()
    return merge.added


class _Merge:
    """Adds one index to another.

    Attributes:
        added: what was new.
    """

    def __init__(self, writer: Writer, path: Path) -> None:
        self.added = Added()
        self._writer, self._path = writer, path
        self._lot_shift = writer.state.lots
        self._blocks: set[int] = set()  # of the other index, with texts that are new
        self._known: list[Content] = []  # contents that are there already, as they would be here

    def run(self) -> None:
        """Copy what is new, and all postings: those of known contents go when shards are merged.

        Raises:
            AttributionIndexError, OSError: the index cannot be read.
        """
        source = open_index(self._path)
        try:
            with index_errors(self._path):
                source.execute("BEGIN")
                state = read_state(source)
                for content in all_contents(source):
                    self._copy_content(content, places_of(source, content))
                self._copy_blocks(source)
                for shard in state.shards:
                    self._copy_shard(source, shard)
        finally:
            source.close()
        shift = self._lot_shift << 32
        self._writer.state.removed += [(start + shift, count) for start, count in state.removed]
        self._writer.state.removed += [(content.id, content.lexemes) for content in self._known]
        self._writer.state.lots += state.lots

    def _copy_content(self, content: Content, places: Sequence[Place]) -> None:
        shift = self._lot_shift << 32
        moved = content._replace(id=content.id + shift, files=0)
        if content.block >= 0:
            moved = moved._replace(block=content.block + shift)
        target = content_of(self._writer.connection, content.sha256)
        if target is not None:
            self._known.append(moved)
        else:
            target = moved
            self._blocks.add(content.block)
            add_contents(self._writer.connection, [moved])
            self.added.contents += 1
            state = self._writer.state
            state.contents += 1
            state.size += content.size
            state.lexemes += content.lexemes
        for place in places:
            if self._writer.add_place(Place(place.origin, place.path, target.id)):
                self.added.files += 1
            else:
                self.added.unchanged += 1

    def _copy_blocks(self, source: sqlite3.Connection) -> None:
        shift = self._lot_shift << 32
        for number, data in source.execute("SELECT id, data FROM block"):
            if number in self._blocks:
                self._writer.connection.execute("INSERT INTO block VALUES (?, ?)", (number + shift, data))
        for content in self._known:  # else their texts would outlive their removal
            if content.block - shift in self._blocks and content.block >= 0:
                erase_text(self._writer.connection, content)

    def _copy_shard(self, source: sqlite3.Connection, shard: Shard) -> None:
        state = self._writer.state
        lots = [Lot(lot.number + self._lot_shift, lot.lexemes, lot.first) for lot in shard.lots]
        copied = Shard(state.next_shard, shard.renamed, shard.bits, shard.postings, lots)
        state.next_shard += 1
        base, buckets = shard.number << 32, 1 << shard.bits
        rows = source.execute("SELECT id, data FROM posting WHERE id >= ? AND id < ?", (base, base + buckets))
        copied_base = copied.number << 32
        for bucket in range(buckets):
            number, data = rows.fetchone() or (None, None)
            check_bucket(bucket, data, shard.bits)
            if number != base + bucket:
                raise AttributionIndexError("a bucket of postings is damaged or missing")
            self._writer.connection.execute("INSERT INTO posting VALUES (?, ?)", (copied_base + bucket, data))
        state.shards.append(copied)
