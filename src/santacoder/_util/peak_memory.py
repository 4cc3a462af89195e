"""The peak memory of a process."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path


def peak_bytes() -> int:
    """Return the peak memory of this process, in bytes."""
    if sys.platform == "win32":
        return _peak_on_windows()
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):  # not Linux, where getrusage may report the peak of the process that started this one
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


class _Counters(ctypes.Structure):
    """Windows' PROCESS_MEMORY_COUNTERS."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("page_faults", ctypes.c_uint32),
        ("peak_working_set", ctypes.c_size_t),
        ("others", ctypes.c_size_t * 7),
    )


def _peak_on_windows() -> int:
    system = ctypes.CDLL("kernel32")
    system.GetCurrentProcess.restype = ctypes.c_void_p
    counters = _Counters(size=ctypes.sizeof(_Counters))
    if not system.K32GetProcessMemoryInfo(
        ctypes.c_void_p(system.GetCurrentProcess()), ctypes.byref(counters), ctypes.c_uint32(counters.size)
    ):
        raise OSError("Windows does not say how much memory this process has used")
    return int(counters.peak_working_set)
