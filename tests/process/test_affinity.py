"""What the team's threads do with their affinities, on a machine of more CPUs than this one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.support.needs import needs_affinity
from tests.support.paths import ROOT

SOURCES = ("tests/native/affinity.c", "csrc/os/posix.c")


@needs_affinity
def test_affinities_of_1500_cpus(tmp_path: Path) -> None:
    compiler = os.environ.get("CC") or shutil.which("cc") or "gcc"
    command = [compiler, "-std=c11", "-pthread", "-Icsrc", *SOURCES, "-o", str(tmp_path / "affinity")]
    subprocess.run(command, cwd=ROOT, check=True)
    done = subprocess.run([tmp_path / "affinity"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
