"""`santacoder pack`, `info --verify`, `--packed` and the cache's lists."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import santacoder
from tests.support.command_line import fails, run_here
from tests.support.needs import needs_limits, needs_trusted_files
from tests.support.paths import FILE

pytestmark = needs_trusted_files


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where packed weights go."""
    monkeypatch.setenv("SANTACODER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "packed"


def test_pack_and_use(folder: Path) -> None:
    code, out, err = run_here("pack", str(FILE), model=None)
    [path] = folder.glob("*.panels")
    assert (code, err) == (0, "")
    assert out.decode() == f"{path}: {path.stat().st_size / 2**20:.1f} MiB\n"
    before = path.stat()
    assert json.loads(run_here("pack", "--json")[1]) == {
        "path": str(path), "model": str(FILE), "file_bytes": before.st_size,
    }  # fmt: skip
    expected = run_here("complete", "--seed", "1", "-n", "8", "def")
    assert run_here("complete", "--packed", "--seed", "1", "-n", "8", "def") == expected
    assert run_here("infill", "--packed", "--seed", "1", "-n", "8", "--prefix", "def")[0] == 0
    assert path.stat() == before


def test_packed_of_many_prompts(folder: Path) -> None:
    assert run_here("complete", "--packed", "-n", "1", "--prompts", "-", stdin=b'"def"\n')[0] == 0
    assert len([*folder.glob("*.panels")]) == 1


def test_another_cache_folder(folder: Path, tmp_path: Path) -> None:
    assert run_here("pack", "--cache-dir", str(tmp_path / "hub"))[0] == 0
    assert len([*(tmp_path / "hub" / "santacoder" / "packed").glob("*.panels")]) == 1
    assert not folder.exists()


def test_verify(folder: Path) -> None:
    told = "there are no packed weights of this file: `santacoder pack` makes them"
    assert fails("info", "--verify") == f"{FILE}: {told}"
    run_here("pack")
    [path] = folder.glob("*.panels")
    assert json.loads(run_here("info", "--verify", "--json")[1])["packed_file"] == str(path)
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1] + b"\1")
    path.chmod(0o444)
    told = "the weights do not have the checksum that the header says"
    assert fails("info", "--verify") == f"{path}: {told}"


def test_list_and_clear(folder: Path) -> None:
    assert run_here("cache", "list") == (0, b"", "")
    run_here("pack")
    [path] = folder.glob("*.panels")
    size = path.stat().st_size
    line = f"{size / 2**20:.1f} MiB".rjust(11) + f"  {'PACKED':<10}  {path.name[:12]}  {FILE}\n"
    assert run_here("cache", "list")[1].decode() == line
    [listed] = json.loads(run_here("cache", "list", "--json")[1])
    assert listed == {
        "path": str(path), "source": str(FILE), "version": path.name[:12], "type": "packed", "file_bytes": size,
    }  # fmt: skip
    (folder / f".{path.name[:40]}-0123abcd").touch()  # of a process that was killed
    code, out, err = run_here("cache", "clear")
    assert (code, out.decode()) == (0, line)
    assert err == f"santacoder: {size / 2**20:.1f} MiB were freed\n"
    assert [path.name for path in folder.iterdir()] == [".lock"]


@needs_limits
def test_a_full_disk(folder: Path) -> None:
    """A limit of the size of files stands for it."""
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000));"
        "from santacoder.cli import main; raise SystemExit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "pack", str(FILE)], capture_output=True, text=True, env=os.environ, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"santacoder: {folder}/")
    assert done.stderr.endswith(".panels: File too large\n")
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_failures(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fails("pack", str(FILE), "--model", "x", status=2).startswith("FILE and --model exclude each other")
    assert fails("pack", "nothing.gguf").endswith("nothing.gguf: there is no such model file")
    run_here("pack")
    [path] = folder.glob("*.panels")
    told = "the file holds packed weights, not a model: name the GGUF file they were made from (byte 0)"
    assert fails("pack", str(path)) == f"{path}: {told}"
    (tmp_path / "file").touch()
    monkeypatch.setenv("SANTACODER_CACHE", str(tmp_path / "file"))
    assert fails("pack") == f"{tmp_path / 'file' / 'packed'}: Not a directory"


def test_systems_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("santacoder.sources.packed.CAN_TRUST", False)
    told = "packed weights need mmap, O_NOFOLLOW and owners of files, which this system lacks"
    assert fails("pack") == told
    assert fails("complete", "--packed", "x") == told
    assert fails("info", "--verify") == told
    assert run_here("cache", "list") == (0, b"", "")


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SANTACODER_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    told = "packed weights need a cache, but this user has no home folder: set SANTACODER_CACHE"
    assert fails("complete", "--packed", "x") == told


def test_from_pretrained(folder: Path) -> None:
    with santacoder.from_pretrained(FILE, packed=True) as model:
        assert model.packed_file is not None
        assert Path(model.packed_file).parent == folder
    with santacoder.SantaCoder.load(FILE, packed=True) as model:
        assert model.packed_file is not None
