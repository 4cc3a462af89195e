"""Locks that one process at a time has on a file, where the system has them: Windows does not."""

from __future__ import annotations

from importlib import import_module

from santacoder.errors import InvalidRequestError


def check_locks(purpose: str) -> None:
    """Check that the system has such locks, before anything is written.

    Raises:
        InvalidRequestError: it has none; the message names the purpose.
    """
    try:
        import_module("fcntl")
    except ModuleNotFoundError:
        raise InvalidRequestError(f"{purpose} needs locks on files (fcntl), which this system does not have") from None


def lock_file(descriptor: int) -> bool:
    """Lock an open file until it is closed; return whether this process has it now, and no other did."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
