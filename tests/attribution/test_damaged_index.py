"""Whatever was done to the file of an index: an error that says so, or the right answers."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

import santacoder
from santacoder.attribution.index import AttributionIndex
from tests.support.attribution_corpus import code, make_index
from tests.support.index_mutants import write_mutant

TEXTS = [code(seed) for seed in (0, 5, 11, 40)]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = {f"m{seed}.py": code(seed) for seed in range(12)}
    return make_index(tmp_path_factory.mktemp("index"), files | {"copy.py": code(5)})


def answers(index: Path) -> list[list[santacoder.Match]]:
    with AttributionIndex.open(index) as opened:
        return [opened.find(text) for text in TEXTS]


@pytest.mark.parametrize("portion", range(4))
def test_mutants(index: Path, tmp_path: Path, portion: int) -> None:
    expected = answers(index)
    assert [len(matches) for matches in expected] == [1, 1, 1, 0]
    said = []
    for seed in range(50 * portion, 50 * portion + 50):
        mutant = tmp_path / f"{seed}.scidx"
        did = write_mutant(index, mutant, seed)
        try:
            found = answers(mutant)
        except santacoder.AttributionIndexError as error:
            said.append(str(error).removeprefix(f"{mutant}: "))
        else:
            assert found == expected, did
        mutant.unlink()
    assert len(said) > 5
    assert [each for each in said if "\n" in each or str(tmp_path) in each] == []


def test_exchanged_buckets(index: Path, tmp_path: Path) -> None:
    """Each is whole, but holds the postings of another."""
    changed = tmp_path / "changed.scidx"
    changed.write_bytes(index.read_bytes())
    connection = sqlite3.connect(changed)
    rows = connection.execute("SELECT id, data FROM posting").fetchall()
    others = [(data, rows[at - 1][0]) for at, (_, data) in enumerate(rows)]
    connection.executemany("UPDATE posting SET data = ? WHERE id = ?", others)
    connection.commit()
    connection.close()
    with pytest.raises(santacoder.AttributionIndexError, match="a bucket of postings is damaged or missing"):
        answers(changed)


def test_other_tables(index: Path, tmp_path: Path) -> None:
    """A view or a trigger could make SQLite run what its author wants."""
    for statement in ("CREATE VIEW v AS SELECT 1", "DROP INDEX file_content", "ALTER TABLE block RENAME TO bricks"):
        changed = tmp_path / "changed.scidx"
        changed.write_bytes(index.read_bytes())
        connection = sqlite3.connect(changed)
        connection.execute(statement)
        connection.commit()
        connection.close()
        with pytest.raises(santacoder.AttributionIndexError, match="its tables are not those of an index"):
            AttributionIndex.open(changed)


def test_read_only_folder(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written beside the index."""
    folder = tmp_path / "fixed"
    folder.mkdir()
    (folder / "corpus.scidx").write_bytes(index.read_bytes())
    monkeypatch.setattr("os.access", lambda *_: False)  # permissions do not bind root
    assert answers(folder / "corpus.scidx") == answers(index)
    assert [path.name for path in folder.iterdir()] == ["corpus.scidx"]
