"""The number of threads, on made-up machines."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from santacoder.engine import cores, cpus


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight CPUs of four cores, all allowed, no quota; `cgroup` is where version 2 is mounted."""
    for cpu in range(8):
        folder = tmp_path / f"cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    (tmp_path / "cgroup").mkdir()
    (tmp_path / "own").write_text("0::/\n")
    (tmp_path / "mounts").write_text(mount(tmp_path / "cgroup"))
    monkeypatch.setattr(cpus, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(cpus, "MOUNTS", tmp_path / "mounts")
    monkeypatch.setattr(cpus, "CPUS", tmp_path / "cpu")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path


def mount(folder: Path, root: str = "/", controllers: str | None = None) -> str:
    """A line of mountinfo: a hierarchy of version 1 with these controllers, or version 2."""
    point = str(folder).replace("\\", "\\134").replace(" ", "\\040")
    kind = "cgroup2 cgroup2 rw,nsdelegate" if controllers is None else f"cgroup cgroup rw,{controllers}"
    return f"35 25 0:30 {root} {point} rw,nosuid,relatime shared:9 - {kind}\n"


def limit(folder: Path, quota: str, period: str = "100000") -> None:
    """Write a quota of version 1, in microseconds."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.cfs_quota_us").write_text(quota + "\n")
    (folder / "cpu.cfs_period_us").write_text(period + "\n")


def test_physical_cores(machine: Path) -> None:
    assert cpus.default_threads() == 4


def test_cores_that_the_system_counts(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS and Windows."""
    monkeypatch.setattr(cpus, "counted_cores", lambda: 3)
    assert cpus.default_threads() == 3


def test_cores_of_windows() -> None:
    """Four CPUs in two cores, which share a cache (2) and are one package (3)."""
    sharing = b"".join(struct.pack("<QI20x", *entry) for entry in ((3, 0), (12, 0), (15, 2), (15, 3)))
    assert [cores.cores_of(sharing, mask) for mask in (15, 1, 3, 5, 12, 0)] == [2, 1, 1, 2, 1, 0]
    assert cores.cores_of(b"", 15) == 0


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
def test_nested_groups_of_version_2(machine: Path, own: str, quotas: dict[str, str], threads: int) -> None:
    (machine / "own").write_text(own)
    for group, quota in quotas.items():
        (machine / "cgroup" / group).mkdir(parents=True, exist_ok=True)
        (machine / "cgroup" / group / "cpu.max").write_text(f"{quota} 100000\n")
    assert cpus.default_threads() == threads


@pytest.mark.parametrize(
    ("quota", "period", "threads"),
    [("300000", "100000", 3), ("100000", "50000", 2), ("-1", "100000", 4), ("", "1", 4), ("100000", "0", 4)],
)
def test_quota_version_1(machine: Path, quota: str, period: str, threads: int) -> None:
    (machine / "mounts").write_text(mount(machine / "v1", controllers="cpu"))
    limit(machine / "v1", quota, period)
    assert cpus.default_threads() == threads


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct", "cpuacct,cpu"])
@pytest.mark.parametrize(
    ("own", "quotas", "threads"),
    [
        ("/a/b", {"a/b": "200000"}, 2),
        ("/a/b", {"a": "200000", "a/b": "300000"}, 2),
        ("/a/b", {"": "300000", "a": "-1", "a/b": "-1"}, 3),
        ("/a:1/b c", {"a:1/b c": "100000"}, 1),
        ("/a/b (deleted)", {"a": "200000", "a/b": "100000"}, 2),
        ("/a", {"a/b": "100000", "b": "100000"}, 4),
        ("/../a", {"": "300000", "a": "100000"}, 3),
    ],
)
def test_nested_groups_of_version_1(
    machine: Path, controllers: str, own: str, quotas: dict[str, str], threads: int
) -> None:
    point = machine / controllers
    (machine / "own").write_text(f"4:cpuset:/other\n3:{controllers}:{own}\n2:name=cpu:/other\n")
    (machine / "mounts").write_text(mount(machine / "cpuset", "/", "cpuset") + mount(point, "/", controllers))
    for folder in (point / "other", machine / "cpuset/other", machine / "cpuset/a", machine / "a"):
        limit(folder, "100000")
    for group, quota in quotas.items():
        limit(point / group, quota)
    assert cpus.default_threads() == threads


@pytest.mark.parametrize(
    ("root", "own", "threads"),
    [
        ("/docker/1f", "/docker/1f", 3),
        ("/docker/1f", "/docker/1f/in", 2),
        ("/docker/1f", "/docker/1f2/in", 3),
        ("/docker/1f", "/in", 3),
        ("/..", "/", 3),
        ("/..", "/../in", 2),
        (r"/docker\0401f", "/docker 1f/in", 2),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_part_of_the_hierarchy_is_mounted(machine: Path, version: int, root: str, own: str, threads: int) -> None:
    point = machine / "a place"
    (machine / "own").write_text(f"1:cpu:{own}\n" if version == 1 else f"0::{own}\n")
    (machine / "mounts").write_text(mount(point, root, "cpu" if version == 1 else None))
    limit(point, "300000")
    limit(point / "in", "200000")
    if version == 2:
        for folder in (point, point / "in"):
            (folder / "cpu.max").write_text((folder / "cpu.cfs_quota_us").read_text().strip() + " 100000\n")
            (folder / "cpu.cfs_quota_us").unlink()
    assert cpus.default_threads() == threads


def test_version_1_beside_version_2(machine: Path) -> None:
    (machine / "own").write_text("1:cpu:/a\n0::/b\n")
    (machine / "mounts").write_text(mount(machine / "v1", "/", "cpu") + mount(machine / "cgroup"))
    (machine / "cgroup/a").mkdir()
    (machine / "cgroup/a/cpu.max").write_text("100000 100000\n")
    limit(machine / "v1/b", "100000")
    assert cpus.default_threads() == 4
    limit(machine / "v1/a", "200000")
    assert cpus.default_threads() == 2


def test_other_mounts(machine: Path) -> None:
    lines = [
        b"22 1 254:0 / / rw,relatime - ext4 /dev/root rw",
        b"23 22 0:5 / /caf\xe9 rw - tmpfs  rw,cpu",
        b"24 22 0:6 / " + os.fsencode(machine / "tmp") + b" rw - tmpfs cgroup rw,cpu",
        b"nonsense - cgroup",
        mount(machine / "v1", "/", "cpu").encode(),
    ]
    (machine / "mounts").write_bytes(b"\n".join(lines))
    (machine / "own").write_bytes(b"1:cpu:/caf\xe9\n")
    limit(machine / "tmp", "100000")
    assert cpus.default_threads() == 4
    limit(machine / "v1" / os.fsdecode(b"caf\xe9"), "200000")
    assert cpus.default_threads() == 2


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_files_that_cannot_be_read(machine: Path, content: bytes | None) -> None:
    files = [machine / name for name in ("cgroup/cpu.max", "own", "mounts")]
    for path in [*machine.glob("cpu/*/topology/*"), *files]:
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
    assert cpus.default_threads() == 8


def test_the_real_machine() -> None:
    assert 1 <= cpus.default_threads() <= (os.cpu_count() or 1)


@pytest.fixture
def real_group() -> Iterator[Path]:
    """A group of this machine with a quota of one CPU, and in it a group without one."""
    own = re.search(r"^\d+:(?:cpuacct,)?cpu(?:,cpuacct)?:(/.*)$", read(Path("/proc/self/cgroup")), re.MULTILINE)
    mounted = [Path("/sys/fs/cgroup", name) for name in ("cpu", "cpu,cpuacct", "cpuacct,cpu")]
    parents = [folder / own[1][1:] for folder in mounted if own and (folder / own[1][1:]).is_dir()]
    if not parents:
        pytest.skip("the CPU controller's version 1 is not mounted with this process's group")
    outer = parents[0] / f"santacoder-test-{os.getpid()}"
    try:
        outer.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made: {error}")
    inner = outer / "inner"
    try:
        inner.mkdir()
        (outer / "cpu.cfs_quota_us").write_text((outer / "cpu.cfs_period_us").read_text())
        yield inner
    finally:
        inner.rmdir()
        outer.rmdir()


@pytest.mark.skipif(cpus.default_threads() < 2, reason="one thread is the default here without a quota")
def test_real_group_of_version_1(real_group: Path) -> None:
    program = (
        "import os, pathlib, sys; from santacoder.engine.cpus import default_threads; print(default_threads());"
        "pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); print(default_threads())"
    )
    command = [sys.executable, "-c", program, str(real_group / "cgroup.procs")]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed.split() == [str(cpus.default_threads()), "1"]


def read(path: Path) -> str:
    """The text of a file; "" if it does not exist."""
    return path.read_text() if path.exists() else ""
