"""How many threads this process may sensibly use."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from santacoder.engine.cores import counted_cores

OWN_CGROUPS = Path("/proc/self/cgroup")
MOUNTS = Path("/proc/self/mountinfo")
CPUS = Path("/sys/devices/system/cpu")

# A line of OWN_CGROUPS: controllers (none in version 2) and the group.
_GROUP = re.compile(r"^\d+:([^:\n]*):(/.*)$", re.MULTILINE)
# A line of MOUNTS for a cgroup hierarchy: the group that is mounted, where, "2" or "" for version 1, and its options.
_MOUNT = re.compile(r"^\S+ \S+ \S+ (/\S*) (/\S*) .* - cgroup(2?) \S* (\S+)$", re.MULTILINE)


def default_threads() -> int:
    """Return the least of the affinity mask, the cgroups' CPU quota rounded down and the physical cores, at least 1."""
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
    """Count the cores of these CPUs: hyper-threads of one core share its dot-product units."""
    if (count := counted_cores()) is not None:
        return count
    cores = set()
    for cpu in cpus:
        cores.add(_read(CPUS / f"cpu{cpu}/topology/thread_siblings_list").strip() or str(cpu))
    return len(cores)


def _quota() -> float | None:
    """Return how many CPUs the process's cgroups and their parents allow, in both versions; None if all."""
    quotas = []
    for group in _groups():
        version_1 = _read(group / "cpu.cfs_quota_us") + _read(group / "cpu.cfs_period_us")
        quotas += [_ratio(version_1), _ratio(_read(group / "cpu.max"))]
    return min((quota for quota in quotas if quota is not None), default=None)


def _groups() -> Iterator[Path]:
    """Yield the folders that may hold a CPU quota of the process: its groups and their parents, as far as mounted.

    The CPU controller has a hierarchy of version 1 or is part of version 2, and both versions may be mounted at once.
    """
    lines = _GROUP.findall(_read(OWN_CGROUPS, "surrogateescape"))
    own = {controller: group for controllers, group in lines for controller in controllers.split(",")}
    for root, point, version, options in _MOUNT.findall(_read(MOUNTS, "surrogateescape")):
        if version == "2" or "cpu" in options.split(","):
            group = own.get("" if version == "2" else "cpu", "/")
            parts = _below(PurePosixPath(group), PurePosixPath(_unescape(root)))
            for depth in range(len(parts) + 1):
                yield Path(_unescape(point), *parts[:depth])


def _below(group: PurePosixPath, root: PurePosixPath) -> tuple[str, ...]:
    """Return the names that lead from the mounted group down to another; none where the mount does not show it."""
    parts = group.relative_to(root).parts if group.is_relative_to(root) else ()
    return () if ".." in parts else parts


def _unescape(field: str) -> str:
    """Decode a field of mountinfo, in which spaces, tabs, newlines and backslashes are octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _ratio(text: str) -> float | None:
    """Divide a quota by its period, both read from `text`; None for "max", -1 or nothing."""
    try:
        quota, period = map(int, text.split())
    except ValueError:
        return None
    return quota / period if quota > 0 and period > 0 else None


def _read(path: Path, errors: str = "strict") -> str:
    """Return the text of one of the kernel's files; "" where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors=errors)
    except (OSError, ValueError):
        return ""
