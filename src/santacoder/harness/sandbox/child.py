"""Runs one program, after giving up every right that it does not need. A script: it imports only the standard library.

Standard input holds a job in JSON. Standard output gets "+" when the program begins and then its verdict, or "!" and
the reason why it could not begin. `runner` is the other side.
"""

import base64
import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2
CAPABILITIES_V3 = 0x20080522


class FilterProgram(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


def main() -> None:
    """Read the job, give up all rights, run the program, say how it ended."""
    sys.path[:] = sys.path[1:]  # without the folder of this script
    sys.dont_write_bytecode = True
    job = json.loads(sys.stdin.buffer.read())
    result = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    try:
        restrict(job)
    except (OSError, ValueError) as error:
        os.write(result, f"!{error}".encode())
        os._exit(1)
    os.write(result, b"+")
    os.write(result, execute(job["program"], job["passed"]).encode("utf-8", "replace"))
    os._exit(0)


def restrict(job: dict[str, Any]) -> None:
    """Set the limits, and drop all capabilities and system calls that a program does not need."""
    resource.setrlimit(resource.RLIMIT_AS, (job["memory_bytes"], job["memory_bytes"]))
    resource.setrlimit(resource.RLIMIT_CPU, (job["cpu_seconds"], job["cpu_seconds"]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (job["files"], job["files"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    call(libc.prctl, PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    call(libc.capset, (ctypes.c_uint32 * 2)(CAPABILITIES_V3, 0), (ctypes.c_uint32 * 6)())
    call(libc.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    code = base64.b64decode(job["filter"])
    buffer = ctypes.create_string_buffer(code, len(code))
    program = FilterProgram(len(code) // 8, ctypes.addressof(buffer))
    call(libc.prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)


def call(function: Any, *arguments: Any) -> None:
    """Call a function of libc, with all integers as longs; raise OSError if it fails."""
    wide = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in arguments]
    if function(*wide) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{function.__name__}: {os.strerror(code)}")


def execute(program: str, passed: str) -> str:
    """Run the program; return `passed` if it reaches its end, else what stopped it."""
    try:
        exec(compile(program, "<program>", "exec"), {})
    except BaseException as error:
        try:
            return f"{type(error).__name__}: {error}"[:200]
        except BaseException:
            return "an error that cannot be shown"
    return passed


if __name__ == "__main__":
    main()
