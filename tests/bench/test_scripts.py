"""The scripts of bench/: bench/README.md names each, and each starts by its path."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.waiting import HANG

BENCH = ROOT / "bench"
README = (BENCH / "README.md").read_text(encoding="utf-8")
SCRIPTS = [path.relative_to(BENCH) for path in BENCH.rglob("*.py") if '"__main__"' in path.read_text("utf-8")]
QUESTIONS = re.findall(r"^\| `([\w/]+\.py)` \|", README, re.MULTILINE)
#: What a peer's or a study's own interpreter has.
OPTIONAL = {"llama_cpp", "matplotlib", "safetensors"}


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_the_readme_names_it(script: Path) -> None:
    assert re.search(rf"`({script.parent}/)?{script.name}`", README)


@pytest.mark.parametrize("name", QUESTIONS)
def test_it_starts(name: str, tmp_path: Path) -> None:
    """In any folder."""
    command = [sys.executable, str(BENCH / name), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=HANG, check=False)
    missing = re.search(r"^ModuleNotFoundError: No module named '(\w+)'$", done.stderr, re.MULTILINE)
    if missing and missing[1] in OPTIONAL:
        pytest.skip(f"needs {missing[1]}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {Path(name).name} ")


@pytest.mark.parametrize("command", re.findall(r"`python (bench/[\w/]+\.py)", README))
def test_commands_are_those_of_scripts(command: str) -> None:
    assert (ROOT / command).is_file()
