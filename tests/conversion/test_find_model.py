"""Checkpoints by name: each is converted once, into a cache, through every interface. Nothing here uses the network."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

import santacoder
from santacoder.cli import options
from santacoder.conversion import convert as conversion
from santacoder.conversion.find_model import ModelOptions, find_model
from santacoder.gguf.digest import file_sha256
from santacoder.hf import AutoModelForCausalLM, AutoTokenizer
from santacoder.quantize.mixes import MIXES
from santacoder.sources.converted import CONVERTER, VARIABLE, Place, converted_models
from santacoder.sources.model_name import parse_name
from tests.support import checkpoint_builder as builder
from tests.support import lm_eval_parts, published_hub
from tests.support.command_line import fails, run_here
from tests.support.paths import DATA, FILE, distributed
from tests.support.published_hub import BRANCHES, REPO, commit_of, snapshot_of
from tests.support.waiting import HANG

pytest.importorskip("safetensors")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published_hub.fill(tmp_path_factory.mktemp("hub"))


@pytest.fixture
def cache(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of converted checkpoints, beside the hub's own, without a network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "converted"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "converted"


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The types to which something is converted meanwhile."""
    types: list[str] = []
    real = conversion.convert_source

    def counted(place: Any, out: Any, type: str, *arguments: Any, **keywords: Any) -> None:
        types.append(type)
        real(place, out, type, *arguments, **keywords)

    monkeypatch.setattr(conversion, "convert_source", counted)
    return types


def converted_path(cache: Path, branch: str, type: str) -> Path:
    note = "-no-fim" if branch == "no-fim" else ""
    return cache / "bigcode--santacoder" / f"{commit_of(branch)[:12]}{note}-{type}-{CONVERTER}.gguf"


def run_model(model: santacoder.SantaCoder) -> list[int]:
    with model:
        return model.complete([1, 2, 3], max_tokens=4, temperature=0, ignore_eos=True).tokens


@pytest.mark.parametrize("branch", BRANCHES)
def test_every_branch_is_converted_once(cache: Path, conversions: list[str], branch: str) -> None:
    names: list[tuple[str, dict[str, Any]]] = [
        (REPO, {"revision": branch}),
        (REPO, {"revision": commit_of(branch)}),
        (f"https://huggingface.co/{REPO}/tree/{branch}", {}),
        (str(snapshot_of(Path(constants.HF_HUB_CACHE), branch)), {}),  # as `hf download` prints it
    ]
    tokens = [run_model(santacoder.load(name, threads=1, **keywords)) for name, keywords in names]
    assert tokens == [tokens[0]] * len(names)
    assert conversions == ["q4_k_m"]
    [model] = converted_models()
    assert model.path == str(converted_path(cache, branch, "q4_k_m"))
    version = commit_of(branch)[:12] + ("-no-fim" if branch == "no-fim" else "")
    assert (model.source, model.version, model.type) == (REPO, version, "q4_k_m")


def test_every_interface(
    cache: Path, conversions: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same file for all but `santacoder.hf`, whose default type is its own."""
    path = converted_path(cache, "fim", "q4_k_m")
    assert run_here("download", REPO, "--revision", "fim")[:2] == (0, f"{path}\n".encode())
    lm_eval_door = lm_eval_parts.integration(monkeypatch).SantaCoderLM
    tokens = [
        run_model(santacoder.load(REPO, 1, revision="fim", local_files_only=True)),
        run_model(santacoder.from_pretrained(REPO, None, "fim", 1)),
        run_model(santacoder.SantaCoder.load(f"hf.co/{REPO}/tree/fim", 1)),
        run_model(lm_eval_door(REPO, threads=1, revision="fim", trust_remote_code=True).model),
        run_model(AutoModelForCausalLM.from_pretrained(REPO, revision="fim", type="q4_k_m", threads=1).engine),
    ]
    assert tokens == [tokens[0]] * len(tokens)
    for arguments in (
        ["info"],
        ["tokenize", "a"],
        ["complete", "-n", "1", "a"],
        ["infill", "-n", "1", "--prefix", "a"],
    ):
        more = ["--suffix", ""] if arguments[0] == "infill" else []
        assert run_here(*arguments, *more, "--revision", "fim", "--json", model=REPO)[0] == 0
    Path("text.py").write_text("def f(x):\n")
    assert run_here("eval", "ppl", "text.py", "--revision", "fim", model=REPO)[0] == 0
    assert conversions == ["q4_k_m"]
    AutoModelForCausalLM.from_pretrained(REPO, revision="fim")
    assert conversions == ["q4_k_m", "q8_0"]
    assert {model.type for model in converted_models()} == {"q4_k_m", "q8_0"}


@pytest.mark.parametrize("type", ["f32", "Q6_K"])
def test_the_type(cache: Path, conversions: list[str], type: str) -> None:
    code, out, err = run_here("info", "--type", type, "--json", model=REPO)
    path = converted_path(cache, "main", type.lower())
    assert (code, err) == (0, f"santacoder: converting {REPO} to {type.upper()}, once, into {path}\n")
    assert (json.loads(out)["path"], json.loads(out)["file_type"]) == (str(path), type.upper())


def test_what_is_said(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line, when it is converted."""
    for _ in range(2):
        run_model(santacoder.load(REPO, 1))
    assert [record.getMessage() for record in caplog.records] == [
        f"converting {REPO} to Q4_K_M, once, into {converted_path(cache, 'main', 'q4_k_m')}; "
        "another type (--type, type=, or torch's dtype=) makes another file"
    ]


@pytest.mark.parametrize(
    ("asked", "type"),
    [
        ({"torch_dtype": "float16"}, "f16"),
        ({"dtype": "torch.bfloat16"}, "bf16"),
        ({"dtype": "float32", "type": "F32"}, "f32"),
        ({"dtype": "auto"}, "q8_0"),
        ({}, "q8_0"),
    ],
)
def test_dtypes(cache: Path, conversions: list[str], asked: dict[str, Any], type: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(REPO, trust_remote_code=True, threads=1, **asked)
    assert model.name_or_path == REPO
    assert conversions == [type]
    AutoModelForCausalLM.from_pretrained(FILE, torch_dtype=asked.get("dtype"))  # has no effect on a file


def test_dtypes_that_cannot_be() -> None:
    message = (
        r"^dtype is 'float64', but it must be one of float32, float16, bfloat16, or None: choose others with type$"
    )
    with pytest.raises(santacoder.InvalidRequestError, match=message):
        AutoModelForCausalLM.from_pretrained(REPO, dtype="float64")
    with pytest.raises(santacoder.InvalidRequestError, match=r"^type is 'q8_0', but dtype is 'f16'$"):
        AutoModelForCausalLM.from_pretrained(REPO, dtype="float16", type="q8_0")


def test_torch_dtypes(cache: Path, conversions: list[str]) -> None:
    torch = pytest.importorskip("torch")
    AutoModelForCausalLM.from_pretrained(REPO, torch_dtype=torch.bfloat16)
    assert conversions == ["bf16"]


@pytest.mark.parametrize("branch", BRANCHES)
def test_a_tokenizer_needs_no_conversion(cache: Path, conversions: list[str], branch: str) -> None:
    """Nor weights; and it is that of the converted model."""
    tokenizer = AutoTokenizer.from_pretrained(REPO, revision=branch)
    assert conversions == []
    assert tokenizer.model_max_length == builder.POSITIONS
    model = AutoModelForCausalLM.from_pretrained(REPO, revision=branch, threads=1)
    assert tokenizer.get_vocab() == AutoTokenizer.from_pretrained(REPO, revision=branch).get_vocab()
    text = "def f(x):\n  return<fim-suffix><|endoftext|>12"
    assert tokenizer(text)["input_ids"] == model.engine.tokenizer.encode(text)
    assert tokenizer.eos_token_id == model.config.eos_token_id


def test_cache_dir(hub: Path, cache: Path, conversions: list[str], tmp_path: Path) -> None:
    """Where `cache_dir` is the hub's cache, conversions go there too."""
    folder = tmp_path / "other"
    shutil.copytree(hub, folder, symlinks=True)
    for _ in range(2):
        run_model(santacoder.load(REPO, 1, cache_dir=folder))
    assert conversions == ["q4_k_m"]
    assert list(converted_models()) == []
    [model] = converted_models(folder)
    assert model.path == str(converted_path(folder / "santacoder", "main", "q4_k_m"))
    assert model.path in run_here("models", "--cache-dir", str(folder))[1].decode()
    assert run_here("models", "--cache-dir", str(folder))[2] == ""


class TestFolders:
    def test_is_converted_when_it_changes(self, cache: Path, conversions: list[str], tmp_path: Path) -> None:
        folder = builder.write_checkpoint(tmp_path / "mine", "fused")
        names: list[Any] = ["mine", "./mine", f"{folder}/", folder]
        tokens = [run_model(santacoder.load(name, 1)) for name in names]
        assert tokens == [tokens[0]] * len(names)
        assert conversions == ["q4_k_m"]
        (folder / "README.md").write_text("---\nlicense: mit\n---\n")
        run_model(santacoder.load("mine", 1))
        assert conversions == ["q4_k_m"] * 2
        assert {model.source for model in converted_models()} == {str(folder)}

    def test_a_gguf_file_comes_first(self, cache: Path, conversions: list[str], tmp_path: Path) -> None:
        folder = builder.write_checkpoint(tmp_path / "mine", "fused")
        shutil.copy(distributed(DATA / "mqa-q8_0.gguf"), folder / "m-q8_0.gguf")
        assert find_model(parse_name("mine")) == "mine/m-q8_0.gguf"
        assert find_model(parse_name("mine"), ModelOptions(type="q8_0")) == "mine/m-q8_0.gguf"
        assert conversions == []
        find_model(parse_name("mine"), ModelOptions(type="f16"))  # which no file is
        assert conversions == ["f16"]

    def test_a_snapshot_of_another_cache(self, hub: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It has all files, so that the hub and the usual cache are not asked."""
        monkeypatch.setattr(constants, "HF_HUB_CACHE", "none")
        assert len(AutoTokenizer.from_pretrained(snapshot_of(hub, "mha"))) == builder.BPE_TOKENS + 5
        run_model(santacoder.load(snapshot_of(hub, "mha"), 1))
        [model] = converted_models()
        assert (model.source, model.path) == (REPO, str(converted_path(cache, "mha", "q4_k_m")))

    def test_odd_names(self, cache: Path, conversions: list[str], tmp_path: Path) -> None:
        for name in ("a b'\u00e9\n", "x" * 200, os.fsdecode(b"\xff")):
            folder = builder.write_checkpoint(tmp_path / name, "fused")
            run_model(santacoder.load(folder, 1))
            assert str(folder) in {model.source for model in converted_models()}
        assert run_here("cache", "list")[0] == 0

    def test_what_is_no_model(self, cache: Path, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "config.json").touch()
        with pytest.raises(santacoder.InvalidRequestError, match=r"^'mine' has no GGUF file; it has config\.json$"):
            santacoder.load("mine")
        builder.write_checkpoint(tmp_path / "mine", changes={"model_type": "llama"})
        with pytest.raises(santacoder.ModelFormatError, match=r"^config\.json: model_type is 'llama'"):
            santacoder.load("mine")
        assert not list(cache.rglob("*.gguf*"))


def test_nothing_is_downloaded_in_vain(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot run is refused by its small files, and without its reader no weights are fetched."""
    asked: list[list[str]] = []
    real = huggingface_hub.snapshot_download

    def watched(*arguments: Any, **keywords: Any) -> str:
        asked.append(keywords["allow_patterns"])
        return str(real(*arguments, **keywords))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", watched)
    monkeypatch.setattr("santacoder.conversion.hf_config.ACTIVATIONS", ("relu",))
    with pytest.raises(santacoder.ModelFormatError, match=r"^config\.json: activation_function is 'gelu_fast'"):
        santacoder.load(REPO)
    assert not any("model.safetensors" in names for names in asked)
    asked.clear()
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(santacoder.MissingPackageError, match=r"^model\.safetensors needs the package safetensors"):
        santacoder.load(REPO)
    assert not any("model.safetensors" in names for names in asked)


def test_without_the_checkpoint(hub: Path, cache: Path, conversions: list[str], tmp_path: Path) -> None:
    """The weights may be removed from the hub's cache, once they are converted."""
    folder = tmp_path / "other"
    shutil.copytree(hub, folder, symlinks=True)
    tokens = run_model(santacoder.load(REPO, 1, cache_dir=folder))
    (snapshot_of(folder, "main") / "model.safetensors").unlink()
    assert run_model(santacoder.load(REPO, 1, cache_dir=folder)) == tokens
    with pytest.raises(santacoder.ModelFormatError, match=rf"^{REPO} has no weights "):
        santacoder.load(REPO, 1, cache_dir=folder, type="f16")


@pytest.mark.parametrize("revision", ["none", "..", "a/b", "a\0b", "x" * 300, ""])
def test_revisions_that_are_none(cache: Path, revision: str) -> None:
    with pytest.raises(santacoder.HubError, match=rf"^cannot get a model from '{REPO}' at "):
        santacoder.load(REPO, revision=revision)


@pytest.mark.parametrize("branch", ["main", "no-fim"])
def test_without_the_hubs_cache(
    cache: Path, conversions: list[str], monkeypatch: pytest.MonkeyPatch, branch: str
) -> None:
    """And without a network: the cache of conversions knows which commit the revision was at."""
    how: dict[str, Any] = {"revision": None if branch == "main" else branch}
    tokens = run_model(santacoder.load(REPO, 1, **how))
    run_model(santacoder.load(REPO, 1, revision=commit_of(branch)))
    vocabulary = AutoTokenizer.from_pretrained(REPO, **how).get_vocab()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "none")
    for each in (how, {"revision": commit_of(branch)}):
        assert run_model(santacoder.load(REPO, 1, **each)) == tokens
        assert AutoTokenizer.from_pretrained(REPO, **each).get_vocab() == vocabulary
    assert conversions == ["q4_k_m"]
    for wrong in ({**how, "type": "f16"}, {"revision": "fim"}):
        with pytest.raises(
            santacoder.HubError, match=rf"^cannot get a model from '{REPO}'.* is not in the local cache"
        ):
            santacoder.load(REPO, **wrong)


def test_a_conversion_does_not_hide_a_file(hub: Path, cache: Path, conversions: list[str], tmp_path: Path) -> None:
    """What a name means does not depend on the cache."""
    folder = tmp_path / "other"
    shutil.copytree(hub, folder, symlinks=True)
    file = snapshot_of(folder, "main") / "m-q8_0.gguf"
    shutil.copy(distributed(DATA / "mqa-q8_0.gguf"), file)
    find_model(parse_name(REPO), ModelOptions(type="f16", cache_dir=folder))
    assert conversions == ["f16"]
    assert find_model(parse_name(REPO), ModelOptions(cache_dir=folder)) == str(file)


def test_force_download(cache: Path, conversions: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    real = huggingface_hub.snapshot_download
    forced: list[bool] = []

    def watched(*arguments: Any, force_download: bool = False, **keywords: Any) -> str:
        forced.append(force_download)
        return str(real(*arguments, **keywords))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", watched)
    for _ in range(2):
        run_model(santacoder.load(REPO, 1, force_download=True))
    assert conversions == ["q4_k_m"] * 2
    assert True in forced


COMMAND = [sys.executable, "-m", "santacoder", "complete", "-n", "4", "--seed", "1", "-m", REPO, "def f"]


def start(**keywords: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": constants.HF_HUB_CACHE}
    return subprocess.Popen(
        COMMAND, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **keywords
    )


def test_two_processes_at_once(cache: Path) -> None:
    """Both wait for the lock; the first converts, and the second finds the result."""
    place = Place.of(REPO, False)
    place.prepare()
    with place.lock():
        processes = [start(), start()]
        for process in processes:
            assert process.stderr is not None
            waiting = f"santacoder: waiting for another process, which converts {REPO}\n"
            assert process.stderr.readline() == waiting
    ends = [process.communicate(timeout=HANG) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert ends[0][0] == ends[1][0]
    assert sorted(err.count("converting") for _, err in ends) == [0, 1]


def test_threads_at_once(cache: Path, conversions: list[str]) -> None:
    paths: list[str] = []
    threads = [threading.Thread(target=lambda: paths.append(find_model(parse_name(REPO)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [str(converted_path(cache, "main", "q4_k_m"))] * 4
    assert conversions == ["q4_k_m"]


KILLED = """
import os, signal, sys
from santacoder.conversion import convert
from santacoder.gguf import writer
real = writer.check_target
def die(path, force=False, reads=()):
    real(path, force, reads)
    if any(name.startswith(".") and ".gguf-" in name for name in os.listdir(os.path.dirname(path))):
        os.kill(os.getpid(), signal.SIGKILL)
writer.check_target = die
import santacoder
santacoder.load(sys.argv[1])
"""


def test_a_process_that_is_killed(cache: Path, conversions: list[str]) -> None:
    """It holds no lock, and its unfinished file goes away."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": constants.HF_HUB_CACHE}
    done = subprocess.run([sys.executable, "-c", KILLED, REPO], env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    [left] = cache.rglob(".*.gguf-*")
    run_model(santacoder.load(REPO, 1))
    assert conversions == ["q4_k_m"]
    assert not left.exists()


def test_a_conversion_that_fails(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr(conversion, "write_model", fail)
    with pytest.raises(OSError, match="No space left"):
        santacoder.load(REPO)
    monkeypatch.undo()
    assert not list(cache.rglob("*.gguf"))


class TestCacheCommand:
    def test_list_and_clear(self, cache: Path, tmp_path: Path) -> None:
        assert run_here("cache", "list") == (0, b"", "")
        builder.write_checkpoint(tmp_path / "mine", "fused")
        for name in (REPO, "mine"):
            run_model(santacoder.load(name, 1))
        code, out, err = run_here("cache", "list")
        lines = [line.split(maxsplit=4) for line in out.decode().splitlines()]
        assert (code, err) == (0, "")
        assert [line[1:3] + line[4:] for line in lines] == [
            ["MiB", "Q4_K_M", REPO], ["MiB", "Q4_K_M", str(tmp_path / "mine")],
        ]  # fmt: skip
        models = json.loads(run_here("cache", "list", "--json")[1])
        assert [model["source"] for model in models] == [REPO, str(tmp_path / "mine")]
        assert {Path(model["path"]) for model in models} == set(cache.rglob("*.gguf"))
        code, cleared, err = run_here("cache", "clear")
        assert (code, cleared) == (0, out)
        assert err == f"santacoder: {sum(model['file_bytes'] for model in models) / 2**20:.1f} MiB were freed\n"
        assert list(cache.rglob("*.gguf")) == []
        assert (tmp_path / "mine" / "model.safetensors").is_file()

    def test_names_of_models_are_those_that_model_takes(self, cache: Path) -> None:
        run_model(santacoder.load(REPO, 1))
        models = json.loads(run_here("models", "--json")[1])
        path = str(converted_path(cache, "main", "q4_k_m"))
        assert (models[-1]["name"], models[-1]["facts"]["file_type"]) == (path, "Q4_K_M")
        assert json.loads(run_here("info", "--json", model=path)[1])["path"] == path

    def test_usage(self) -> None:
        assert "required: COMMAND (see santacoder cache --help)" in fails("cache", status=2)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from santacoder.sources.converted import cache_folder

    monkeypatch.setenv(VARIABLE, "/a")
    assert (cache_folder(), cache_folder("/hub")) == (Path("/a"), Path("/hub/santacoder"))
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/santacoder")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "santacoder"


def test_the_reference_of_kl(cache: Path, conversions: list[str]) -> None:
    """A checkpoint to compare with is converted to F32."""
    Path("text.py").write_text("def f(x):\n" * 3)
    code, out, _ = run_here("eval", "kl", "text.py", "--reference", REPO, "--type", "q8_0", "--json", model=REPO)
    assert code == 0
    assert json.loads(out)["reference"] == str(converted_path(cache, "main", "f32"))
    assert sorted(conversions) == ["f32", "q8_0"]


def test_options_of_the_command_line(cache: Path) -> None:
    parser = argparse.ArgumentParser()
    options.add_model(parser)
    args = parser.parse_args(["-m", REPO, "--token", "t", "--local-files-only", "--cache-dir", "d", "--type", "F16"])
    assert options.model_options(args) == ModelOptions(
        type="f16", token="t", local_files_only=True, cache_dir="d", revision=None
    )


#: Of what a small checkpoint is converted to, by type.
DIGESTS = {
    "f32": "775f1ec04add9ac2",
    "f16": "62689c28a0de5de9",
    "bf16": "25935cf5bd6c2ae6",
    "q8_0": "07033e845deb01f3",
    "q6_k": "9239099470ac8488",
    "q5_k_m": "c9218e7e646e9bbb",
    "q5_k_s": "6ac335ab1faaf388",
    "q4_k_m": "746a904305f454e6",
    "q4_k_s": "64a1c1a1a1f8912b",
    "q4_0": "54f1e87b2bbf2f97",
    "q3_k_m": "76fc95e1d8ea762d",
}


@pytest.mark.parametrize("type", MIXES)
def test_the_converters_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type: str) -> None:
    """Other bytes need another number in the names of the cache's files: raise CONVERTER, and store the digests."""
    monkeypatch.setattr("santacoder.conversion.metadata.__version__", "0")
    santacoder.convert(builder.write_checkpoint(tmp_path / "c", "split"), tmp_path / "m.gguf", type)
    assert (CONVERTER, file_sha256(tmp_path / "m.gguf")[:16]) == (1, DIGESTS[type])
