"""How many threads this process may sensibly use."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
CPUS = Path("/sys/devices/system/cpu")


def default_threads() -> int:
    """The least of the affinity mask, the cgroup's CPU quota rounded down, and the physical cores; at least 1."""
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
        try:
            cores.add((CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text(encoding="ascii").strip())
        except (OSError, ValueError):
            cores.add(str(cpu))
    return len(cores)


def _quota() -> float | None:
    """CPUs that the cgroup may use (version 2, else 1); None without a limit."""
    try:
        quota, period = (CGROUP / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota = (CGROUP / "cpu/cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (CGROUP / "cpu/cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
    try:
        return int(quota) / int(period) if int(quota) > 0 and int(period) > 0 else None
    except ValueError:
        return None  # "max"
