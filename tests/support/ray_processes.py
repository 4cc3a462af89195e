"""The processes of a Ray cluster, which Ray names after what they do."""

from __future__ import annotations

import os
from pathlib import Path


def ray_processes(name: str, of: int | None = None) -> list[int]:
    """Return the ids of processes whose name begins with "ray::" and `name`, below process `of` or this one."""
    parents, found = {}, []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if (process / "cmdline").read_bytes().startswith(f"ray::{name}".encode()):
                found.append(int(process.name))
        except OSError:
            continue  # it has ended
    return [pid for pid in found if (of or os.getpid()) in _ancestors(pid, parents)]


def _ancestors(pid: int, parents: dict[int, int]) -> list[int]:
    found = []
    while (pid := parents.get(pid, 0)) > 1:
        found.append(pid)
    return found
