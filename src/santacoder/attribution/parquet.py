"""Files in Parquet, with the columns of The Stack."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from santacoder.attribution.corpus import Corpus
from santacoder.attribution.origins import Origin, SourceFile
from santacoder.errors import InvalidRequestError, MissingPackageError

ROWS: Final = 256  # that are in memory at a time

#: What a column says, and its names: in The Stack v1, and without the prefix of its first versions.
_COLUMNS: Final = {
    "content": ("content",),
    "repository": ("max_stars_repo_name", "repo_name", "repository_name"),
    "path": ("max_stars_repo_path", "path"),
    "revision": ("max_stars_repo_head_hexsha", "head_hexsha", "revision_id"),
    "licences": ("max_stars_repo_licenses", "licenses", "detected_licenses"),
}


def import_pyarrow() -> Any:
    """Return pyarrow.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        raise MissingPackageError("Parquet needs pyarrow: `pip install santacoder[attribution]`") from None
    return pyarrow


class Table(NamedTuple):
    """A Parquet file, or some of its row groups."""

    path: Path
    groups: tuple[int, ...] | None = None


def split_table(path: Path, size: int) -> Iterator[tuple[Table, int]]:
    """Yield parts of a Parquet file of about `size` bytes, each with what it has on the disk.

    A damaged file is one part.
    """
    pyarrow = import_pyarrow()
    from pyarrow import parquet

    try:
        on_disk = path.stat().st_size
        with parquet.ParquetFile(path) as file:
            sizes = [file.metadata.row_group(group).total_byte_size for group in range(file.num_row_groups)]
    except (pyarrow.ArrowException, OSError):
        yield Table(path), 0
        return
    groups: list[int] = []
    of_part = 0
    for group, more in enumerate(sizes):
        if groups and of_part + more > size:
            yield Table(path, (*groups,)), on_disk * of_part // sum(sizes)
            groups, of_part = [], 0
        groups.append(group)
        of_part += more
    yield Table(path, (*groups,)), on_disk * of_part // max(sum(sizes), 1)


def parquet_files(tables: Sequence[Table], corpus: Corpus) -> Iterator[SourceFile]:
    """Yield the files in Parquet files; rows that cannot be taken are counted by the corpus.

    Raises:
        MissingPackageError: pyarrow is not installed.
        InvalidRequestError: a Parquet file lacks the columns.
    """
    if not tables:
        return
    pyarrow = import_pyarrow()
    from pyarrow import parquet

    for path, groups in tables:
        try:
            with parquet.ParquetFile(path) as file:
                names = _names(path, file.schema_arrow.names)
                for batch in file.iter_batches(ROWS, row_groups=groups, columns=list(names.values())):
                    columns = {what: batch.column(name).to_pylist() for what, name in names.items()}
                    for row in range(batch.num_rows):
                        yield from _file(path, {what: column[row] for what, column in columns.items()}, corpus)
        except (pyarrow.ArrowException, OSError) as error:
            corpus.skipped.add(str(path), "is a damaged Parquet file", " ".join(str(error).split())[:100])
        with contextlib.suppress(OSError):
            corpus.advance(path.stat().st_size)


def _names(path: Path, there: list[str]) -> dict[str, str]:
    found = {what: next((name for name in names if name in there), None) for what, names in _COLUMNS.items()}
    missing = [_COLUMNS[what][0] for what in ("content", "repository", "path") if found[what] is None]
    if missing:
        raise InvalidRequestError(f"{path} has no column {missing[0]}, so it is not a part of The Stack")
    return {what: name for what, name in found.items() if name is not None}


def _file(path: Path, row: dict[str, Any], corpus: Corpus) -> Iterator[SourceFile]:
    content, repository, name = row["content"], row["repository"], row["path"]
    if not all(isinstance(each, str) for each in (content, repository, name)):
        corpus.skipped.add(str(path), "has a row without text")
        return
    data = content.encode("utf-8", "surrogatepass")
    if corpus.usable(f"{path}: {repository}/{name}", data):
        licences = row.get("licences") or []
        stated = " AND ".join(map(str, licences)) if isinstance(licences, list) else str(licences)
        origin = Origin(repository, str(row.get("revision") or "")).with_licence(stated, "dataset")
        yield SourceFile(corpus.given(origin).of_file(data), name, data)
