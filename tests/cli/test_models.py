"""`santacoder models` and `download`: what is on this machine, and what the cache already has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from santacoder.sources.packaged import packaged_model
from tests.support.command_line import fails, run_here
from tests.support.gguf_builder import tiny_builder
from tests.support.hub_cache import fill, go_offline
from tests.support.paths import FILE


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a model in the hub's cache, which is all there is."""
    go_offline(monkeypatch, tmp_path)
    return fill(tmp_path)


class TestModels:
    def test_table(self, cached: Path) -> None:
        code, out, err = run_here("models")
        assert (code, err) == (0, "")
        size = f"{FILE.stat().st_size / 2**20:.1f} MiB"
        packaged, hub = out.decode().splitlines()
        assert packaged.split(maxsplit=3)[2:] == ["Q4_K_M", "packaged"]
        assert hub == f"{size:>11}  Q4_K_M      owner/name:model.gguf"

    def test_json(self, cached: Path) -> None:
        packaged, hub = json.loads(run_here("models", "--json")[1])
        assert packaged == {
            "name": "packaged", "problem": "",
            "facts": {
                "path": str(packaged_model()), "file_bytes": packaged_model().stat().st_size, "file_type": "Q4_K_M",
                "parameters": 13656064, "license": "apache-2.0",
            },
        }  # fmt: skip
        assert (hub["name"], hub["facts"]["path"]) == ("owner/name:model.gguf", str(cached))

    def test_names_are_those_that_model_takes(self, cached: Path) -> None:
        name = run_here("models")[1].decode().split()[-1]
        assert json.loads(run_here("info", "--json", model=name)[1])["path"] == str(cached)

    def test_the_packaged_one_by_its_name(self) -> None:
        """It was chosen, so that no note asks for another."""
        assert run_here("complete", "-n", "1", "a", model="packaged")[2] == ""
        assert run_here("complete", "-n", "1", "a", model=None)[2] != ""

    def test_others(self, cached: Path) -> None:
        """Later parts of split models are left out; what cannot run says why."""
        (cached.parent / "big-00002-of-00002.gguf").symlink_to(FILE)
        (cached.parent / "bad.gguf").write_bytes(b"MZ")
        (cached.parent / "llama.gguf").write_bytes(
            tiny_builder(metadata={"general.architecture": "llama", "general.file_type": 7}).build()
        )
        models = {model["name"]: model for model in json.loads(run_here("models", "--json")[1])}
        assert list(models) == [
            "packaged", "owner/name:bad.gguf", "owner/name:llama.gguf", "owner/name:model.gguf"
        ]  # fmt: skip
        assert models["owner/name:bad.gguf"]["facts"] is None
        assert "bad.gguf" in models["owner/name:bad.gguf"]["problem"]
        assert models["owner/name:llama.gguf"]["facts"]["file_type"] == "Q8_0"
        assert "llama" in models["owner/name:llama.gguf"]["problem"]
        lines = run_here("models")[1].decode().splitlines()
        assert [line.split()[-3:-1] for line in lines[1:3]] == [["cannot", "run"]] * 2

    @pytest.mark.parametrize("kind", ["missing", "file"])
    def test_no_cache(self, tmp_path: Path, kind: str) -> None:
        folder = tmp_path / "cache"
        if kind == "file":
            folder.touch()
        code, out, _ = run_here("models", "--cache-dir", str(folder))
        assert (code, out.decode().split()[3:]) == (0, ["packaged"])


class TestDownload:
    @pytest.mark.parametrize("name", ["owner/name", "owner/name:model.gguf"])
    def test_path(self, cached: Path, name: str) -> None:
        assert run_here("download", name) == (0, f"{cached}\n".encode(), "")
        assert run_here("download", name, "--revision", "v1") == (0, f"{cached}\n".encode(), "")

    def test_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        go_offline(monkeypatch, tmp_path / "none")
        path = fill(tmp_path / "other")
        assert "hub cannot be reached" in fails("download", "owner/name")
        code, out, _ = run_here("download", "owner/name", "--cache-dir", str(tmp_path / "other"))
        assert (code, out) == (0, f"{path}\n".encode())

    def test_mistakes(self, cached: Path) -> None:
        message = "is not a repository on the hub: OWNER/NAME or OWNER/NAME:FILE (see santacoder download --help)"
        for name in ("model.gguf", "./a/b", "a"):
            assert fails("download", name, status=2) == f"{name!r} {message}"
        assert fails("download", "owner/name:x.gguf") == (
            "cannot get x.gguf from 'owner/name': it is not in the local cache (it has README.md, model.gguf), "
            "and the hub cannot be reached (offline?)"
        )
