"""Writes out what an index holds: its files or its postings, as lines of JSON or as Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, Literal

from santacoder._util.atomic_file import atomic_file
from santacoder._util.line_file import json_line
from santacoder.attribution.parquet import import_pyarrow
from santacoder.attribution.postings import unpack
from santacoder.attribution.rows import all_contents, places_of
from santacoder.attribution.state import MAX_POSITIONS, State
from santacoder.attribution.store import index_errors, open_index, read_state
from santacoder.errors import AttributionIndexError

GROUP_ROWS: Final = 1 << 16  # of a Parquet file

Part = Literal["files", "postings"]
Row = dict[str, Any]


def export_index(path: Path, target: Path, part: Part) -> int:
    """Write the files or the postings of an index; return how many.

    A row of "files" has content (a number), repository, path, revision, licence, licence_source, sha256, size and
    lexemes; one of "postings" has key, renamed, content, and lexeme, the index of the gram's first lexeme.

    Args:
        path: of the index.
        target: ".parquet" for Parquet, anything else for lines of JSON.
        part: what to write.

    Raises:
        MissingPackageError: Parquet needs pyarrow.
        AttributionIndexError, InvalidRequestError, OSError: see `open_index` and `atomic_file`.
    """
    write = _write_parquet if target.suffix == ".parquet" else _write_json
    if write is _write_parquet:
        import_pyarrow()
    connection = open_index(path)
    try:
        with atomic_file(target) as file, index_errors(path):
            connection.execute("BEGIN")
            state = read_state(connection)
            rows: Callable[[Any, State], Iterator[Row]] = _files if part == "files" else _postings
            return write(file, rows(connection, state))
    finally:
        connection.close()


def _files(connection: Any, state: State) -> Iterator[Row]:
    for content in all_contents(connection):
        for place in places_of(connection, content):
            yield {
                "content": content.id, "repository": place.origin.repository, "path": place.path,
                "revision": place.origin.revision, "licence": place.origin.licence,
                "licence_source": place.origin.licence_source, "sha256": content.sha256.hex(), "size": content.size,
                "lexemes": content.lexemes,
            }  # fmt: skip


def _postings(connection: Any, state: State) -> Iterator[Row]:
    ids = [content.id for content in all_contents(connection)]
    from bisect import bisect_right

    for shard in state.shards:
        for bucket in range(1 << shard.bits):
            row = connection.execute("SELECT data FROM posting WHERE id = ?", ((shard.number << 32) + bucket,))
            for posting in unpack(bucket, (row.fetchone() or (None,))[0], shard.bits).tolist():
                place = shard.content_position(posting % MAX_POSITIONS)
                at = bisect_right(ids, place) - 1
                if at < 0:
                    raise AttributionIndexError("a posting is outside of its shard")
                key = posting // MAX_POSITIONS
                yield {"key": key, "renamed": shard.renamed, "content": ids[at], "lexeme": place - ids[at]}


def _write_json(file: IO[bytes], rows: Iterator[Row]) -> int:
    count = 0
    for row in rows:
        file.write(json_line(row))
        count += 1
    return count


def _write_parquet(file: IO[bytes], rows: Iterator[Row]) -> int:
    pyarrow = import_pyarrow()
    from pyarrow import parquet

    writer = None
    count = 0
    while group := list(islice(rows, GROUP_ROWS)):
        table = pyarrow.Table.from_pylist(group)
        writer = writer or parquet.ParquetWriter(file, table.schema, compression="zstd")
        writer.write_table(table)
        count += len(group)
    if writer is not None:
        writer.close()
    return count
