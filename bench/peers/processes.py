"""Measures whole processes: seconds to the first byte of a completion and to the end, and peak memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.peers.workloads import Work

HERE = Path(__file__).parent
PROMPT = "def fib(n):"


@dataclass(frozen=True)
class Run:
    """The measurements of one process."""

    first_byte: float  # seconds
    seconds: float  # to the end
    peak: int  # bytes in memory, pages of mapped files included


def command(kind: str, python: str, model: Path, threads: int) -> list[str] | None:
    """Return the program that completes its standard input, or None if that kind of engine has none here."""
    if kind == "santacoder":
        program = ["-m", "santacoder", "complete", "--temperature", "0", "--model", str(model)]
    elif kind == "llama.cpp":
        program = [str(HERE / "complete_llama_cpp.py"), str(model)]
    else:
        return None
    return [python, *program, "--threads", str(threads)]


def measure(program: list[str], work: Work, environment: dict[str, str]) -> float:
    """Return seconds for `first-token`, bytes for `memory`.

    The seconds are those of a run right after an identical one: the file is in the page cache, and a virtual machine
    that returns free memory to its host has not done so yet.
    """
    if work.kind == "first-token":
        run([*program, "--max-tokens", "1"], PROMPT, environment)
        return run([*program, "--max-tokens", "1"], PROMPT, environment).first_byte
    prompt = "".join(str(index % 10) for index in range(work.depth))  # StarCoder's tokenizer makes each digit a token
    return run([*program, "--max-tokens", str(work.steps)], prompt, environment).peak


def run(program: list[str], prompt: str, environment: dict[str, str]) -> Run:
    """Run a program with a prompt on standard input, and read its output."""
    start = time.perf_counter()
    process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | environment)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        process.stdin.write(prompt.encode())
        process.stdin.close()
        process.stdout.read(1)
        first_byte = time.perf_counter() - start
        process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(program)} failed with status {process.returncode}")
    return Run(first_byte, seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
