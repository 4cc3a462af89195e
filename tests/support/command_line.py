"""`santacoder` as a user runs it: in a process of its own where that matters, else in this one, which is faster."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from santacoder.cli import main
from tests.support.paths import FILE
from tests.support.waiting import HANG

#: Exit status, standard output, standard error.
Outcome = tuple[int, bytes, str]


def run(*args: str, stdin: bytes | None = None, model: Path | str | None = FILE, **environment: str) -> Outcome:
    """Run `santacoder ARGS` in its own process, with more environment variables."""
    env = {**os.environ, "SANTACODER_MODEL": str(model or ""), **environment}
    command = [sys.executable, "-m", "santacoder", *args]
    result = subprocess.run(command, input=stdin, capture_output=True, env=env, timeout=HANG, check=False)
    return result.returncode, result.stdout, result.stderr.decode()


def run_here(*args: str, stdin: bytes = b"", model: Path | str | None = FILE) -> Outcome:
    """Run `santacoder ARGS` in this process."""
    out, err = io.BytesIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, SANTACODER_MODEL=str(model or "")),
        mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8")),
        redirect_stdout(io.TextIOWrapper(out, "utf-8", write_through=True)),
        redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")  # pytest turns them into errors
        status = main(args)
        return status, out.getvalue(), err.getvalue()


def message_of(outcome: Outcome, status: int = 1) -> str:
    """The message of a command that must fail: one line on standard error, nothing on standard output."""
    code, out, err = outcome
    assert (code, out) == (status, b"")
    assert err.startswith("santacoder: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err.removeprefix("santacoder: ").rstrip("\n")


def fails(*args: str, status: int = 1, stdin: bytes = b"", model: Path | str | None = FILE) -> str:
    """The message of a command that must fail in this process."""
    return message_of(run_here(*args, stdin=stdin, model=model), status)
