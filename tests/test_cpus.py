"""How many threads: from a made-up machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from santacoder import cpus


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight CPUs of four cores, all allowed, no quota; a folder with `cgroup` and `cpu`."""
    for cpu in range(8):
        folder = tmp_path / f"cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    (tmp_path / "cgroup").mkdir()
    (tmp_path / "own").write_text("1:cpu:/\n0::/\n")
    monkeypatch.setattr(cpus, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(cpus, "OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(cpus, "CPUS", tmp_path / "cpu")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path


def test_physical_cores(machine: Path) -> None:
    assert cpus.default_threads() == 4


@pytest.mark.parametrize(("allowed", "threads"), [({0}, 1), ({0, 4}, 1), ({0, 1}, 2), ({1, 2, 5, 7}, 3)])
def test_affinity(machine: Path, monkeypatch: pytest.MonkeyPatch, allowed: set[int], threads: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: allowed)
    assert cpus.default_threads() == threads


@pytest.mark.parametrize(
    ("text", "threads"),
    [
        ("max 100000\n", 4),
        ("200000 100000\n", 2),
        ("250000 100000\n", 2),
        ("50000 100000\n", 1),
        ("1000000 100000\n", 4),
        ("0 100000\n", 4),
        ("200000 0\n", 4),
        ("", 4),
        ("200000\n", 4),
        ("nonsense here\n", 4),
        ("-1 100000\n", 4),
    ],
)
def test_quota_version_2(machine: Path, text: str, threads: int) -> None:
    (machine / "cgroup/cpu.max").write_text(text)
    assert cpus.default_threads() == threads


@pytest.mark.parametrize(
    ("own", "quotas", "threads"),
    [
        ("0::/a.slice/b c.scope\n", {"a.slice": "max", "a.slice/b c.scope": "200000"}, 2),
        ("0::/a.slice/b c.scope\n", {"a.slice": "200000", "a.slice/b c.scope": "300000"}, 2),
        ("0::/a.slice/b c.scope\n", {"a.slice": "300000", "a.slice/b c.scope": "max", "": "400000"}, 3),
        ("1:cpu:/other\n0::/a.slice\n", {"a.slice": "300000", "other": "100000"}, 3),
        ("0::/../a.slice\n", {"a.slice": "100000"}, 4),
        ("1:cpu:/a.slice\n", {"a.slice": "100000"}, 4),
        ("", {"": "200000"}, 2),
    ],
)
def test_quota_of_nested_groups(machine: Path, own: str, quotas: dict[str, str], threads: int) -> None:
    (machine / "own").write_text(own)
    for group, quota in quotas.items():
        (machine / "cgroup" / group).mkdir(parents=True, exist_ok=True)
        (machine / "cgroup" / group / "cpu.max").write_text(f"{quota} 100000\n")
    assert cpus.default_threads() == threads


@pytest.mark.parametrize(("quota", "period", "threads"), [("300000", "100000", 3), ("-1", "100000", 4), ("", "1", 4)])
def test_quota_version_1(machine: Path, quota: str, period: str, threads: int) -> None:
    (machine / "cgroup/cpu").mkdir()
    (machine / "cgroup/cpu/cpu.cfs_quota_us").write_text(quota + "\n")
    (machine / "cgroup/cpu/cpu.cfs_period_us").write_text(period + "\n")
    assert cpus.default_threads() == threads


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_files_that_cannot_be_read(machine: Path, content: bytes | None) -> None:
    for path in [*machine.glob("cpu/*/topology/*"), machine / "cgroup/cpu.max", machine / "own"]:
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
    assert cpus.default_threads() == 8


def test_the_real_machine() -> None:
    assert 1 <= cpus.default_threads() <= (os.cpu_count() or 1)
