"""Garbage is not collected while a model is loaded, and afterwards as before."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

import santacoder
from santacoder._util.paused_gc import paused_gc
from santacoder.gguf.reader import GGUFFile
from tests.support.paths import FILE


def test_as_before() -> None:
    with paused_gc():
        assert not gc.isenabled()
        with paused_gc():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        santacoder.load(tmp_path / "m.gguf")
    assert gc.isenabled()


def test_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    release, seen = GGUFFile.release, set()

    def look(*arguments: object) -> None:
        seen.add(gc.isenabled())
        release(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(GGUFFile, "release", look)
    santacoder.load(FILE, threads=1).close()
    assert (seen, gc.isenabled()) == ({False}, True)
