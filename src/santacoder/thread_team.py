"""Threads of the C side: how many, and starting a team of them."""

from __future__ import annotations

from typing import Any, Final

from santacoder._native import ffi, lib
from santacoder.arguments import check_integer
from santacoder.cpus import default_threads

MAX_THREADS: Final = 1024


def thread_count(threads: int | None) -> int:
    """How many threads compute; None takes what the machine allows (see `cpus`).

    Raises:
        InvalidRequestError: it is no integer in 1..MAX_THREADS.
    """
    return default_threads() if threads is None else check_integer("threads", threads, 1, MAX_THREADS)


def new_team(n_threads: int) -> Any:
    """A team for the kernels, freed with the last reference.

    Raises:
        MemoryError: there is no memory for it.
    """
    team = ffi.gc(lib.sc_team_new(n_threads), lib.sc_team_free)
    if team == ffi.NULL:
        raise MemoryError(f"no memory for {n_threads} threads")
    return team
