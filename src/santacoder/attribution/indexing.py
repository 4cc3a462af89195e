"""Makes an index of folders, archives and Parquet files, or adds to one what is new."""

from __future__ import annotations

import glob
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from santacoder._util.progress import progress_bar
from santacoder._util.validation import check_integer, printable
from santacoder.attribution.builder import Added, Builder
from santacoder.attribution.corpus import Corpus, Skipped
from santacoder.attribution.origins import SourceFile
from santacoder.attribution.parquet import Table, import_pyarrow, parquet_files
from santacoder.attribution.ray_segments import add_by_ray
from santacoder.attribution.state import RENAMED, State
from santacoder.attribution.writer import open_writer
from santacoder.errors import InvalidRequestError

MAX_JOBS = 256


@dataclass(frozen=True)
class Indexed:
    """What `add_to_index` did: what was added, what was skipped, and the seconds that it took."""

    added: Added
    skipped: Skipped
    seconds: float


def add_to_index(
    index: Path,
    paths: Sequence[Path],
    parquet: Sequence[str] = (),
    *,
    repository: str | None = None,
    licence: str | None = None,
    renamed: bool = False,
    texts: bool = True,
    jobs: int | None = None,
    ray: bool = False,
    ray_address: str | None = None,
    progress: bool | None = None,
    report: Callable[[str, str], None] = lambda path, reason: None,
) -> Indexed:
    """Add files to an index; create it if need be. What it holds already is not stored again.

    Whenever this is killed, the index is as it was after one of the transactions, each of 256 MiB of text.

    Args:
        index: the index.
        paths: folders, archives and files.
        parquet: patterns of Parquet files.
        repository: what all files are from; None takes what their metadata says.
        licence: of all of them; None takes what their metadata says.
        renamed: whether copies with other names are to be found, too.
        texts: whether to store the texts; without them matches are not verified.
        jobs: threads; on a Ray cluster, tasks at a time. None is 1, and there as many as it has CPUs.
        ray: whether tasks of a Ray cluster read the files, which must be on each of its machines.
        ray_address: of the cluster; see `ray_cluster`.
        progress: whether to draw a bar; None does on a terminal.
        report: called with the path and the reason of what is skipped.

    Raises:
        InvalidRequestError: there are no paths, a pattern matches none, or the index was made with other settings.
        MissingPackageError: Parquet needs pyarrow, or Ray is not installed.
        AttributionIndexError, OSError: see `open_writer`.
    """
    if jobs is not None:
        check_integer("jobs", jobs, 1, MAX_JOBS)
    tables = _matching(parquet)
    if not paths and not tables:
        raise InvalidRequestError("there is nothing to index: name a folder, an archive or a file")
    for path in paths:
        path.stat()
    if tables:
        import_pyarrow()
    began = time.monotonic()
    skipped = Skipped(report)
    size = Corpus(tuple(paths)).size() + sum(path.stat().st_size for path in tables)
    new = State(renamed=RENAMED if renamed else None, texts=texts)
    with open_writer(index, new) as writer, progress_bar(size, "bytes", progress, lines=True) as bar:
        _check_settings(index, writer.state, renamed, texts)
        added = Added()

        def advance(count: int) -> None:
            bar.update(count)
            bar.set_postfix_str(f"{added.size / 1e6 / max(time.monotonic() - began, 1e-3):.0f} MB/s", False)

        corpus = Corpus(tuple(paths), repository, licence, skipped, advance)
        if ray:
            add_by_ray(writer, corpus, tables, added, jobs, ray_address)
        else:
            files: Iterator[SourceFile] = chain(corpus.files(), parquet_files([*map(Table, tables)], corpus))
            Builder(writer, jobs or 1, added).add(files)
    return Indexed(added, skipped, time.monotonic() - began)


def _matching(patterns: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for pattern in patterns:
        names = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - patterns may be absolute
        if not names:
            raise InvalidRequestError(f"no file matches {pattern!r}")
        found += map(Path, names)
    return found


def _check_settings(index: Path, state: State, renamed: bool, texts: bool) -> None:
    name = printable(str(index))
    if renamed and state.renamed is None:
        raise InvalidRequestError(f"{name} was made without --renamed: make another index for it")
    if not texts and state.texts:
        raise InvalidRequestError(f"{name} was made with texts: make another index for --no-text")
