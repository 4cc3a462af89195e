"""The folders of tests/: what several tests use is in tests/support, and only a source distribution may lack files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import santacoder
from tests.support import paths
from tests.support.paths import ROOT

PACKAGE = Path(santacoder.__file__).parent
FILES = [path for folder in ("tests", "bench", "tools") for path in (ROOT / folder).rglob("*.py")]


def test_no_test_is_imported() -> None:
    """Neither by a test nor by a script, nor in a program that one of them runs."""
    pattern = re.compile(r"^\s*(from tests\.(?!support)|import tests\b|from tests import (?!support))", re.MULTILINE)
    assert [path for path in FILES if pattern.search(path.read_text(encoding="utf-8"))] == []


def test_all_packages_are_distributed() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r"^packages = \[(.*?)^\]", project, re.DOTALL | re.MULTILINE)
    assert found is not None
    folders = [path.parent.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("__init__.py")]
    assert set(re.findall(r'"([\w.]+)"', found[1])) == {".".join(folder.parts) for folder in folders}


def test_helpers_are_used() -> None:
    """By a test, a script or another helper."""
    texts = {path: path.read_text(encoding="utf-8") for path in FILES}
    names = {path.stem for path in (ROOT / "tests" / "support").glob("*.py")}
    imported: set[str] = set()
    for text in texts.values():
        imported |= set(re.findall(r"from tests\.support\.(\w+) import", text))
        for group in re.findall(r"from tests\.support import ([\w, ]+)", text):
            imported |= {part.split()[0] for part in group.split(",")}
    assert names - {"__init__"} == imported


def test_a_missing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It skips a test in a source distribution, and nowhere else."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    missing, there = tmp_path / "missing", tmp_path / "there"
    there.touch()
    assert not paths.SOURCE_DISTRIBUTION
    assert paths.distributed(missing) == missing
    monkeypatch.setattr(paths, "SOURCE_DISTRIBUTION", True)
    assert paths.distributed(there) == there
    with pytest.raises(pytest.skip.Exception, match=r"^missing is not in source distributions$"):
        paths.distributed(missing)
