"""Inputs that fuzzing found, and those it begins with: every target takes them without surprise."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fuzz_targets import TARGETS, seeds
from tests.support.paths import DATA

FINDINGS = sorted((DATA / "fuzz").glob("*/*"))


@pytest.mark.parametrize("path", FINDINGS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_findings(path: Path) -> None:
    if path.parent.name == "checkpoint":
        pytest.importorskip("safetensors")
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_what_fuzzing_begins_with(name: str) -> None:
    if name == "checkpoint":
        pytest.importorskip("safetensors")
    for data in seeds(name):
        TARGETS[name](data)
        for cut in range(0, len(data), max(len(data) // 20, 1)):
            TARGETS[name](data[:cut])
