"""How many cores macOS and Windows say there are."""

from __future__ import annotations

import ctypes
import struct
import sys
from typing import Final

#: Windows' SYSTEM_LOGICAL_PROCESSOR_INFORMATION: a mask of CPUs, what they share (0 is a core), and more about that.
_SHARING: Final = struct.Struct("<QI20x")
#: Fast cores, then all: a team of threads is as fast as its slowest.
_MACOS_NAMES: Final = (b"hw.perflevel0.physicalcpu", b"hw.physicalcpu")


def counted_cores() -> int | None:
    """Return how many cores this process should use, or None where the system is another, or does not say."""
    if sys.platform == "darwin":
        return next((count for name in _MACOS_NAMES if (count := _sysctl(name))), None)
    if sys.platform == "win32":
        system = ctypes.CDLL("kernel32")
        return cores_of(_sharing(system), _mask(system)) or None
    return None


def cores_of(sharing: bytes, mask: int) -> int:
    """Count the cores in Windows' description that have a CPU of the mask."""
    entries = _SHARING.iter_unpack(sharing)
    return sum(1 for cpus, what in entries if what == 0 and cpus & mask)


def _sysctl(name: bytes) -> int:
    """Return a number that macOS knows by name, or 0."""
    value, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
    failed = ctypes.CDLL(None).sysctlbyname(name, ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0))
    return 0 if failed else value.value


def _sharing(system: ctypes.CDLL) -> bytes:
    """Return what the CPUs of this process's group share, or nothing."""
    size = ctypes.c_uint32(0)
    system.GetLogicalProcessorInformation(None, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    return buffer.raw if system.GetLogicalProcessorInformation(buffer, ctypes.byref(size)) else b""


def _mask(system: ctypes.CDLL) -> int:
    """Return the CPUs of its group that this process may use; all, when it may use several groups."""
    system.GetCurrentProcess.restype = ctypes.c_void_p
    mine, all_cpus = ctypes.c_size_t(0), ctypes.c_size_t(0)
    process = ctypes.c_void_p(system.GetCurrentProcess())
    system.GetProcessAffinityMask(process, ctypes.byref(mine), ctypes.byref(all_cpus))
    return mine.value or sys.maxsize * 2 + 1
