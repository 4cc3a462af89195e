"""Indexes as they grow, change, shrink and are merged."""

from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import stat
from pathlib import Path

import pytest

import santacoder
from santacoder.attribution import builder
from santacoder.attribution.export import export_index
from santacoder.attribution.index import AttributionIndex
from santacoder.attribution.indexing import Indexed, add_to_index
from santacoder.attribution.lexemes import split, winnow
from santacoder.attribution.maintenance import merge_indexes, remove_repository
from santacoder.attribution.state import EXACT, State
from santacoder.attribution.writer import open_writer
from tests.support.attribution_corpus import code, make_index, write_corpus
from tests.support.needs import needs_fork

FILES = {f"m{seed}.py": code(seed) for seed in range(30)}


def sources(index: Path, text: str) -> list[tuple[str, str, str]]:
    """Repository, path and revision of the sources of all matches."""
    with AttributionIndex.open(index) as opened:
        return sorted(
            (source.repository, source.path, source.revision) for match in opened.find(text) for source in match.sources
        )


def state(index: Path) -> State:
    with AttributionIndex.open(index) as opened:
        return opened.state()


def done(indexed: Indexed) -> tuple[int, int, int]:
    """Files that were added, those that were there, and different texts that were added."""
    return indexed.added.files, indexed.added.unchanged, indexed.added.contents


def assert_consistent(index: Path) -> None:
    """Totals are those of the rows, every posting is of a content, and nothing is left of what is gone."""
    now = state(index)
    connection = sqlite3.connect(index)
    count = "SELECT COUNT(*) FROM "
    assert connection.execute(count + "file").fetchone() == (now.files,)
    rows = connection.execute("SELECT COUNT(*), TOTAL(size), TOTAL(lexemes), TOTAL(files) FROM content").fetchone()
    assert rows == (now.contents, now.size, now.lexemes, now.files)
    (pages,), (free,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count"))
    assert free <= 0.02 * pages + 1
    buckets = sum(1 << shard.bits for shard in now.shards)
    assert connection.execute(count + "posting").fetchone() == (buckets,)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert now.removed == []
    target = index.with_suffix(".postings")
    assert export_index(index, target, "postings") == sum(shard.postings for shard in now.shards)
    lexemes = {row["content"]: row["lexemes"] for row in exported(index, "files")}
    for row in map(json.loads, target.read_text().splitlines()):
        assert row["lexeme"] + 16 <= lexemes[row["content"]]


def exported(index: Path, part: str) -> list[dict[str, object]]:
    target = index.with_suffix(".jsonl")
    export_index(index, target, part)  # type: ignore[arg-type]
    return [json.loads(line) for line in target.read_text().splitlines()]


def test_second_run(tmp_path: Path) -> None:
    """Takes only what is new, and what has changed in place of what it was."""
    corpus, index = write_corpus(tmp_path / "corpus", FILES), tmp_path / "corpus.scidx"
    assert done(add_to_index(index, [corpus], repository="r")) == (30, 0, 30)
    before = index.read_bytes()
    assert done(add_to_index(index, [corpus], repository="r")) == (0, 30, 0)
    assert len(index.read_bytes()) == len(before)
    write_corpus(corpus, {"m3.py": code(103), "new.py": code(104), "copy.py": code(5)})
    assert done(add_to_index(index, [corpus], repository="r")) == (3, 29, 2)
    assert sources(index, code(3)) == []
    assert sources(index, code(103)) == [("r", "m3.py", "")]
    assert sources(index, code(5)) == [("r", "copy.py", ""), ("r", "m5.py", "")]
    assert sources(index, code(29)) == [("r", "m29.py", "")]
    assert_consistent(index)


def test_same_file_in_two_repositories(tmp_path: Path) -> None:
    """One of them changes: the other stays."""
    index = tmp_path / "corpus.scidx"
    for name in "ab":
        add_to_index(index, [write_corpus(tmp_path / name, {"f.py": code(1)})], repository=name)
    assert sources(index, code(1)) == [("a", "f.py", ""), ("b", "f.py", "")]
    add_to_index(index, [write_corpus(tmp_path / "a", {"f.py": code(2)})], repository="a")
    assert sources(index, code(1)) == [("b", "f.py", "")]
    assert sources(index, code(2)) == [("a", "f.py", "")]
    assert_consistent(index)


@pytest.mark.parametrize("jobs", [1, 3])
def test_many_lots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int) -> None:
    """However the files are divided and whoever computes, the answers are the same."""
    expected = make_index(tmp_path, FILES, name="whole")
    monkeypatch.setattr(builder, "LOT_BYTES", 5000)
    monkeypatch.setattr(builder, "CHUNK_BYTES", 2500)
    monkeypatch.setattr(builder, "MOST_SHARDS", 4)
    corpus, index = write_corpus(tmp_path / "corpus", FILES), tmp_path / "corpus.scidx"
    add_to_index(index, [corpus], repository="whole", jobs=jobs)
    assert state(index).lots > 2
    for seed in (0, 7, 29, 40):
        with AttributionIndex.open(index) as one, AttributionIndex.open(expected) as other:
            assert one.find(code(seed)) == other.find(code(seed))
    assert_consistent(index)


def test_any_number_of_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are the same to the byte, also where contents come again, or files take the place of others."""
    monkeypatch.setattr(builder, "LOT_BYTES", 20_000)
    monkeypatch.setattr(builder, "CHUNK_BYTES", 3000)
    folders = []
    for number in range(4):
        texts = {f"m{at}.py": code(at % 11 + 3 * number) if at % 5 else "x = 1\n" for at in range(20)}
        folders.append(write_corpus(tmp_path / str(number), texts))
    made = set()
    for jobs in (1, 2, 3, 7):
        index = tmp_path / f"{jobs}.scidx"
        indexed = add_to_index(index, folders, repository="r", jobs=jobs)
        made.add((done(indexed), indexed.added.short, indexed.added.size, index.read_bytes()))
        assert_consistent(index)
    assert len(made) == 1
    assert sources(index, code(10)) == [("r", "m1.py", ""), ("r", "m12.py", "")]


@pytest.mark.parametrize("parts", [2, 7])
@pytest.mark.parametrize("renamed", [False, True])
def test_merge(tmp_path: Path, parts: int, renamed: bool) -> None:
    """The merged index answers as one that was built at once, also of files that several have."""
    expected = make_index(tmp_path, FILES, renamed=renamed)
    names = list(FILES)
    indexes = []
    for part in range(parts):
        chosen = {name: FILES[name] for name in (*names[part::parts], names[0])}
        folder = write_corpus(tmp_path / f"part{part}", chosen)
        indexes.append(tmp_path / f"part{part}.scidx")
        add_to_index(indexes[-1], [folder], repository="corpus", renamed=renamed)
    merged = tmp_path / "merged.scidx"
    merge_indexes(merged, indexes[:1])
    merge_indexes(merged, indexes[1:])
    with AttributionIndex.open(merged) as one, AttributionIndex.open(expected) as other:
        for text in (*list(FILES.values())[:: 10 if renamed else 1], code(40)):
            assert one.find(text) == other.find(text)
    assert len(state(merged).of_kind(False)) == 1
    assert_consistent(merged)
    remove_repository(merged, "corpus")
    assert b"_item_" not in merged.read_bytes()


def test_remove(tmp_path: Path) -> None:
    """Nothing of it is left in the file; what others have stays."""
    index = tmp_path / "corpus.scidx"
    secret, shared = "secret_name = 1\n" + code(1), code(2)
    add_to_index(index, [write_corpus(tmp_path / "a", {"s.py": secret, "t.py": shared})], repository="gone/repo")
    add_to_index(index, [write_corpus(tmp_path / "b", {"t.py": shared, "u.py": code(3)})], repository="b")
    assert remove_repository(index, "gone/repo") == 2
    assert sources(index, secret + shared) == [("b", "t.py", "")]
    assert_consistent(index)
    assert b"gone/repo" not in index.read_bytes()
    with pytest.raises(santacoder.InvalidRequestError, match=r"has no file of the repository 'gone/repo'"):
        remove_repository(index, "gone/repo")
    remove_repository(index, "b")
    assert state(index).shards == []
    assert_consistent(index)
    add_to_index(index, [tmp_path / "a"], repository="back")
    assert sources(index, secret) == [("back", "s.py", "")]


def test_export(tmp_path: Path) -> None:
    rows = exported(make_index(tmp_path, {"f.py": code(1)}), "files")
    lexemes = rows[0]["lexemes"]
    assert rows == [
        {
            "content": 0, "repository": "corpus", "path": "f.py", "revision": "", "licence": "NOASSERTION",
            "licence_source": "", "sha256": rows[0]["sha256"], "size": len(code(1)), "lexemes": lexemes,
        }
    ]  # fmt: skip


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    index = make_index(tmp_path, FILES)
    assert stat.S_IMODE(index.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["corpus.scidx"]


def test_two_at_once(tmp_path: Path) -> None:
    """The second says so, and changes nothing."""
    index = make_index(tmp_path, FILES)
    with (
        open_writer(index),
        pytest.raises(santacoder.InvalidRequestError) as caught,
    ):
        add_to_index(index, [write_corpus(tmp_path / "more", {"f.py": code(50)})])
    assert str(caught.value) == f"another process is writing the index {index}"
    add_to_index(index, [tmp_path / "more"])
    assert len(sources(index, code(50))) == 1


def test_reading_while_writing(tmp_path: Path) -> None:
    """A reader sees what was there before, and after the commit what is new."""
    index = make_index(tmp_path, FILES)
    with AttributionIndex.open(index) as reader:
        assert len(reader.find(code(1))) == 1
        with open_writer(index) as writer:
            before = builder.Builder(writer)
            before.writer.connection.execute("DELETE FROM block")
            assert len(reader.find(code(2))) == 1
        assert len(reader.find(code(3))) == 1
        add_to_index(index, [write_corpus(tmp_path / "more", {"f.py": code(50)})])
        assert len(reader.find(code(50))) == 1


def test_lookups_while_writing(tmp_path: Path) -> None:
    """What was looked up stays known until the index changes; a shard that a writer has replaced is noticed."""
    index = make_index(tmp_path, FILES)
    keys = [winnow(split(code(seed).encode()).hashes, EXACT)[0].tolist() for seed in (3, 50, 60)]
    with AttributionIndex.open(index) as reader:
        assert [reader.holds(each, fresh=False) for each in keys] == [True, False, False]
        add_to_index(index, [write_corpus(tmp_path / "more", {f"f{seed}.py": code(seed) for seed in range(40, 56)})])
        assert len(state(index).shards) == 1
        assert not reader.holds(keys[1], fresh=False)
        assert reader.holds(keys[0][1:], fresh=False)
        assert [reader.holds(each) for each in keys] == [True, True, False]
        reader.close()
        for fresh in (False, True):
            with pytest.raises(santacoder.InvalidRequestError, match="is closed"):
                reader.holds(keys[0], fresh=fresh)


def find_in_child(index: AttributionIndex, text: str) -> int:
    return len(index.find(text))


@needs_fork
def test_fork(tmp_path: Path) -> None:
    with AttributionIndex.open(make_index(tmp_path, FILES)) as index:
        child = os.fork()
        if child == 0:
            os._exit(find_in_child(index, code(1)) - 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(index.find(code(1))) == 1


def test_bad_input(tmp_path: Path) -> None:
    """One sentence each; nothing is created or changed."""
    index = make_index(tmp_path, FILES)
    before, now = index.read_bytes(), state(index)
    corpus, other = tmp_path / "corpus", tmp_path / "other.scidx"
    database = tmp_path / "database"
    sqlite3.connect(database).executescript("CREATE TABLE t(x); VACUUM").connection.close()
    newer = tmp_path / "newer.scidx"
    newer.write_bytes(before)
    sqlite3.connect(newer).execute("PRAGMA user_version=2").connection.close()
    renamed = make_index(tmp_path, {"f.py": code(60)}, name="renamed", renamed=True)
    for call, said in (
        (lambda: add_to_index(other, []), "there is nothing to index: name a folder, an archive or a file"),
        (lambda: add_to_index(other, [], ["/no/such/*.parquet"]), "no file matches '/no/such/*.parquet'"),
        (lambda: add_to_index(other, [corpus], jobs=0), "jobs is 0, but it must be an integer in 1..256"),
        (
            lambda: add_to_index(index, [corpus], renamed=True),
            f"{index} was made without --renamed: make another index for it",
        ),
        (
            lambda: add_to_index(index, [corpus], texts=False),
            f"{index} was made with texts: make another index for --no-text",
        ),
        (lambda: add_to_index(database, [corpus]), f"{database}: this SQLite file is not an attribution index"),
        (lambda: AttributionIndex.open(database), f"{database}: this SQLite file is not an attribution index"),
        (lambda: AttributionIndex.open(corpus), f"{corpus} is not a file, so it is not an index"),
        (
            lambda: AttributionIndex.open(newer),
            f"{newer}: the index has format 2, but this version reads format 1",
        ),
        (
            lambda: AttributionIndex.open(corpus / "m1.py"),
            f"{corpus / 'm1.py'}: the index is damaged (file is not a database)",
        ),
        (
            lambda: merge_indexes(index, [renamed]),
            f"{renamed} was made with renamed 24/27/6, but {index} with none: only indexes with the same settings can "
            "be merged",
        ),
        (lambda: merge_indexes(index, [index]), f"{index} cannot be merged into itself"),
    ):
        with pytest.raises(santacoder.SantaCoderError) as caught:
            call()
        assert str(caught.value) == said
    for call in (
        lambda: AttributionIndex.open(other),
        lambda: add_to_index(other, [tmp_path / "nothing"]),
        lambda: merge_indexes(other, [tmp_path / "nothing"]),
    ):
        with pytest.raises(FileNotFoundError):
            call()
    assert not other.exists()
    assert state(index) == now


def index_until_killed(index: Path, corpus: Path) -> None:
    vars(builder).update(LOT_BYTES=5000, CHUNK_BYTES=2500)
    add_to_index(index, [corpus], repository="corpus")


@pytest.mark.parametrize("moment", range(10))
def test_killed_at_any_moment(tmp_path: Path, moment: int) -> None:
    """What is there is consistent and true, and the next run completes it."""
    corpus, index = write_corpus(tmp_path / "corpus", FILES), tmp_path / "corpus.scidx"
    context = multiprocessing.get_context("fork")
    process = context.Process(target=index_until_killed, args=(index, corpus))
    process.start()
    process.join(0.004 * moment)
    process.kill()
    process.join()
    if index.exists():
        with AttributionIndex.open(index) as opened:
            for name, text in FILES.items():
                assert [source.path for match in opened.find(text) for source in match.sources] in ([], [name])
    add_to_index(index, [corpus], repository="corpus")
    assert_consistent(index)
    for name, text in FILES.items():
        assert sources(index, text) == [("corpus", name, "")]
