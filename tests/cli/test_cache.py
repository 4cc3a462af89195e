"""`santacoder cache`: the prompts that are kept; tests/conversion has the checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import santacoder
from santacoder.prefixes.place import VARIABLE
from tests.support.command_line import run_here
from tests.support.needs import needs_trusted_files
from tests.support.paths import DATA, FILE
from tests.support.stored_blocks import block_paths

pytestmark = needs_trusted_files

BLOCK = 36864  # bytes that a block takes of the disk


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SANTACODER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fill(prefix_cache: bool | str = True, path: Path = FILE) -> None:
    """Keep a prompt of two blocks."""
    with santacoder.load(path, 1, prefix_cache=prefix_cache) as model:
        model.complete(list(range(100, 230)), max_tokens=1)


def test_list_and_clear(cache: Path) -> None:
    for command in ("list", "clear"):
        assert run_here("cache", command)[:2] == (0, b"")
    for path in (FILE, DATA / "mqa-q8_0.gguf"):
        fill(path=path)
    models = json.loads(run_here("cache", "list", "--json")[1])
    folders = sorted({path.parent for path in block_paths(cache / "prefixes")})
    assert [Path(model["path"]) for model in models] == folders
    assert {model["source"] for model in models} == {FILE.name, "mqa-q8_0.gguf"}
    assert [model["version"] for model in models] == [folder.name[:12] for folder in folders]
    assert [(model["type"], model["file_bytes"]) for model in models] == [("prefixes", 2 * BLOCK)] * 2
    code, out, err = run_here("cache", "list")
    assert (code, err) == (0, "")
    assert [line.split() for line in out.decode().splitlines()] == [
        ["0.1", "MiB", "PREFIXES", model["version"], model["source"]] for model in models
    ]
    code, cleared, err = run_here("cache", "clear")
    assert (code, cleared, err) == (0, out, "santacoder: 0.1 MiB were freed\n")
    assert list((cache / "prefixes").rglob("*")) == []
    assert run_here("cache", "list")[1] == b""


def test_what_is_not_ours_stays(cache: Path) -> None:
    fill()
    [folder] = {path.parent for path in block_paths(cache / "prefixes")}
    mine = [folder / "thesis.txt", cache / "prefixes" / "notes.txt", cache / "prefixes" / ("0" * 40)]
    for path in mine:
        path.write_bytes(b"mine")
    assert run_here("cache", "clear")[0] == 0
    assert sorted(path for path in (cache / "prefixes").rglob("*") if path.is_file()) == sorted(mine)


def test_other_folders(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = tmp_path / "named"
    monkeypatch.setenv(VARIABLE, str(named))
    fill()
    assert len(json.loads(run_here("cache", "list", "--json")[1])) == 1
    assert not cache.exists()
    assert run_here("cache", "list", "--cache-dir", str(tmp_path / "hub"))[1] == b""
    assert run_here("cache", "clear", "--cache-dir", str(tmp_path / "hub"))[0] == 0
    assert len(block_paths(named)) == 2
    assert run_here("cache", "clear")[0] == 0
    assert list(named.iterdir()) == []
