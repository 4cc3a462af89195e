"""Parquet files with the columns of The Stack, and Parquet that is written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import santacoder
from santacoder.attribution.export import export_index
from santacoder.attribution.index import AttributionIndex
from santacoder.attribution.indexing import add_to_index
from tests.support.attribution_corpus import code, make_index
from tests.support.stack_tables import stack, write_stack


def test_the_stack(tmp_path: Path) -> None:
    """Rows are files; a row without text, and one that is too long, are skipped."""
    write_stack(tmp_path / "a.parquet", stack([code(1), None, "x" * 200_000, code(2)]))
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1")
    index = tmp_path / "x.scidx"
    done = add_to_index(index, [], [f"{tmp_path}/*.parquet"])
    assert (done.added.files, sum(done.skipped.counts.values())) == (2, 3)
    with AttributionIndex.open(index) as opened:
        [match] = opened.find(code(2))
    [source] = match.sources
    assert (source.repository, source.path, source.revision) == ("owner/r3", "p3.py", "c0ffee")
    assert (source.licence, source.licence_source) == ("MIT AND Apache-2.0", "dataset")


def test_other_columns(tmp_path: Path) -> None:
    write_stack(tmp_path / "a.parquet", {"text": ["x"], "path": ["y"]})
    with pytest.raises(santacoder.InvalidRequestError) as caught:
        add_to_index(tmp_path / "x.scidx", [], [f"{tmp_path}/a.parquet"])
    assert str(caught.value) == f"{tmp_path}/a.parquet has no column content, so it is not a part of The Stack"


def test_export(tmp_path: Path) -> None:
    """The same rows as in lines of JSON."""
    parquet = pytest.importorskip("pyarrow.parquet")
    index = make_index(tmp_path, {f"{seed}.py": code(seed) for seed in range(3)})
    for part in ("files", "postings"):
        target = tmp_path / f"{part}.parquet"
        count = export_index(index, target, part)
        assert count == export_index(index, tmp_path / "lines", part)
        assert parquet.read_table(target).num_rows == count


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"")
    with pytest.raises(santacoder.MissingPackageError) as caught:
        add_to_index(tmp_path / "x.scidx", [], [f"{tmp_path}/a.parquet"])
    assert str(caught.value) == "Parquet needs pyarrow: `pip install santacoder[attribution]`"
    assert not (tmp_path / "x.scidx").exists()
