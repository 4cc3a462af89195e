"""A thread of the team that does not run for a while, held by ptrace(2): a stop signal would stop all threads."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import random
import select
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.support.needs import needs_proc, needs_ptrace
from tests.support.paths import FILE
from tests.support.waiting import HANG

pytestmark = [needs_ptrace, needs_proc]

# Says the thread id of the worker, then answers lines: "once" with the tokens of a generation; "until" generates until
# the next line comes, and answers with the number of generations, all of which had the same tokens.
CHILD = """
import json, os, select, sys
import santacoder
from tests.support.samples import CODE

def tasks():
    return set(os.listdir("/proc/self/task"))

def answer(model):
    model._scheduler.forget()
    return model.complete(CODE, max_tokens=24, temperature=1.0, seed=1, ignore_eos=True).tokens

def say(value):
    print(json.dumps(value), flush=True)

santacoder.load(sys.argv[1], threads=1).complete("a", max_tokens=1)
before = tasks()
with santacoder.load(sys.argv[1], threads=2) as model:
    expected = answer(model)
    while len(tasks() - before) != 1:  # the thread that packed the weights may still be on its way out
        pass
    (worker,) = tasks() - before
    say(int(worker))
    for line in sys.stdin:
        if line == "once\\n":
            say(answer(model))
            continue
        say("begun")
        rounds = 0
        while not select.select([sys.stdin], [], [], 0)[0]:
            assert answer(model) == expected
            rounds += 1
        sys.stdin.readline()
        say(rounds)
"""
SEIZE, INTERRUPT, CONTINUE, DETACH = 0x4206, 0x4207, 7, 17
ANY_TASK = 0x40000000  # __WALL, for waitpid: tracees that are not processes


class Held:
    """A thread of another process, stopped between `hold` and `go_on`."""

    def __init__(self, thread: int) -> None:
        self._thread = thread
        self._ptrace = ctypes.CDLL(None, use_errno=True).ptrace
        self._ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        self._ptrace.restype = ctypes.c_long
        self._call(SEIZE)

    def hold(self) -> None:
        self._call(INTERRUPT)
        _, status = os.waitpid(self._thread, ANY_TASK)
        assert os.WIFSTOPPED(status)

    def go_on(self, request: int = CONTINUE) -> None:
        self._call(request)

    def _call(self, request: int) -> None:
        if self._ptrace(request, self._thread, None, None):
            raise OSError(ctypes.get_errno(), "ptrace")


class Child:
    """A process that generates with two threads."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(FILE)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, bufsize=1,
        )  # fmt: skip
        self.worker = self.heard()

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")

    def heard(self) -> object:
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], HANG)[0], "the child hangs"
        return json.loads(self.process.stdout.readline())


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child()
    yield child
    try:
        child.process.communicate(timeout=HANG)  # closes its input
    finally:
        child.process.kill()
    assert child.process.returncode == 0


@pytest.fixture
def held(child: Child) -> Held:
    assert isinstance(child.worker, int)
    try:
        return Held(child.worker)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS):
            raise
        pytest.skip("ptrace is not permitted")


def test_held_thread_without_a_unit_holds_up_nobody(child: Child, held: Held) -> None:
    child.say("once")
    expected = child.heard()
    held.hold()  # between two generations
    child.say("once")
    assert child.heard() == expected
    held.go_on()
    child.say("once")
    assert child.heard() == expected
    held.hold()
    held.go_on(DETACH)


def test_thread_held_at_any_moment(child: Child, held: Held) -> None:
    moments = random.Random(1)
    child.say("until")
    assert child.heard() == "begun"
    for _ in range(200):
        time.sleep(moments.uniform(0, 0.002))
        held.hold()
        time.sleep(moments.uniform(0.001, 0.005))
        held.go_on()
    held.hold()
    held.go_on(DETACH)
    child.say("")
    rounds = child.heard()
    assert isinstance(rounds, int)
    assert rounds > 0
