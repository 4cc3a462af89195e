"""Names of models: every interface reads them the same way. Nothing here uses the network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

import santacoder
from santacoder.cli import options
from santacoder.hf import AutoModelForCausalLM, AutoTokenizer
from santacoder.sources.model_name import ModelName, local_gguf, parse_name
from tests.support import hub_cache, lm_eval_parts

PATHS = ["./missing", "../missing", ".cache/x", "~/x", "~user/x", "/owner/name", "./a:b", "./models/x.gguf"]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The file of 'owner/name' in a cache without a network; nothing in the working directory."""
    cache, here = tmp_path / "cache", tmp_path / "here"
    here.mkdir()
    path = hub_cache.fill(cache)
    hub_cache.go_offline(monkeypatch, cache)
    monkeypatch.chdir(here)
    return str(path)


@pytest.fixture
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that must not be asked; nothing in the working directory."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the hub was asked")

    for name in ("model_info", "hf_hub_download", "snapshot_download"):
        monkeypatch.setattr(huggingface_hub, name, refuse)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def lm_eval_door(monkeypatch: pytest.MonkeyPatch) -> Any:
    """From a name to the model of the lm-eval integration."""
    return lm_eval_parts.integration(monkeypatch).SantaCoderLM


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("owner/name", ModelName("owner/name", "owner/name")),
        ("-/_", ModelName("-/_", "-/_")),
        ("a.b/c.d", ModelName("a.b/c.d", "a.b/c.d")),
        ("owner/name:x.gguf", ModelName("owner/name:x.gguf", "owner/name", "x.gguf")),
        ("owner/name:sub/x.gguf", ModelName("owner/name:sub/x.gguf", "owner/name", "sub/x.gguf")),
        ("owner/name:a:b", ModelName("owner/name:a:b", "owner/name", "a:b")),
    ],
)
def test_repositories(no_hub: None, name: str, meaning: ModelName) -> None:
    assert parse_name(name) == meaning
    assert not meaning.is_path
    assert parse_name(Path(name)) == ModelName(name)  # a path by its type


@pytest.mark.parametrize(
    "name",
    [*PATHS, "owner/name.gguf", "owner/name.GGUF", "owner/name.gguf:x", "model.gguf", "a/b/c", "c:d", "a/b:", "a\0/b"],
)
def test_paths(no_hub: None, name: str) -> None:
    assert parse_name(name) == ModelName(name)
    assert parse_name(name).is_path
    assert local_gguf(parse_name(name)) == options.resolve_model(name) == name


def test_what_exists_is_a_path(no_hub: None) -> None:
    Path("owner/name").mkdir(parents=True)
    Path("owner/name:x.gguf").touch()
    for name in ("owner/name", "owner/name:x.gguf"):
        assert parse_name(name) == ModelName(name)
    assert parse_name("owner/name:y.gguf").file == "y.gguf"


@pytest.mark.parametrize("name", ["owner/name", "owner/name:model.gguf"])
def test_every_door_finds_the_file(model: str, name: str, lm_eval_door: Any) -> None:
    assert options.resolve_model(name) == local_gguf(parse_name(name)) == model
    assert len(AutoTokenizer.from_pretrained(name)) == 512
    loaded = AutoModelForCausalLM.from_pretrained(name)
    assert (loaded.config.n_layer, loaded.name_or_path) == (2, name)
    assert lm_eval_door(name, threads=1).model.config.name == "random"


def test_the_hub_alone(model: str) -> None:
    """`from_pretrained` takes no paths: what is there does not hide a repository."""
    Path("owner/name").mkdir(parents=True)
    for name in ("owner/name", "owner/name:model.gguf"):
        with santacoder.from_pretrained(name, threads=1) as loaded:
            assert loaded.config.name == "random"


@pytest.mark.parametrize(
    ("door", "argument"), [(AutoTokenizer.from_pretrained, "gguf_file"), (santacoder.from_pretrained, "filename")]
)
def test_a_file_that_is_named_twice(model: str, door: Any, argument: str) -> None:
    door("owner/name:model.gguf", **{argument: "model.gguf"})
    message = rf"^'owner/name:a\.gguf' names the file 'a\.gguf', but {argument} is 'model\.gguf'$"
    with pytest.raises(santacoder.InvalidRequestError, match=message):
        door("owner/name:a.gguf", **{argument: "model.gguf"})


def test_a_file_that_the_repository_lacks(model: str, lm_eval_door: Any) -> None:
    for door in (options.resolve_model, AutoTokenizer.from_pretrained, lm_eval_door):
        with pytest.raises(santacoder.HubError, match=r"^cannot get x\.gguf from 'owner/name'"):
            door("owner/name:x.gguf")


@pytest.mark.parametrize("path", PATHS)
def test_paths_are_never_looked_up(no_hub: None, path: str, lm_eval_door: Any) -> None:
    """Through any interface."""
    for load in (lambda path: santacoder.load(options.resolve_model(path)), lm_eval_door):
        with pytest.raises(FileNotFoundError, match="there is no such model file"):
            load(path)
    with pytest.raises(FileNotFoundError, match=re.escape(Path(path).name)):
        AutoTokenizer.from_pretrained(path)
    with pytest.raises(santacoder.InvalidRequestError, match=r"neither a folder nor OWNER/NAME on the hub$"):
        santacoder.convert(path, "out.gguf")
    with pytest.raises(santacoder.InvalidRequestError, match=r"is a path, but a repository on the hub is OWNER/NAME"):
        santacoder.from_pretrained(path)


def test_a_checkpoint_is_more_than_a_file(no_hub: None) -> None:
    message = r"^owner/name:x is neither a folder nor OWNER/NAME on the hub$"
    with pytest.raises(santacoder.InvalidRequestError, match=message):
        santacoder.convert("owner/name:x", "out.gguf")


@pytest.mark.parametrize("name", ["models/x", "models/x:y.gguf", "-/_", "a.b/c.d"])
def test_a_name_that_is_neither_path_nor_repository_brings_both_readings(
    model: str, name: str, lm_eval_door: Any
) -> None:
    reading = rf"^cannot get .*; nor is there a file or folder '{re.escape(name)}'$"
    for door in (options.resolve_model, AutoTokenizer.from_pretrained, lm_eval_door):
        with pytest.raises(santacoder.HubError, match=reading):
            door(name)


def test_both_readings_of_a_checkpoint(model: str) -> None:
    both = r" from 'models/x': it is not in the local cache.*; nor is there a file or folder 'models/x'$"
    with pytest.raises(santacoder.HubError, match=f"^cannot get a model{both}"):
        AutoTokenizer.from_pretrained("models/x")
    with pytest.raises(santacoder.HubError, match=f"^cannot get a checkpoint{both}"):
        santacoder.convert("models/x", "out.gguf")
