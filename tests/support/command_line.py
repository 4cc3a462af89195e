"""`santacoder` as a user runs it: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.paths import FILE
from tests.support.waiting import HANG


def run(
    *args: str, stdin: bytes | None = None, model: Path | str | None = FILE, **environment: str
) -> tuple[int, bytes, str]:
    """Exit status, standard output and standard error of `santacoder ARGS`."""
    env = {**os.environ, "SANTACODER_MODEL": str(model or ""), **environment}
    command = [sys.executable, "-m", "santacoder", *args]
    result = subprocess.run(command, input=stdin, capture_output=True, env=env, timeout=HANG, check=False)
    return result.returncode, result.stdout, result.stderr.decode()


def fails(*args: str, status: int = 1, **kwargs: Any) -> str:
    """The message of a command that must fail: one line on standard error, nothing on standard output."""
    code, out, err = run(*args, **kwargs)
    assert (code, out) == (status, b"")
    assert err.startswith("santacoder: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err.removeprefix("santacoder: ").rstrip("\n")
