"""Programs that try to do harm: each fails by itself, within its limits, and a good one beside them passes."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from santacoder.errors import IsolationError
from santacoder.harness.sandbox import runner, syscalls
from santacoder.harness.sandbox.runner import Limits, check_isolation, run_program, run_programs
from santacoder.harness.sandbox.syscalls import filter_program
from tests.support.needs import needs_proc, needs_seccomp
from tests.support.waiting import HANG

pytestmark = needs_seccomp

#: Limits for programs that end by themselves, and for those that do not.
LIMITS, SHORT = Limits(seconds=HANG, memory_bytes=256 << 20), Limits(seconds=1.0, memory_bytes=256 << 20)
FOR_EVER = "import time\ntime.sleep(1e6)"
GOOD = "import math, collections\nassert math.gcd(12, 18) == 6\nprint('x' * 1000)"

#: Finds the descriptor that the verdict goes to.
PIPE = """
import os, stat
for fd in range(3, 60):
    try:
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            break
    except OSError:
        pass
"""

#: Bounded imitations: each would end by itself, and touches nothing but FOLDER.
HOSTILE = {
    "fork bomb": ("import os\nfor _ in range(4):\n    os.fork()", "PermissionError"),
    "rm -rf": ("import shutil\nshutil.rmtree(FOLDER)", "PermissionError"),
    "rm -rf in a shell": ("import subprocess\nsubprocess.run(['rm', '-rf', FOLDER], check=True)", "PermissionError"),
    "infinite output": ("while time.time() < END:\n    print('x' * 10000)", "timed out"),
    "infinite loop": ("while time.time() < END:\n    pass", "timed out"),
    "sleep": (FOR_EVER, "timed out"),
    "memory": ("data = [bytes(1 << 20) for _ in range(600)]", "MemoryError"),
    "sys.exit": ("import sys\nsys.exit(0)", "SystemExit"),
    "os._exit": ("import os\nos._exit(0)", "left with status 0"),
    "network": ("import socket\nsocket.create_connection(('127.0.0.1', 9), timeout=1)", "PermissionError"),
    "kill": ("import os\nos.kill(os.getppid(), 0)", "PermissionError"),
    "fill the disk": ("open(FOLDER + '/big', 'w').write('x' * (1 << 20))", "PermissionError"),
    "overwrite": ("open(FOLDER + '/keep', 'w')", "PermissionError"),
    "chmod": ("import os\nos.chmod(FOLDER, 0)", "PermissionError"),
    "threads": ("import threading\nfor _ in range(4):\n    threading.Thread(target=int).start()", "RuntimeError"),
    "descriptors": ("import os\nall_of_them = [os.pipe() for _ in range(100)]", "Too many open files"),
    "no end of errors": (
        "while time.time() < END:\n    try:\n        raise KeyboardInterrupt\n    except BaseException:\n        pass",
        "timed out",
    ),
    "deep recursion": (
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(n):\n    return n and f(n - 1) + 1\n"
        "class C:\n    __repr__ = lambda self: repr(self)\nrepr(C())",
        "failed",
    ),
    "its own verdict": (f"{PIPE}os.write(fd, b'passed')\nos._exit(0)", "failed: passed"),
    "a message without end": (f"{PIPE}os.write(fd, b'x' * 10000)\nos._exit(0)", "failed: xxxx"),
    "an error that cannot be shown": (
        "class E(Exception):\n    def __str__(self):\n        raise self\nraise E", "an error that cannot be shown"
    ),
}  # fmt: skip


def hostile(name: str, folder: Path) -> str:
    """The text of a hostile program."""
    return f"import time\nFOLDER, END = {str(folder)!r}, time.time() + {HANG}\n{HOSTILE[name][0]}"


def limits(name: str) -> Limits:
    """The limits of a hostile program."""
    return SHORT if HOSTILE[name][1] == "timed out" else LIMITS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that a program could write to if it were not isolated."""
    folder = tmp_path / "own"
    folder.mkdir(mode=0o777)
    (folder / "keep").write_text("data")
    return folder


def state(folder: Path) -> Any:
    return sorted(
        (path.name, path.read_text(), path.stat().st_mode) for path in folder.iterdir()
    ), folder.stat().st_mode


def test_isolation_holds_here() -> None:
    check_isolation()


@pytest.fixture
def many_files() -> Iterator[None]:
    """Allow 2048 open files."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip(f"at most {hard} open files here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_high_descriptors(many_files: None) -> None:
    """As in a process that has many files open."""
    with contextlib.ExitStack() as files:
        for _ in range(1100):
            files.enter_context(Path(os.devnull).open())
        assert run_program(GOOD, LIMITS) == runner.Verdict(True, "passed")


def test_good_program_passes() -> None:
    assert run_program(GOOD, LIMITS) == runner.Verdict(True, "passed")


@pytest.mark.parametrize("name", HOSTILE)
def test_each_hostile_program_fails(folder: Path, name: str) -> None:
    before = state(folder)
    verdict = run_program(hostile(name, folder), limits(name))
    assert not verdict.passed
    assert HOSTILE[name][1] in verdict.result
    assert len(verdict.result) <= 250
    assert state(folder) == before


def test_good_programs_among_hostile_ones(folder: Path) -> None:
    """At the same time as those that are stopped after a while."""
    before = state(folder)
    programs = [GOOD]
    for name in HOSTILE:
        if limits(name) == LIMITS:
            programs += [hostile(name, folder), GOOD]
    endless = [hostile(name, folder) for name in HOSTILE if limits(name) == SHORT]
    heard: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(run_programs, endless, SHORT, workers=2)
        verdicts = run_programs(programs, LIMITS, workers=4, progress=heard.append)
        assert others.result() == [runner.Verdict(False, "timed out")] * 4
    assert [verdict.passed for verdict in verdicts] == [True, *[False, True] * (len(HOSTILE) - 4)]
    assert sum(heard) == len(programs)
    assert state(folder) == before


def test_a_program_cannot_reach_a_server_that_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        program = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=1)"
        assert "PermissionError" in run_program(program, LIMITS).result
        with pytest.raises(BlockingIOError):
            server.accept()


@needs_proc
def test_no_capabilities_and_no_way_back() -> None:
    program = (
        "lines = dict(line.split(':\\t') for line in open('/proc/self/status') if ':\\t' in line)\n"
        "assert int(lines['CapEff'], 16) == int(lines['CapPrm'], 16) == 0\n"
        "assert lines['NoNewPrivs'].strip() == '1' and lines['Seccomp'].strip() == '2'"
    )
    assert run_program(program, LIMITS).passed


def test_what_ordinary_programs_need() -> None:
    program = (
        "import asyncio, dataclasses, datetime, decimal, functools, hashlib, heapq, itertools, json, random, re\n"
        "import numpy\n"
        "async def three():\n    await asyncio.sleep(0)\n    return 3\n"
        "assert asyncio.run(three()) == 3\n"
        "assert numpy.arange(3).sum() == 3\n"
        "assert __name__ == 'builtins'"
    )
    assert run_program(program, Limits(seconds=HANG)) == runner.Verdict(True, "passed")


@pytest.mark.parametrize(
    "call",
    [
        "fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())",
        "fcntl.fcntl(pipe, 1031, 1 << 16)",  # F_SETPIPE_SZ
        "fcntl.lockf(0, fcntl.LOCK_SH | fcntl.LOCK_NB)",
        "fcntl.fcntl(os.open('/', os.O_RDONLY), fcntl.F_NOTIFY, 2)",
        "_socket.socketpair(_socket.AF_INET, _socket.SOCK_STREAM)",
        "_socket.socketpair(_socket.AF_UNIX, _socket.SOCK_DGRAM)",
    ],
)
def test_what_is_not_listed_is_refused(call: str) -> None:
    program = f"import _socket, fcntl, os\npipe = os.pipe()[0]\n{call}"
    assert run_program(program, LIMITS).result.startswith("failed: PermissionError: [Errno 1]")


def test_what_is_listed_of_descriptors_and_socket_pairs() -> None:
    program = (
        "import fcntl, os, socket\n"
        "pipe = os.pipe()[0]\n"
        "for command in (fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC):\n"
        "    assert fcntl.fcntl(pipe, command, 20) >= 20\n"
        "fcntl.fcntl(pipe, fcntl.F_SETFD, fcntl.fcntl(pipe, fcntl.F_GETFD))\n"
        "fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_NONBLOCK)\n"
        "left, right = socket.socketpair()\n"
        "left.send(b'x')\n"
        "assert right.recv(1) == b'x'"
    )
    assert run_program(program, LIMITS) == runner.Verdict(True, "passed")


def test_hashes_are_the_same_in_every_run() -> None:
    program = "raise ValueError(hash('text'))"
    assert run_program(program, LIMITS) == run_program(program, LIMITS)


def test_a_hole_in_the_isolation_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a filter that lets everything through, nothing is executed but the probe."""
    allow_all = b"\x06\x00\x00\x00\x00\x00\xff\x7f"
    monkeypatch.setattr(runner, "filter_program", lambda: allow_all)
    with pytest.raises(IsolationError, match=r"programs cannot be isolated here, so none is executed: .*works"):
        run_programs([GOOD], LIMITS)


@pytest.mark.parametrize(
    "call",
    {
        "socket": (41, 198), "clone": (56, 220), "execve": (59, 221), "kill": (62, 129), "truncate": (76, 45),
        "rename": (82, 38), "mkdir": (83, 34), "rmdir": (84, 35), "unlink": (87, 35), "symlink": (88, 36),
        "chmod": (90, 53), "setpriority": (141, 140), "utimensat": (280, 88),
    }.items(),
    ids=lambda call: call[0],
)  # fmt: skip
def test_a_call_too_many_is_seen(monkeypatch: pytest.MonkeyPatch, call: tuple[str, tuple[int, int]]) -> None:
    """The numbers are those of x86-64 and of AArch64."""
    monkeypatch.setitem(syscalls._ALLOWED, *call)
    with pytest.raises(IsolationError, match="programs cannot be isolated here"):
        check_isolation()


def test_a_call_too_many_is_seen_under_nice() -> None:
    code = (
        "from santacoder.harness.sandbox import runner, syscalls\n"
        "syscalls._ALLOWED['setpriority'] = (141, 140)\n"
        "runner.check_isolation()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG, check=False,
        preexec_fn=lambda: os.nice(10),
    )  # fmt: skip
    assert "IsolationError: programs cannot be isolated here, so none is executed: " in done.stderr
    assert "setpriority works" in done.stderr


def test_a_filter_that_the_kernel_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "filter_program", lambda: b"\xff" * 8)
    with pytest.raises(IsolationError, match=r"could not be restricted: .*prctl: Invalid argument"):
        run_program(GOOD, LIMITS)


def test_other_machines_are_refused() -> None:
    with pytest.raises(IsolationError, match="cannot be isolated on riscv64: only on x86_64 and aarch64"):
        filter_program("riscv64")
    assert filter_program("aarch64") != filter_program("x86_64")


def test_an_interruption_kills_what_is_running(monkeypatch: pytest.MonkeyPatch) -> None:
    converse, begun = runner._converse, threading.Semaphore(0)
    outcomes: list[runner.Verdict | IsolationError] = []

    def watched(*arguments: Any) -> Any:
        begun.release()
        try:
            outcomes.append(converse(*arguments))
        except IsolationError as error:
            outcomes.append(error)
            raise
        return outcomes[-1]

    def interrupt(_: int) -> None:
        for _ in range(3):  # the good one, and two others
            assert begun.acquire(timeout=HANG)
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "check_isolation", lambda: None)
    monkeypatch.setattr(runner, "_converse", watched)
    with pytest.raises(KeyboardInterrupt):
        run_programs([GOOD, *[FOR_EVER] * 9], LIMITS, workers=3, progress=interrupt)
    assert outcomes[0] == runner.Verdict(True, "passed")
    assert 3 <= len(outcomes) < 10
    assert not any(outcome == runner.Verdict(False, "timed out") for outcome in outcomes)


@needs_proc
def test_nothing_is_left_running() -> None:
    def children() -> list[str]:
        return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()

    before = children()
    assert run_program(FOR_EVER, Limits(seconds=0.2)) == runner.Verdict(False, "timed out")
    assert children() == before
