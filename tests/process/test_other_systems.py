"""Features that another system lacks fail where they are used, not when the package is imported."""

from __future__ import annotations

import subprocess
import sys

WITHOUT = """
import signal, sys
del signal.SIGHUP
sys.modules["fcntl"] = None
from santacoder.cli import main
sys.argv = ["santacoder", *sys.argv[1:]]
main()
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WITHOUT, *arguments], capture_output=True, text=True, check=False)


def test_help_without_sighup_and_fcntl() -> None:
    """Help imports every command."""
    for arguments in (("--help",), ("eval", "--help")):
        done = run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("usage: santacoder")
