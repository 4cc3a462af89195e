"""Models from the hub: which file, the cache without a network, and errors. Nothing here uses the network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants, errors

import santacoder
from santacoder.sources.hub import choose, download, listing
from tests.support import hub_cache
from tests.support.hub_cache import COMMIT


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that has one file and the README of 'owner/name' at the branch main and the tag v1, and no network."""
    hub_cache.fill(tmp_path)
    hub_cache.go_offline(monkeypatch, tmp_path)
    return tmp_path


def hub_error(name: str, text: str = "404 Client Error.\n\nSomething for url: x.") -> Exception:
    """An error of the hub as its HTTP answers raise it, without an answer."""
    kind = getattr(errors, name)
    error = kind.__new__(kind)
    Exception.__init__(error, text)
    assert isinstance(error, Exception)
    return error


def answer_with(monkeypatch: pytest.MonkeyPatch, error: Exception, *names: str) -> None:
    """Let these functions of the hub raise the error."""

    def refuse(*_: Any, **__: Any) -> None:
        raise error

    for name in names:
        monkeypatch.setattr(huggingface_hub, name, refuse)


def test_choice() -> None:
    assert choose("a/b", ["README.md", "x.gguf"]) == "x.gguf"
    assert choose("a/b", ["x-Q8_0.gguf", "x-Q4_K_M.gguf"]) == "x-Q4_K_M.gguf"
    with pytest.raises(santacoder.InvalidRequestError, match=r"^'a/b' has no GGUF file; it has README\.md, a\.bin$"):
        choose("a/b", ["a.bin", "README.md"])
    message = r"^'a/b' has several GGUF files, so one must be named: x-1\.gguf, x-2\.gguf$"
    with pytest.raises(santacoder.InvalidRequestError, match=message):
        choose("a/b", ["x-2.gguf", "x-1.gguf"])


def test_listing() -> None:
    assert listing([]) == "it has no files"
    names = [f"{i:02}" for i in range(23)]
    assert listing(names) == f"it has {', '.join(names[:20])} and 3 more"


@pytest.mark.parametrize("revision", [None, "main", "v1", COMMIT])
def test_cache_without_network(cache: Path, revision: str | None) -> None:
    expected = cache / "models--owner--name" / "snapshots" / COMMIT / "model.gguf"
    assert download("owner/name", revision=revision) == str(expected)
    assert download("owner/name", "model.gguf", revision) == str(expected)
    with santacoder.from_pretrained("owner/name", revision=revision) as model:
        assert model.config.name == "random"


def test_local_files_only_asks_nobody(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "none"))
    answer_with(monkeypatch, AssertionError("the network was asked"), "model_info")
    assert download("owner/name", cache_dir=cache, local_files_only=True).endswith("model.gguf")
    with pytest.raises(
        santacoder.HubError, match=r"^cannot get a model from 'owner/name': it is not in the local cache"
    ):
        download("owner/name", local_files_only=True)


def test_not_in_the_cache(cache: Path) -> None:
    ending = r", and the hub cannot be reached \(offline\?\)$"
    here = r"it is not in the local cache \(it has README\.md, model\.gguf\)"
    cases: list[tuple[tuple[Any, ...], str]] = [
        (("owner/other",), "cannot get a model from 'owner/other': it is not in the local cache"),
        (("owner/name", None, "v2"), "cannot get a model from 'owner/name' at 'v2': it is not in the local cache"),
        (("owner/name", "x.gguf"), f"cannot get x.gguf from 'owner/name': {here}"),
    ]
    for args, message in cases:
        with pytest.raises(santacoder.HubError, match=f"^{message}{ending}"):
            download(*args)


def test_the_hub_lists_the_files(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [SimpleNamespace(rfilename=name) for name in ("README.md", "model.gguf", "pytorch_model.bin")]
    monkeypatch.setattr(huggingface_hub, "model_info", lambda *_, **__: SimpleNamespace(siblings=files, sha=COMMIT))
    assert download("owner/name").endswith("model.gguf")
    error = hub_error("RemoteEntryNotFoundError")
    answer_with(monkeypatch, error, "hf_hub_download")
    message = r"^'owner/name' has no file 'x\.gguf'; it has README\.md, model\.gguf, pytorch_model\.bin$"
    with pytest.raises(santacoder.InvalidRequestError, match=message) as caught:
        download("owner/name", "x.gguf")
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("GatedRepoError", "the repository is gated: ask for access on its page and log in with 'hf auth login'"),
        ("RepositoryNotFoundError", "there is no such repository, or it is private: log in with 'hf auth login'"),
        ("RevisionNotFoundError", "there is no such branch, tag or commit"),
        ("HfHubHTTPError", "Something for url: x."),
    ],
)
def test_what_the_hub_refuses(cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str) -> None:
    error = hub_error(name)
    answer_with(monkeypatch, error, "model_info")
    with pytest.raises(OSError, match=r"^cannot get a model from 'a/b'") as caught:
        download("a/b")
    assert isinstance(caught.value, santacoder.HubError)
    assert str(caught.value) == f"cannot get a model from 'a/b': {reason}"
    assert caught.value.__cause__ is error
    assert download("owner/name").endswith("model.gguf")  # what is in the cache stays usable


@pytest.mark.parametrize("filename", [None, "m.gguf"])
def test_no_connection(cache: Path, monkeypatch: pytest.MonkeyPatch, filename: str | None) -> None:
    answer_with(monkeypatch, ConnectionError("no network"), "model_info", "hf_hub_download")
    with pytest.raises(santacoder.HubError, match=r"from 'a/b': the hub cannot be reached \(offline\?\)"):
        santacoder.from_pretrained("a/b", filename)


def test_malformed_name() -> None:
    with pytest.raises(santacoder.HubError, match="cannot get a model from 'a/b/c': Repo id must be"):
        download("a/b/c")


def test_offline_variable(cache: Path) -> None:
    """HF_HUB_OFFLINE and HF_HUB_CACHE are read by huggingface_hub when it is imported: a new process."""
    code = "from santacoder.sources.hub import download; print(download('owner/name', revision='v1'))"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith(f"{COMMIT}/model.gguf")
