"""Other load on a machine: busy processes, a CPU quota, a thread that is held, fewer CPUs."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

DIE_WITH_PARENT = 1  # prctl: PR_SET_PDEATHSIG
SPIN = "while True: pass"
#: Alternates between 2 ms of work and 2 ms of sleep.
ON_AND_OFF = """
import time
while True:
    end = time.perf_counter() + 0.002
    while time.perf_counter() < end: pass
    time.sleep(0.002)
"""
CGROUP = Path("/sys/fs/cgroup")
PTRACE_CONT, PTRACE_SEIZE, PTRACE_INTERRUPT = 7, 0x4206, 0x4207
WALL = 0x40000000  # waitpid: threads too


@contextmanager
def busy(programs: Sequence[tuple[str, int | None, int]]) -> Iterator[None]:
    """Run Python programs, each on a CPU (None is any) and with a niceness."""
    with ExitStack() as stack:
        for program, cpu, niceness in programs:

            def prepare(cpu: int | None = cpu, niceness: int = niceness) -> None:
                if cpu is not None:
                    os.sched_setaffinity(0, {cpu})
                os.nice(niceness)
                ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)  # when the study is killed

            process = subprocess.Popen([sys.executable, "-c", program], preexec_fn=prepare)
            stack.callback(process.wait)
            stack.callback(process.kill)
        time.sleep(0.3)
        yield


@contextmanager
def quota(pid: int, cpus: float, period: int = 100_000) -> Iterator[bool]:
    """Limit a process to this many CPUs with its own cgroup, of either version; False if that is not possible."""
    v1 = CGROUP / "cpu" / "cpu.cfs_quota_us"
    group = (v1.parent if v1.exists() else CGROUP) / f"contention-{os.getpid()}"
    files = {"cpu.cfs_period_us": period, "cpu.cfs_quota_us": int(cpus * period)}
    if not v1.exists():
        files = {"cpu.max": f"{int(cpus * period)} {period}"}  # type: ignore[dict-item]
    try:
        group.mkdir()
        for name, value in files.items():
            (group / name).write_text(str(value))
        (group / "cgroup.procs").write_text(str(pid))
    except OSError:
        if group.exists():
            group.rmdir()
        yield False
        return
    try:
        yield True
    finally:
        (group.parent / "cgroup.procs").write_text(str(pid))
        group.rmdir()


def busiest_worker(pid: int) -> int:
    """Return the thread of a process that has run most, apart from its first."""

    def ticks(thread: int) -> int:
        fields = Path(f"/proc/{pid}/task/{thread}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    threads = [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]
    return max((thread for thread in threads if thread != pid), key=ticks)


@contextmanager
def held(thread: int, on: float, off: float) -> Iterator[None]:
    """Hold a thread of another process for `on` seconds, let it go for `off`, and so on; other threads run."""
    process = subprocess.Popen([sys.executable, __file__, str(thread), str(on), str(off)])
    try:
        time.sleep(0.1)
        yield
    finally:
        process.kill()  # the held thread runs on
        process.wait()


def narrow(pid: int, cpus: set[int]) -> None:
    """Let all threads of a process run on these CPUs only, as `taskset -a` does."""
    for path in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(path.name), cpus)


def _hold(thread: int, on: float, off: float) -> None:
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

    def do(request: int) -> None:
        if ptrace(request, thread, None, None):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    do(PTRACE_SEIZE)
    while True:
        do(PTRACE_INTERRUPT)
        os.waitpid(thread, WALL)
        time.sleep(on)
        do(PTRACE_CONT)
        time.sleep(off)


if __name__ == "__main__":
    _hold(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
