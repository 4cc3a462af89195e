"""Indexes a corpus on a Ray cluster: tasks make an index of each part of it, and these are merged in order.

The parts follow from the corpus, not from the cluster, so any number of workers makes the same index.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final

from santacoder._util.ray_cluster import ray_cluster
from santacoder._util.validation import printable
from santacoder.attribution.builder import LOT_BYTES, MOST_SHARDS, Added, Builder
from santacoder.attribution.corpus import Corpus, Entry, Skipped
from santacoder.attribution.maintenance import add_whole
from santacoder.attribution.parquet import Table, parquet_files, split_table
from santacoder.attribution.shards import merge_shards
from santacoder.attribution.state import State
from santacoder.attribution.writer import Writer, open_writer
from santacoder.errors import InvalidRequestError

RETRIES: Final = 100  # of a part whose worker dies
MOST_ENTRIES: Final = 100_000  # of a part


@dataclass(frozen=True)
class Part:
    """What one task reads: files and archives, or a table.

    Attributes:
        size: their bytes on the disk.
    """

    size: int
    entries: Sequence[Entry] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class Segment:
    """An index of one part.

    Attributes:
        data: its file.
        size: bytes of the files that were read.
        short: files with too few lexemes.
        skipped: how many files were not taken, by reason.
        reports: path and reason of those that are to be told.
    """

    data: bytes
    size: int
    short: int
    skipped: dict[str, int]
    reports: list[tuple[str, str]] = field(default_factory=list)


def add_by_ray(
    writer: Writer, corpus: Corpus, tables: Sequence[Path], added: Added, jobs: int | None, address: str | None
) -> None:
    """Add a corpus and Parquet files to an index. Each part is added whole or not at all.

    Args:
        writer: of the index.
        corpus: is told of what is skipped and done.
        tables: the Parquet files.
        added: gets what was done.
        jobs: tasks at a time, of one CPU each; None is what the cluster has.
        address: of the cluster.

    Raises:
        MissingPackageError, InvalidRequestError, SantaCoderError: see `ray_cluster`, or a file is missing on a machine.
    """
    state = writer.state
    new = State(state.exact, state.renamed, state.texts)
    with ray_cluster(address, "--engine ray") as cluster, tempfile.TemporaryDirectory() as folder:
        most = jobs or max(int(cluster.ray.cluster_resources().get("CPU", 1)), 1)
        task = cluster.ray.remote(num_cpus=1, max_retries=RETRIES)(build_segment)
        working: deque[tuple[Part, Any]] = deque()

        def add_first() -> None:
            part, result = working.popleft()
            _add(writer, cluster.ray.get(result), Path(folder) / "segment", corpus, added)
            corpus.advance(part.size)

        for part in parts(corpus, tables):
            working.append((part, task.remote(part, corpus.repository, corpus.licence, new)))
            if len(working) >= most:
                add_first()
        while working:
            add_first()
    merge_shards(writer, whole=True)
    writer.shrink()


def parts(corpus: Corpus, tables: Sequence[Path]) -> Iterator[Part]:
    """Yield the parts of a corpus, in its order, each of about as much text as an index takes in one transaction."""
    entries: list[Entry] = []
    size = 0
    for entry in corpus.entries():
        absolute = entry._replace(path=os.path.abspath(entry.path))  # noqa: PTH100 - links stay what they are
        entries.append(absolute)
        size += _size(entry.path)
        if size >= LOT_BYTES or len(entries) >= MOST_ENTRIES:
            yield Part(size, entries)
            entries, size = [], 0
    if entries:
        yield Part(size, entries)
    for path in tables:
        for table, size in split_table(path.absolute(), LOT_BYTES):
            yield Part(size, tables=[table])


def build_segment(part: Part, repository: str | None, licence: str | None, new: State) -> Segment:
    """Make an index of a part, on any machine.

    Raises:
        InvalidRequestError: a file is missing on this machine.
    """
    for path in (*(entry.path for entry in part.entries), *(str(table.path) for table in part.tables)):
        if not os.path.lexists(path):
            raise InvalidRequestError(f"{printable(path)} is not on every machine of the cluster")
    reports: list[tuple[str, str]] = []
    skipped = Skipped(lambda path, reason: reports.append((path, reason)))
    corpus = Corpus((), repository, licence, skipped)
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "segment"
        with open_writer(index, new) as writer:
            builder = Builder(writer)
            files = chain.from_iterable(map(corpus.read, part.entries))
            builder.add(chain(files, parquet_files(part.tables, corpus)))
        return Segment(index.read_bytes(), builder.added.size, builder.added.short, dict(skipped.counts), reports)


def _add(writer: Writer, segment: Segment, path: Path, corpus: Corpus, added: Added) -> None:
    """Add a segment to the index, by way of a file at `path`."""
    path.write_bytes(segment.data)
    added.add(add_whole(writer, path))
    added.size += segment.size
    added.short += segment.short
    corpus.skipped.counts.update(segment.skipped)
    for name, reason in segment.reports:
        corpus.skipped.report(name, reason)
    if len(writer.state.shards) >= MOST_SHARDS:
        merge_shards(writer)
        writer.commit()


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0
