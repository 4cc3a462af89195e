"""Names of models: every interface reads them the same way. Nothing here uses the network."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

import santacoder
from santacoder.cli import options
from santacoder.conversion.find_model import ModelOptions, find_model
from santacoder.hf import AutoModelForCausalLM, AutoTokenizer
from santacoder.sources.hub import of_type
from santacoder.sources.model_name import ModelName, parse_hub_name, parse_name, with_revision
from santacoder.sources.packaged import packaged_model
from tests.support import hub_cache, lm_eval_parts
from tests.support.paths import DATA, FILE, distributed

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
    if "\0" in name:
        with pytest.raises(santacoder.InvalidRequestError, match=r"^'a\\x00/b' holds a NUL character$"):
            find_model(parse_name(name))
    else:
        assert find_model(parse_name(name)) == options.resolve_model(name) == name


PAGE = "https://huggingface.co/owner/name"


@pytest.mark.parametrize(
    ("url", "file", "revision"),
    [
        (PAGE, None, None),
        (f"{PAGE}/", None, None),
        (f"{PAGE}?library=gguf#files", None, None),
        (f"{PAGE}:x.gguf", "x.gguf", None),
        (f"{PAGE}/tree/no-fim", None, "no-fim"),
        (f"{PAGE}/tree/refs%2Fpr%2F1", None, "refs/pr/1"),
        (f"{PAGE}/blob/main/sub/x.gguf", "sub/x.gguf", "main"),
        (f"{PAGE}/resolve/v1/a%20b.gguf?download=true", "a b.gguf", "v1"),
        ("http://hf.co/owner/name", None, None),
        ("hf.co/owner/name:x.gguf", "x.gguf", None),
        ("huggingface.co/owner/name/tree/v1", None, "v1"),
    ],
)
def test_urls(no_hub: None, url: str, file: str | None, revision: str | None) -> None:
    assert parse_name(url) == parse_hub_name(url) == ModelName(url, "owner/name", file, revision)
    if revision is None:
        assert with_revision(parse_name(url), "v9").revision == "v9"
        return
    message = rf"^'{re.escape(url)}' names the revision '{revision}', but revision is 'v9'$"
    with pytest.raises(santacoder.InvalidRequestError, match=message):
        with_revision(parse_name(url), "v9")


@pytest.mark.parametrize(
    "url",
    [
        "https://huggingface.co/datasets/owner/name", "https://huggingface.co/owner", f"{PAGE}/discussions/1",
        f"{PAGE}/tree/main/sub", "https://example.org/owner/name", "s3://owner/name", "hf://owner/name/x.gguf",
    ],
)  # fmt: skip
def test_urls_of_something_else(no_hub: None, url: str) -> None:
    message = rf"^'{re.escape(url)}' is not the URL of a model, of its revision or its file on the hub: https://"
    for door in (parse_name, santacoder.load, options.resolve_model, AutoTokenizer.from_pretrained):
        with pytest.raises(santacoder.InvalidRequestError, match=message):
            door(url)


def test_packaged(no_hub: None) -> None:
    """A file of that name is "./packaged", or a path by its type."""
    shutil.copy(FILE, "packaged")
    assert parse_name("packaged").is_packaged
    assert find_model(parse_name("packaged")) == find_model(parse_name(None)) == str(packaged_model())
    for name in ("./packaged", Path("packaged"), str(Path("packaged").absolute())):
        assert not parse_name(name).is_packaged
        with santacoder.load(name, threads=1) as loaded:
            assert loaded.config.name == "random"
    with pytest.raises(santacoder.InvalidRequestError, match=r"the packaged model is one file, but gguf_file is 'x'$"):
        AutoTokenizer.from_pretrained("packaged", gguf_file="x")


def test_revisions_of_what_has_none(no_hub: None) -> None:
    shutil.copy(FILE, "m.gguf")
    for name in ("m.gguf", "packaged"):
        assert len(AutoTokenizer.from_pretrained(name, revision="main")) > 0
        with pytest.raises(santacoder.InvalidRequestError, match=rf"^{name} is a file, which has no revision 'v1'$"):
            AutoTokenizer.from_pretrained(name, revision="v1")


def test_the_type_of_a_file(no_hub: None) -> None:
    Path("models").mkdir()
    shutil.copy(FILE, "models/m-q4_k_m.gguf")
    shutil.copy(distributed(DATA / "mqa-q8_0.gguf"), "models/m-Q8_0.gguf")
    for type, chosen in ((None, "m-q4_k_m.gguf"), ("Q4_K_M", "m-q4_k_m.gguf"), ("q8_0", "m-Q8_0.gguf")):
        assert find_model(parse_name("models"), ModelOptions(type=type)) == f"models/{chosen}"
    with pytest.raises(santacoder.InvalidRequestError, match="has several GGUF files"):
        santacoder.load("models", type="f16")
    with pytest.raises(santacoder.InvalidRequestError, match=r"^type is 'f16', but models/m-Q8_0\.gguf is Q8_0: "):
        santacoder.load("models/m-Q8_0.gguf", type="f16")
    with pytest.raises(santacoder.InvalidRequestError, match=r"^the type is 'q3', but it must be one of f32, f16, "):
        santacoder.load("models", type="q3")
    assert of_type(["a/f16/x.gguf", "x-bf16.gguf", "x.F16.gguf"], "f16") == ["x.F16.gguf"]


def test_what_exists_is_a_path(no_hub: None) -> None:
    Path("owner/name").mkdir(parents=True)
    Path("owner/name:x.gguf").touch()
    for name in ("owner/name", "owner/name:x.gguf"):
        assert parse_name(name) == ModelName(name)
    assert parse_name("owner/name:y.gguf").file == "y.gguf"


@pytest.mark.parametrize("name", ["owner/name", "owner/name:model.gguf"])
def test_every_door_finds_the_file(model: str, name: str, lm_eval_door: Any) -> None:
    assert options.resolve_model(name) == find_model(parse_name(name)) == model
    assert len(AutoTokenizer.from_pretrained(name)) == 512
    loaded = AutoModelForCausalLM.from_pretrained(name)
    assert (loaded.config.n_layer, loaded.name_or_path) == (2, name)
    assert lm_eval_door(name, threads=1).model.config.name == "random"


def test_from_pretrained_takes_what_load_takes(model: str) -> None:
    for name in ("owner/name", "owner/name:model.gguf", model, Path(model), "packaged"):
        for door in (santacoder.load, santacoder.from_pretrained, santacoder.SantaCoder.load):
            with door(name, threads=1) as loaded:
                assert loaded.config.name == ("santacoder-tiny" if name == "packaged" else "random")
    Path("owner/name").mkdir(parents=True)
    for door in (santacoder.load, santacoder.from_pretrained):
        with pytest.raises(santacoder.InvalidRequestError, match=r"^'owner/name' has no GGUF file; it has no files$"):
            door("owner/name")


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
    with pytest.raises(FileNotFoundError, match="there is no such model file"):
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
