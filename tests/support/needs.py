"""Marks of tests that need something of the system, and are skipped where it is not there."""

from __future__ import annotations

import pytest

from tests.support import capabilities


def _needs(what: str, there: bool) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not there, reason=f"this system has no {what}")


needs_affinity = _needs("affinities of threads", capabilities.AFFINITY)
needs_any_names = _needs("names of files that are not Unicode", capabilities.ANY_NAMES)
needs_elf = _needs("list of the ELF files in a process", capabilities.ELF)
needs_fork = _needs("fork", capabilities.FORK)
needs_limits = _needs("limits of a process's resources", capabilities.LIMITS)
needs_links = _needs("symbolic links for this user", capabilities.LINKS)
needs_locks = _needs("locks on files", capabilities.LOCKS)
needs_modes = _needs("permission bits of files", capabilities.MODES)
needs_mprotect = _needs("mprotect", capabilities.MPROTECT)
needs_named_pipes = _needs("named pipes", capabilities.NAMED_PIPES)
needs_open_files = _needs("list of open files, /dev/fd", capabilities.OPEN_FILES)
needs_populate = _needs("reading of pages when they are mapped", capabilities.POPULATE)
needs_proc = _needs("/proc/self/task", capabilities.PROC)
needs_ptrace = _needs("ptrace", capabilities.PTRACE)
needs_seccomp = _needs("filter of system calls", capabilities.SECCOMP)
needs_trusted_files = _needs("owners of files, or cannot open them without following links", capabilities.TRUSTED_FILES)
