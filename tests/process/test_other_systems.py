"""Features that another system lacks fail where they are used, not when the package is imported."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from santacoder.errors import IsolationError
from santacoder.harness.sandbox.runner import check_isolation
from tests.support.attribution_corpus import code, make_index
from tests.support.needs import needs_locks
from tests.support.paths import FILE

WITHOUT = """
import signal, sys
del signal.SIGHUP
sys.modules["fcntl"] = None
from santacoder.cli import main
sys.argv = ["santacoder", *sys.argv[1:]]
sys.exit(main())
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WITHOUT, *arguments], capture_output=True, text=True, check=False)


def test_help_without_sighup_and_fcntl() -> None:
    """Help imports every command."""
    for arguments in (("--help",), ("eval", "--help")):
        done = run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("usage: santacoder")


def test_what_needs_locks_on_files_is_refused(tmp_path: Path) -> None:
    """And nothing is written."""
    (tmp_path / "corpus").mkdir()
    (tmp_path / "prompts.jsonl").write_text('"a"\n')
    out, index = tmp_path / "out.jsonl", tmp_path / "x.scidx"
    lacks = "needs locks on files (fcntl), which this system does not have"
    for arguments, purpose in (
        (
            ("complete", "--model", str(FILE), "--prompts", str(tmp_path / "prompts.jsonl"), "--out", str(out)),
            f"a run that another process can go on with, in {out},",
        ),
        (("attribute", "index", str(index), str(tmp_path / "corpus")), f"writing the index {index}"),
    ):
        done = run(*arguments)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"santacoder: {purpose} {lacks}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "prompts.jsonl"]


@needs_locks
def test_an_index_is_read_without_locks_on_files(tmp_path: Path) -> None:
    index = make_index(tmp_path, {"a.py": code(1)})
    (tmp_path / "copy.py").write_text(code(1))
    done = run("attribute", "check", str(index), str(tmp_path / "copy.py"))
    assert "a.py:1-" in done.stdout + done.stderr
    assert "fcntl" not in done.stderr


def test_programs_are_isolated_on_linux_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a process starts."""
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(subprocess, "Popen", None)
    with pytest.raises(IsolationError, match=r"^programs cannot be isolated on Darwin: only on Linux$"):
        check_isolation()
