"""How many threads this process may sensibly use."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
CPUS = Path("/sys/devices/system/cpu")


def default_threads() -> int:
    """The least of the affinity mask, the cgroups' CPU quota rounded down, and the physical cores; at least 1."""
    cpus = _affinity()
    quota = _quota()
    limits = [len(cpus), _physical_cores(cpus)]
    if quota is not None:
        limits.append(int(quota))
    return max(1, min(limits))


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _physical_cores(cpus: set[int]) -> int:
    """Cores behind these CPUs: hyper-threads of one core share its dot-product units."""
    cores = set()
    for cpu in cpus:
        cores.add(_read(CPUS / f"cpu{cpu}/topology/thread_siblings_list").strip() or str(cpu))
    return len(cores)


def _quota() -> float | None:
    """CPUs that the process's cgroup and those around it allow (version 2, and the root of version 1); None if all."""
    texts = [_read(folder / "cpu.max") for folder in _cgroups()]
    texts.append(_read(CGROUP / "cpu/cpu.cfs_quota_us") + _read(CGROUP / "cpu/cpu.cfs_period_us"))
    return min((quota for text in texts if (quota := _ratio(text)) is not None), default=None)


def _cgroups() -> list[Path]:
    """The folder of the process's cgroup of version 2 and all above it, as far as they are mounted."""
    paths = [line[3:] for line in _read(OWN_CGROUP).splitlines() if line.startswith("0::/")]
    parts = Path(paths[0]).parts[1:] if paths else ()
    if ".." in parts:  # outside of what this namespace shows
        parts = ()
    return [CGROUP.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _ratio(text: str) -> float | None:
    """A quota by its period, from these two numbers; None for "max", -1 or nothing."""
    try:
        quota, period = map(int, text.split())
    except ValueError:
        return None
    return quota / period if quota > 0 and period > 0 else None


def _read(path: Path) -> str:
    """The text of a file of the kernel's; nothing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
