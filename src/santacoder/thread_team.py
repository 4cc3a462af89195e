"""Threads of the C side: how many, and starting a team of them."""

from __future__ import annotations

from typing import Any, Final

from santacoder._native import ffi, lib
from santacoder.cpus import default_threads
from santacoder.errors import InvalidRequestError

MAX_THREADS: Final = 1024


def bounded(name: str, value: object, limit: int) -> int:
    """`value` as it is.

    Raises:
        InvalidRequestError: it is no integer in 1..limit; the error calls it `name`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
        raise InvalidRequestError(f"{name} is {value!r}, but it must be an integer in 1..{limit}")
    return value


def thread_count(threads: int | None) -> int:
    """How many threads compute; None takes what the machine allows (see `cpus`).

    Raises:
        InvalidRequestError: it is no integer in 1..MAX_THREADS.
    """
    return default_threads() if threads is None else bounded("threads", threads, MAX_THREADS)


def new_team(n_threads: int) -> Any:
    """A team for the kernels, freed with the last reference.

    Raises:
        MemoryError: there is no memory for it.
    """
    team = ffi.gc(lib.sc_team_new(n_threads), lib.sc_team_free)
    if team == ffi.NULL:
        raise MemoryError(f"no memory for {n_threads} threads")
    return team
