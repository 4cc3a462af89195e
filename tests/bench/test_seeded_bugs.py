"""The faults that `bench/soak/seeded_bugs.py` plants can still be planted."""

from __future__ import annotations

from pathlib import Path

import pytest

import santacoder
from bench.soak.seeded_bugs import BUGS, Bug
from tests.support.paths import ROOT


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_bug_finds_its_place(bug: Bug) -> None:
    """Once in its file, of the installed package or of the checkout."""
    within = bug.file.removeprefix("src/santacoder/")
    folder = ROOT if within == bug.file else Path(santacoder.__file__).parent
    text = (folder / within).read_text(encoding="utf-8")
    assert text.count(bug.old) == 1
    assert bug.old != bug.new
    assert all((ROOT / name).exists() for name in bug.tests if name.startswith("tests/"))
