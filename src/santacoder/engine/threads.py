"""Threads of the C side: how many, starting a team of them, and what they did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from santacoder._native import ffi, lib
from santacoder._util.validation import check_integer
from santacoder.engine.cpus import default_threads

if TYPE_CHECKING:
    from santacoder._native import Team

MAX_THREADS: Final = 1024


def thread_count(threads: int | None) -> int:
    """Return how many threads compute; None takes what the machine allows (see cpus.py).

    Raises:
        InvalidRequestError: it is not an integer in 1..MAX_THREADS.
    """
    return default_threads() if threads is None else check_integer("threads", threads, 1, MAX_THREADS)


def new_team(n_threads: int) -> Team:
    """Make a team for the kernels, freed with the last reference.

    Raises:
        MemoryError: there is no memory for it.
    """
    team = ffi.gc(lib.sc_team_new(n_threads), lib.sc_team_free)
    if team == ffi.NULL:
        raise MemoryError(f"no memory for {n_threads} threads")
    return team


@dataclass(frozen=True, slots=True)
class Waiting:
    """Counts of how threads shared their work and the CPUs.

    Attributes:
        phases: of the work; each is shared out separately.
        waits: times that a thread waited for others to end a phase.
        yields: times that a thread let others have its CPU.
        sleeps: waits, also between two calls, that became sleep.
        losses: times that the system took a thread of this process off its CPU; None where it does not say.
    """

    phases: int
    waits: int
    yields: int
    sleeps: int
    losses: int | None

    def since(self, before: Waiting) -> Waiting:
        """Return the difference from an earlier count."""
        losses = None if self.losses is None or before.losses is None else self.losses - before.losses
        return Waiting(
            self.phases - before.phases, self.waits - before.waits, self.yields - before.yields,
            self.sleeps - before.sleeps, losses,
        )  # fmt: skip


def waiting(team: Team) -> Waiting:
    """Return the counts since the team began; losses since the process began."""
    counts = lib.sc_team_counted(team)
    return Waiting(counts.phases, counts.waits, counts.yields, counts.sleeps, _losses())


def _losses() -> int | None:
    """Count involuntary context switches of all threads; None where the system does not say."""
    losses = 0
    try:
        for status in Path("/proc/self/task").glob("*/status"):
            losses += int(status.read_text(encoding="ascii").split("nonvoluntary_ctxt_switches:")[1].split()[0])
    except (OSError, IndexError):
        return None
    return losses
