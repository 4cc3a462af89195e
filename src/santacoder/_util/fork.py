"""Repairs after a fork: before a child does anything else, objects that hold locks or other threads' work are reset."""

from __future__ import annotations

import os
import weakref
from typing import Final, Protocol


class Forkable(Protocol):
    """An object that a fork leaves in a state that has to be repaired."""

    def after_fork(self) -> None:
        """Repair it, in the child, which has one thread."""


_FORKABLE: Final[weakref.WeakSet[Forkable]] = weakref.WeakSet()


def watch_forks(thing: Forkable) -> None:
    """Have `thing.after_fork()` called in each child that this process forks, as long as `thing` is referenced."""
    _FORKABLE.add(thing)


def _after_fork() -> None:
    for thing in tuple(_FORKABLE):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
