"""What this system can do: asked of the system itself, never of its name. Scripts use this module, too."""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final

MADV_POPULATE_READ: Final = 22
PR_GET_SECCOMP: Final = 21


def in_c_library(name: str) -> bool:
    """Return whether the C library has that function."""
    try:
        return hasattr(ctypes.CDLL(None), name)
    except TypeError:  # Windows does not know which library that is
        return False


def _links() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            Path(folder, "link").symlink_to("none")
        except OSError:  # Windows asks for a privilege
            return False
    return True


def _modes() -> bool:
    with tempfile.NamedTemporaryFile() as file:
        path = Path(file.name)
        path.chmod(0o640)
        return path.stat().st_mode & 0o777 == 0o640


def _any_names() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).touch()
        except (OSError, ValueError):  # macOS and Windows want Unicode
            return False
    return True


def _seccomp() -> bool:
    return in_c_library("prctl") and ctypes.CDLL(None).prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0


def _populate() -> bool:
    with mmap.mmap(-1, mmap.PAGESIZE) as pages:
        first = ctypes.c_char.from_buffer(pages)
        arguments = ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(mmap.PAGESIZE), MADV_POPULATE_READ
        del first  # it would keep the pages from being closed
        return in_c_library("madvise") and ctypes.CDLL(None).madvise(*arguments) == 0


AFFINITY: Final = hasattr(os, "sched_setaffinity")
ANY_NAMES: Final = _any_names()  # of files, also those that are not Unicode
ELF: Final = in_c_library("dl_iterate_phdr")
FORK: Final = hasattr(os, "fork")
LIMITS: Final = find_spec("resource") is not None
LINKS: Final = _links()
LOCKS: Final = find_spec("fcntl") is not None
MODES: Final = _modes()
MPROTECT: Final = in_c_library("mprotect")
NAMED_PIPES: Final = hasattr(os, "mkfifo")
OPEN_FILES: Final = Path("/dev/fd").is_dir()
POPULATE: Final = _populate()
PROC: Final = Path("/proc/self/task").is_dir()
PTRACE: Final = in_c_library("ptrace")
SECCOMP: Final = _seccomp()
TRUSTED_FILES: Final = hasattr(os, "O_NOFOLLOW") and hasattr(os, "geteuid")
