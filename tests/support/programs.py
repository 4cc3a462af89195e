"""Programs that run the library in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.support.paths import FILE
from tests.support.waiting import HANG

PRELUDE = f"""
import multiprocessing, os, resource, signal, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads: that is the point
import santacoder
FILE = {str(FILE)!r}
PROMPT = "def fib(n):"

def answer(model):
    return model.complete(PROMPT, max_tokens=16, temperature=1.0, seed=1, ignore_eos=True, token_healing=False).tokens

def once():
    with santacoder.load(FILE, threads=2) as model:
        return answer(model)

def join(child):
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

"""


def run(
    code: str, environment: dict[str, str] | None = None, path: Path | None = None, status: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run a program, perhaps a file of its own; it has to end with this status."""
    program = PRELUDE + textwrap.dedent(code)
    command = [sys.executable, "-c", program]
    if path is not None:
        path.write_text(program)
        command = [sys.executable, str(path)]
    everything = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **(environment or {})}
    done = subprocess.run(command, env=everything, capture_output=True, text=True, timeout=HANG, check=False)
    assert done.returncode == status, done.stderr
    return done
