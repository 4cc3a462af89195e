"""The build: one sentence says what is missing, C files are compiled in parallel, and what is distributed."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import santacoder
from santacoder.sources.packaged import packaged_model
from tests.support.paths import ROOT
from tests.support.waiting import HANG

setuptools = pytest.importorskip("setuptools")

PACKAGE = Path(santacoder.__file__).parent
ADVICE = "(on Debian and Ubuntu: apt-get install gcc libc6-dev python3-dev)"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder to build in, with the sources of the package that is tested."""
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "santacoder").symlink_to(PACKAGE)
    for path in ROOT.iterdir():
        if path.name not in ("src", "build", "dist") and not path.name.startswith("."):
            (folder / path.name).symlink_to(path)
    return folder


def setup(project: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "setup.py", "-q", *command], cwd=project, capture_output=True, text=True, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


def test_no_compiler(project: Path) -> None:
    """Before anything is copied."""
    before = sorted(project.iterdir())
    done = setup(project, "build", CC="/no/such/cc -O2")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: santacoder has a part in C, but the C compiler '/no/such/cc' is not there: install it, or name another "
        f"with the environment variable CC {ADVICE}\n"
    )
    assert sorted(project.iterdir()) == before


def test_no_headers(project: Path, tmp_path: Path) -> None:
    """Headers of Python, or of the C library."""
    compiler, problem = tmp_path / "cc", "<stdin>:3:10: fatal error: Python.h: No such file or directory"
    compiler.write_text(f"#!/bin/sh\necho '{problem}' >&2\nexit 1\n")
    compiler.chmod(0o755)
    done = setup(project, "build", CC=str(compiler))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: santacoder has a part in C, but '{compiler}' cannot compile it: {problem} {ADVICE}\n"


class Compiler:
    """As setuptools has them: `compile` calls `_compile` for one file after the other."""

    def __init__(self, work: Callable[[str], object]) -> None:
        self._work = work

    def compile(self, sources: list[str], suffix: str = ".o") -> list[str]:
        for source in sources:
            self._compile(source)
        return [source + suffix for source in sources]

    def _compile(self, source: str) -> None:
        self._work(source)


def side_by_side(monkeypatch: pytest.MonkeyPatch, compiler: Compiler, jobs: int) -> Callable[..., list[str]]:
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    found: Any = runpy.run_path(str(ROOT / "setup.py"))["side_by_side"](compiler, jobs)
    return found  # type: ignore[no-any-return]


def test_files_are_compiled_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits until three have begun."""
    together = threading.Barrier(3)
    compiler = Compiler(lambda _: together.wait(HANG))
    assert side_by_side(monkeypatch, compiler, 3)(list("abcdef"), suffix=".obj") == [f"{x}.obj" for x in "abcdef"]


def test_a_file_that_cannot_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def work(source: str) -> None:
        done.append(source)
        if source in "bd":
            raise OSError(source)

    compile = side_by_side(monkeypatch, Compiler(work), 1)
    with pytest.raises(OSError, match=r"^b$"):
        compile(list("abcdef"))
    assert done[:2] == ["a", "b"]
    done.clear()
    with pytest.raises(OSError, match=r"^b$"):  # the compiler is as before
        compile(["b"])
    assert done == ["b"]


def test_what_is_distributed(project: Path) -> None:
    """What builds the package and tests that; and in the package what is not Python, without a warning."""
    done = setup(project, "sdist", "--dist-dir", "dist", "build_py", "--build-lib", "lib")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    model = packaged_model().relative_to(PACKAGE)
    [path] = (project / "dist").iterdir()
    assert path.stat().st_size <= packaged_model().stat().st_size + 1_500_000
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("tests/conftest.py", "tests/data/mqa-q4_k_m.gguf", "csrc/vec/neon.h", "Makefile", "setup.py"):
        assert (ROOT / name).is_file()
        assert name in names
    assert {f"src/santacoder/{model}", "src/santacoder/py.typed", "tools/sbom.py", "tools/tiny/sources.json"} <= names
    assert not [name for name in names if name.startswith(("docs/", "bench/", "tests/data/mha-"))]
    for name in (str(model), "py.typed", "_native.pyi", "_pyinstaller/hook-santacoder.py", "cli/eval/text.py"):
        assert (project / "lib" / "santacoder" / name).read_bytes() == (PACKAGE / name).read_bytes()
