"""An index that a Ray cluster makes answers as one that this process makes, with any number of workers."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from santacoder.attribution import ray_segments
from santacoder.attribution.corpus import Corpus
from santacoder.attribution.index import AttributionIndex
from santacoder.attribution.indexing import Indexed, add_to_index
from santacoder.attribution.parquet import Table
from santacoder.attribution.ray_segments import Part, build_segment, parts
from santacoder.attribution.state import State
from santacoder.errors import InvalidRequestError
from tests.support.attribution_corpus import code, write_corpus
from tests.support.stack_tables import stack, write_stack
from tests.support.waiting import HANG

FILES = {f"{'abc'[seed % 3]}/m{seed}.py": code(seed) for seed in range(60)}
TEXTS = [*FILES.values(), code(3)[200:900], code(100)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Files in folders, one of them twice, an archive, and what is skipped."""
    folder = write_corpus(tmp_path / "corpus", {**FILES, "a/copy.py": FILES["b/m1.py"], "c/short.py": "x"})
    (folder / "link.py").symlink_to(folder / "a/m0.py")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("packed.py", code(80))
    (folder / "packed.zip").write_bytes(packed.getvalue())
    return folder


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_segments, "MOST_ENTRIES", 7)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    yield ray
    ray.shutdown()


def index_of(path: Path, corpus: Path, **options: Any) -> tuple[Indexed, list[tuple[str, str]]]:
    """Index a corpus; return what was done, and what was reported."""
    reports: list[tuple[str, str]] = []
    done = add_to_index(path, [corpus], report=lambda name, reason: reports.append((name, reason)), **options)
    return done, reports


def answers(path: Path) -> list[Any]:
    with AttributionIndex.open(path) as index:
        return [index.find(text) for text in (*TEXTS, code(80))]


def test_parts_follow_from_the_corpus(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [*Corpus((corpus,)).entries()]
    assert len(entries) == len(FILES) + 4
    found = [*parts(Corpus((corpus,)), [])]
    assert [entry for part in found for entry in part.entries] == entries
    assert [len(part.entries) for part in found] == [7] * 9 + [1]
    monkeypatch.setattr(ray_segments, "LOT_BYTES", 5000)
    small = [*parts(Corpus((corpus,)), [])]
    assert [entry for part in small for entry in part.entries] == entries
    last = [Path(part.entries[-1].path).lstat().st_size for part in small]
    assert all(part.size - more < 5000 <= part.size for part, more in zip(small[:-1], last[:-1], strict=True))


def test_parts_of_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole row groups; a damaged table is a part, so that a task reports it."""
    write_stack(tmp_path / "a.parquet", stack([code(seed) for seed in range(10)]))
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    for size, groups in ((1, [(0,), (1,), (2,), (3,), (4,)]), (1 << 20, [(0, 1, 2, 3, 4)])):
        monkeypatch.setattr(ray_segments, "LOT_BYTES", size)
        found = [*parts(Corpus(()), [tmp_path / "a.parquet", tmp_path / "b.parquet"])]
        assert [table for part in found for table in part.tables] == [
            *(Table(tmp_path / "a.parquet", each) for each in groups),
            Table(tmp_path / "b.parquet"),
        ]


def test_a_file_that_a_machine_does_not_have(corpus: Path) -> None:
    [entry, *_] = Corpus((corpus,)).entries()
    gone = entry._replace(path=str(corpus / "gone.py"))
    with pytest.raises(InvalidRequestError) as caught:
        build_segment(Part(0, [gone]), None, None, State())
    assert str(caught.value) == f"{gone.path} is not on every machine of the cluster"


# These tests are not about resources that Ray itself leaves open.
RAY_ITSELF = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class TestOnACluster:
    pytestmark = RAY_ITSELF

    @pytest.mark.parametrize("renamed", [False, True])
    def test_the_same_answers(self, tmp_path: Path, corpus: Path, cluster: Any, renamed: bool) -> None:
        done, reports = index_of(tmp_path / "local.scidx", corpus, renamed=renamed)
        expected = answers(tmp_path / "local.scidx")
        assert sum(map(len, expected)) > len(FILES)
        made = []
        for jobs in (1, 2, 4):
            path = tmp_path / f"{jobs}.scidx"
            found, told = index_of(path, corpus, renamed=renamed, ray=True, jobs=jobs)
            assert (found.added, found.skipped.counts) == (done.added, done.skipped.counts)
            assert told == reports
            assert answers(path) == expected
            made.append(path.read_bytes())
        assert made[0] == made[1] == made[2]

    def test_a_second_run_adds_what_is_new(self, tmp_path: Path, corpus: Path, cluster: Any) -> None:
        index = tmp_path / "index.scidx"
        index_of(index, corpus, ray=True)
        (corpus / "a/m0.py").write_text(code(200))
        done, _ = index_of(index, corpus, ray=True)
        assert (done.added.files, done.added.contents, done.added.unchanged) == (1, 1, len(FILES) + 1)
        with AttributionIndex.open(index) as opened:
            assert opened.find(code(200))
            assert not opened.find(FILES["a/m0.py"])

    def test_parquet(self, tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        for number in range(3):
            monkeypatch.setattr(ray_segments, "LOT_BYTES", 1)
            write_stack(tmp_path / f"{number}.parquet", stack([code(10 * number + row) for row in range(4)]))
        found: list[list[Any]] = []
        for name, ray in (("local", False), ("ray", True)):
            index = tmp_path / f"{name}.scidx"
            done = add_to_index(index, [], [f"{tmp_path}/*.parquet"], ray=ray)
            with AttributionIndex.open(index) as opened:
                found.append([done.added, *(opened.find(code(10 * number + 3)) for number in range(3))])
        assert found[0] == found[1]
        assert found[0][0].unchanged == 0

    def test_a_killed_worker(self, tmp_path: Path, corpus: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its segment is built again, by another one."""
        deaths = tmp_path / "deaths"
        deaths.mkdir()
        monkeypatch.setenv("DEATHS", str(deaths))

        def build_or_die(part: Part, *settings: Any) -> Any:
            first = Path(deaths) / Path(part.entries[0].path).name
            if len(list(Path(deaths).iterdir())) < 3 and not first.exists():
                first.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return build_segment(part, *settings)

        monkeypatch.setattr(ray_segments, "build_segment", build_or_die)
        index_of(tmp_path / "local.scidx", corpus)
        index_of(tmp_path / "ray.scidx", corpus, ray=True)
        assert len(list(deaths.iterdir())) >= 3
        assert answers(tmp_path / "ray.scidx") == answers(tmp_path / "local.scidx")

    def test_what_a_task_raises(self, tmp_path: Path, cluster: Any, corpus: Path, monkeypatch: Any) -> None:
        def fail(*_: Any) -> None:
            raise InvalidRequestError("no such machine")

        monkeypatch.setattr(ray_segments, "build_segment", fail)
        with pytest.raises(InvalidRequestError, match=r"^no such machine$"):
            index_of(tmp_path / "ray.scidx", corpus, ray=True)


def test_the_command(tmp_path: Path, corpus: Path) -> None:
    pytest.importorskip("ray")
    index = tmp_path / "index.scidx"
    command = [sys.executable, "-m", "santacoder", "attribute", "index", str(index), str(corpus), "--engine", "ray"]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"added {len(FILES) + 2} files ({len(FILES) + 1} different texts)")
    index_of(tmp_path / "local.scidx", corpus)
    assert answers(index) == answers(tmp_path / "local.scidx")
