"""All eight checkpoints as branches of one repository, from an emulated cache of the hub and without a network."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from tests.support import checkpoint_builder as builder
from tests.support import published_hub, reference
from tests.support.command_line import run_here
from tests.support.published_hub import BRANCHES, REPO, commit_of, snapshot_of, tensors_of

pytest.importorskip("safetensors")

import santacoder
from santacoder.conversion.convert import convert
from santacoder.gguf.reader import GGUFFile


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published_hub.fill(tmp_path_factory.mktemp("hub"))


@pytest.fixture
def offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("branch", BRANCHES)
def test_every_checkpoint(tmp_path: Path, branch: str) -> None:
    out = tmp_path / "m.gguf"
    convert(REPO, out, "f32", revision=None if branch == "main" else branch)
    weights, config = reference.load(out)
    assert config.kv_heads == (builder.HEADS if branch == "mha" else 1)
    assert weights["output_norm.bias"].tolist() == tensors_of(branch)["transformer.ln_f.bias"].tolist()
    with GGUFFile.open(out) as file:
        metadata = {**file.metadata}
    name = "santacoder" if branch == "main" else f"santacoder-{branch}"
    assert metadata["general.name"] == name
    assert metadata.get("santacoder.source.revision") == (None if branch == "main" else branch)
    assert metadata["santacoder.source.commit"] == commit_of(branch)
    assert metadata["santacoder.source.repository"] == REPO
    assert metadata["general.source.url"] == f"https://huggingface.co/{REPO}/tree/{commit_of(branch)}"
    assert metadata["general.source.repo_url"] == f"https://huggingface.co/{REPO}"
    assert metadata["general.organization"] == "bigcode"
    assert metadata["general.license"] == "bigcode-openrail-m"
    expected = hashlib.sha256(builder.safetensors(tensors_of(branch))).hexdigest()
    assert metadata["santacoder.source.sha256"] == [expected]
    assert metadata["tokenizer.ggml.eot_token_id"] == 10
    assert ("tokenizer.ggml.fim_pre_token_id" in metadata) == (branch != "no-fim")
    with santacoder.load(out, threads=1) as model:
        assert len(model.complete("def f", max_tokens=4, ignore_eos=True, token_healing=False).tokens) == 4
        if branch == "no-fim":
            with pytest.raises(santacoder.InvalidRequestError, match="no fill-in-the-middle tokens"):
                model.infill("a", "b", max_tokens=2)
        else:
            assert model.infill("a", "b", max_tokens=2).usage.prompt_tokens == 5


def metadata_of(path: Path) -> dict[str, Any]:
    with GGUFFile.open(path) as file:
        return {**file.metadata}


FIM_KEY = "tokenizer.ggml.fim_pre_token_id"


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("branch", ["no-fim", "fim"])
def test_a_commit(tmp_path: Path, branch: str) -> None:
    """A commit has no name, but the cache knows which branch is at it."""
    convert(REPO, tmp_path / "m.gguf", revision=commit_of(branch))
    metadata = metadata_of(tmp_path / "m.gguf")
    assert metadata["general.name"] == "santacoder"
    assert metadata["santacoder.source.revision"] == metadata["santacoder.source.commit"] == commit_of(branch)
    assert (FIM_KEY in metadata) == (branch == "fim")


def test_a_url_and_another_cache(cache: Path, tmp_path: Path) -> None:
    page = f"https://huggingface.co/{REPO}/tree/mha"
    convert(page, tmp_path / "m.gguf", cache_dir=cache, local_files_only=True)
    assert metadata_of(tmp_path / "m.gguf")["santacoder.source.commit"] == commit_of("mha")
    with pytest.raises(santacoder.InvalidRequestError, match=r"names the revision 'mha', but revision is 'fim'$"):
        convert(page, tmp_path / "m.gguf", revision="fim", force=True)
    command = ["convert", REPO, "-o", str(tmp_path / "m.gguf"), "--force", "--cache-dir", str(cache)]
    assert run_here(*command, "--revision", "fim", "--local-files-only")[0] == 0
    assert metadata_of(tmp_path / "m.gguf")["santacoder.source.commit"] == commit_of("fim")


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("branch", ["no-fim", "fim"])
def test_the_caller_knows_better(tmp_path: Path, branch: str) -> None:
    convert(REPO, tmp_path / "m.gguf", revision=branch, fim=branch == "no-fim")
    assert metadata_of(tmp_path / "m.gguf").get(FIM_KEY) == (builder.BPE_TOKENS + 1 if branch == "no-fim" else None)


@pytest.mark.parametrize("branch", ["no-fim", "mha"])
def test_a_folder_of_the_cache(cache: Path, tmp_path: Path, branch: str) -> None:
    """What `hf download` prints is a folder that still tells where it comes from."""
    folder = snapshot_of(cache, branch)
    convert(folder, tmp_path / "m.gguf")
    metadata = metadata_of(tmp_path / "m.gguf")
    assert metadata["general.name"] == f"santacoder-{branch}"
    assert metadata["santacoder.source.repository"] == REPO
    assert metadata["santacoder.source.commit"] == commit_of(branch)
    assert (FIM_KEY in metadata) == (branch == "mha")


@pytest.mark.parametrize(("name", "fim"), [("no-fim", False), ("santacoder-no-fim", False), ("no-fim-2", True)])
def test_a_folder_named_no_fim(tmp_path: Path, name: str, fim: bool) -> None:
    convert(builder.write_checkpoint(tmp_path / name), tmp_path / "m.gguf")
    assert (FIM_KEY in metadata_of(tmp_path / "m.gguf")) == fim


def test_offline_by_command(cache: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)}
    out = tmp_path / "m.gguf"
    command = [sys.executable, "-m", "santacoder", "convert", REPO, "--revision", "dedup-alt", "--out", str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{out}: {out.stat().st_size} bytes\n"
    command[command.index("dedup-alt")] = "none"
    done = subprocess.run([*command, "--force"], env=environment, capture_output=True, text=True, check=False)
    message = f"santacoder: cannot get a checkpoint from '{REPO}' at 'none': it is not in the local cache, and the hub"
    assert done.returncode == 1
    assert done.stderr.startswith(message)


@pytest.mark.usefixtures("offline")
def test_what_the_cache_lacks(cache: Path, tmp_path: Path) -> None:
    snapshot = cache / "models--a--b" / "snapshots" / commit_of("x")
    builder.write_checkpoint(snapshot)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text(commit_of("x"))
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(santacoder.ModelFormatError, match=r"^a/b has no weights \(none of model\.safetensors, "):
        convert("a/b", tmp_path / "m.gguf")
    with pytest.raises(santacoder.HubError, match=r"^cannot get a checkpoint from 'a/c': it is not in the local cache"):
        convert("a/c", tmp_path / "m.gguf")
    assert list(tmp_path.iterdir()) == []


def test_only_what_is_needed_is_downloaded(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a repository with weights in every form, only the safetensors and the small files are downloaded."""
    asked: dict[str, Any] = {}
    here = ["config.json", "tokenizer.json", "README.md", "model.safetensors"]
    here += ["generation_config.json", "tokenizer_config.json"]  # they name the tokens that end a text
    others = [
        "pytorch_model.bin",
        "flax_model.msgpack",
        "onnx/model.onnx",
        "modeling_gpt2_mq.py",
        "model.fp16.safetensors",
    ]

    def snapshot_download(repo: str, **options: Any) -> str:
        asked.update(options, repo=repo)
        return str(snapshot_of(cache, "fim"))

    siblings = [SimpleNamespace(rfilename=name) for name in here + others]
    monkeypatch.setattr(
        huggingface_hub, "model_info", lambda *_, **__: SimpleNamespace(siblings=siblings, sha=commit_of("fim"))
    )
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    convert(REPO, tmp_path / "m.gguf", revision="fim")
    assert (asked["repo"], asked["revision"]) == (REPO, "fim")
    assert sorted(asked["allow_patterns"]) == sorted(here)
