"""Executes untrusted programs, each in its own process that can compute and read files, and nothing else.

The process restricts itself before the program begins: limits on memory, CPU time and open files; no capabilities, even
for root; no system calls but those of `syscalls`. So a program that tries to write, remove, connect, fork or signal
gets an error, and one that runs forever is killed; neither affects other samples. A program has one process and one
thread. It can read what its user can read, but cannot send or store it, except for 200 characters of an error message.

The verdict comes from the program's own process: a program written to cheat can claim that it passed.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import os
import secrets
import select
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from santacoder.engine.cpus import default_threads
from santacoder.errors import IsolationError
from santacoder.harness.sandbox.syscalls import filter_program

CHILD: Final = Path(__file__).with_name("child.py")
START_SECONDS: Final = 60.0  # for the interpreter to start, which a busy machine may delay
ANSWER_BYTES: Final = 4096
FILES: Final = 64

#: Tries everything that a program must not be able to do, in a writable FOLDER, and passes if nothing works.
#: Lowering its priority would be allowed to any process, so only the filter can refuse it.
PROBE: Final = """
import os, resource, socket, threading
inside, outside, empty = (os.path.join(FOLDER, name) for name in ("file", "other", "empty"))
assert open(inside).read() == "data"
for attempt, *arguments in [
    (open, inside, "w"), (open, outside, "x"), (os.open, inside, os.O_RDONLY | os.O_TRUNC), (os.truncate, inside, 0),
    (os.unlink, inside), (os.rename, inside, outside), (os.symlink, inside, outside), (os.mkdir, outside),
    (os.rmdir, empty), (os.chmod, inside, 0), (os.utime, inside), (os.fork,), (os.execv, "/bin/true", ["true"]),
    (os.posix_spawn, "/bin/true", ["true"], {}), (threading.Thread(target=int).start,),
    (socket.socket, socket.AF_INET), (socket.socket, socket.AF_UNIX), (os.kill, os.getppid(), 0),
    (os.setpriority, 0, 0, 19), (resource.prlimit, os.getppid(), resource.RLIMIT_CORE, (0, 0)),
]:
    try:
        attempt(*arguments)
    except (OSError, RuntimeError):
        continue
    raise AssertionError(f"{attempt.__name__} works")
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a program ended: whether it reached its end, and "passed", "timed out" or what stopped it."""

    passed: bool
    result: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a program.

    Attributes:
        seconds: from its first statement on.
        memory_bytes: of address space, the interpreter's included.
    """

    seconds: float = 3.0
    memory_bytes: int = 1 << 30


class _Processes:
    """The running processes, which can be killed together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: set[subprocess.Popen[bytes]] = set()
        self._killed = False

    def add(self, process: subprocess.Popen[bytes]) -> None:
        """Add a process; after `kill` it is killed at once."""
        with self._lock:
            self._live.add(process)
            if self._killed:
                process.kill()

    def remove(self, process: subprocess.Popen[bytes]) -> None:
        """Remove a process that ended."""
        with self._lock:
            self._live.discard(process)

    def kill(self) -> None:
        """Kill all processes, and those that are added later."""
        with self._lock:
            self._killed = True
            for process in self._live:
                process.kill()


def run_program(program: str, limits: Limits) -> Verdict:
    """Execute one Python program. Call `check_isolation` first, to know that it is safe here.

    Raises:
        IsolationError: the process could not be restricted; the program was not run.
    """
    return _run(program, limits, _Processes())


def _run(program: str, limits: Limits, processes: _Processes) -> Verdict:
    if getattr(sys, "frozen", False):  # sys.executable is not Python, but would start itself
        raise IsolationError("a frozen program has no Python interpreter to execute others with")
    passed = secrets.token_hex(16)
    job = {
        "program": program,
        "passed": passed,
        "filter": base64.b64encode(filter_program()).decode(),
        "memory_bytes": limits.memory_bytes,
        "cpu_seconds": math.ceil(limits.seconds) + 1,
        "files": FILES,
    }
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-s", str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=environment, cwd="/", start_new_session=True,
    )  # fmt: skip
    try:
        processes.add(process)
        return _converse(process, json.dumps(job).encode(), passed, limits)
    finally:
        process.kill()
        process.wait()
        processes.remove(process)
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()


def run_programs(
    programs: Sequence[str], limits: Limits, workers: int | None = None, progress: Callable[[int], object] = int
) -> list[Verdict]:
    """Execute programs, `workers` at a time; `progress` is called with the number that newly ended.

    The default is as many workers as the model has threads by default. An interruption kills the running programs.

    Raises:
        IsolationError: programs cannot be isolated here; none was executed.
    """
    check_isolation()
    workers = default_threads() if workers is None else workers
    processes = _Processes()
    with ThreadPoolExecutor(workers) as pool:
        try:
            verdicts = []
            for verdict in pool.map(lambda program: _run(program, limits, processes), programs):
                verdicts.append(verdict)
                progress(1)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            processes.kill()
            raise
    return verdicts


def check_isolation() -> None:
    """Try everything that a program must not be able to do.

    Raises:
        IsolationError: an attempt worked, or the machine lacks the means of isolation.
    """
    with tempfile.TemporaryDirectory() as folder:
        file, empty = Path(folder, "file"), Path(folder, "empty")
        file.write_text("data")
        empty.mkdir()
        verdict = run_program(f"FOLDER = {folder!r}\n{PROBE}", Limits(seconds=START_SECONDS))
        if not verdict.passed or file.read_text() != "data" or {*Path(folder).iterdir()} != {file, empty}:
            raise IsolationError(f"programs cannot be isolated here, so none is executed: {verdict.result}")


def _converse(process: subprocess.Popen[bytes], job: bytes, passed: str, limits: Limits) -> Verdict:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(job)
        process.stdin.close()
    begun = _read(process.stdout.fileno(), monotonic() + START_SECONDS, 1)
    if begun != b"+":
        reason = _read(process.stdout.fileno(), monotonic() + 1.0).decode("utf-8", "replace")
        raise IsolationError(f"a program's process could not be restricted: {reason or 'it did not begin'}")
    deadline = monotonic() + limits.seconds
    answer = _read(process.stdout.fileno(), deadline).decode("utf-8", "replace")
    if answer == passed:
        return Verdict(True, "passed")
    if monotonic() >= deadline:
        return Verdict(False, "timed out")
    return Verdict(False, f"failed: {answer[:200]}" if answer else _last_words(process))


def _last_words(process: subprocess.Popen[bytes]) -> str:
    try:
        status = process.wait(5.0)
    except subprocess.TimeoutExpired:
        return "failed: it closed its output"
    return f"failed: killed by signal {-status}" if status < 0 else f"failed: it left with status {status}"


def _read(descriptor: int, deadline: float, most: int = ANSWER_BYTES) -> bytes:
    """Read up to `most` bytes, until the other side closes or the deadline has passed."""
    data = b""
    ready = select.poll()  # select() cannot take descriptors above 1023
    ready.register(descriptor, select.POLLIN)
    while len(data) < most and (left := deadline - monotonic()) > 0:
        if not ready.poll(math.ceil(left * 1000)):
            break
        block = os.read(descriptor, most - len(data))
        if not block:
            break
        data += block
    return data
