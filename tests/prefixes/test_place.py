"""Where the prefix cache is, and what cannot be one."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import santacoder
from santacoder.errors import InvalidRequestError
from santacoder.hf import AutoModelForCausalLM
from santacoder.prefixes import place as module
from santacoder.prefixes.listing import stored_models
from santacoder.prefixes.place import DEFAULT_BYTES, VARIABLE, PrefixPlace, find_place, prefix_folder
from tests.support.paths import FILE
from tests.support.stored_blocks import block_paths

PROMPT = list(range(100, 100 + 130))


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("SANTACODER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prefixes"


def refused(prefix_cache: Any = None, prefix_cache_bytes: Any = None) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        santacoder.load(FILE, 1, prefix_cache=prefix_cache, prefix_cache_bytes=prefix_cache_bytes)
    return str(caught.value)


class TestFound:
    def test_arguments(self, usual: Path, folder: Path) -> None:
        assert (find_place(), find_place(False), find_place(None, 5)) == (None, None, None)
        assert not usual.exists()
        assert find_place(True) == PrefixPlace(usual, DEFAULT_BYTES)
        assert find_place(str(folder), 5) == find_place(folder, 5) == PrefixPlace(folder, 5)
        assert [*usual.iterdir(), *folder.iterdir()] == []
        assert folder.stat().st_mode & 0o777 == 0o700

    def test_the_hubs_cache(self, usual: Path, tmp_path: Path, folder: Path) -> None:
        assert find_place(True, cache_dir=tmp_path / "hub") == PrefixPlace(
            tmp_path / "hub" / "santacoder" / "prefixes", DEFAULT_BYTES
        )
        assert find_place(folder, cache_dir=tmp_path / "hub") == PrefixPlace(folder, DEFAULT_BYTES)

    def test_the_variable(self, usual: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for value, expected in {"": None, "0": None, "1": usual, str(folder): folder}.items():
            monkeypatch.setenv(VARIABLE, value)
            found = find_place()
            assert (found and found.folder) == expected, value
            assert find_place(False) is None
        assert find_place(True) == PrefixPlace(folder, DEFAULT_BYTES)
        assert find_place(folder / "other") == PrefixPlace(folder / "other", DEFAULT_BYTES)
        assert prefix_folder() == folder

    def test_relative_folders(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert find_place("a/b") == PrefixPlace(tmp_path / "a" / "b", DEFAULT_BYTES)


class TestRefused:
    def test_types_and_numbers(self) -> None:
        limit = "but it must be True, False, None or the path of a folder"
        for value in (1, 0, "", b"x", 1.5, ["a"]):
            assert refused(value) == f"prefix_cache is {value!r}, {limit}"
        for number in (0, -1, True, 1.5, "2"):
            told = "but it must be an integer of 1 or more"
            assert refused(False, number) == f"prefix_cache_bytes is {number!r}, {told}"

    def test_a_limit_that_holds_no_block(self, folder: Path) -> None:
        assert refused(folder, 1000) == "prefix_cache_bytes is 1000, but one block of this model takes 32832"

    def test_places(self, tmp_path: Path, folder: Path) -> None:
        file, link = tmp_path / "file", tmp_path / "link"
        file.write_bytes(b"x")
        folder.mkdir()
        link.symlink_to(folder)
        assert refused(file) == f"prefix_cache is {str(file)!r}, but it is not a folder"
        assert refused(link) == f"prefix_cache is {str(link)!r}, but it is a link: name the folder itself"
        inside = file / "inside"
        told = f"prefix_cache is {str(inside)!r}, but this user cannot write there: {os.strerror(errno.ENOTDIR)}"
        assert refused(inside) == told
        assert refused("a\0b") == "prefix_cache is 'a\\x00b', but no path is like that"
        assert (file.read_bytes(), [*folder.iterdir()]) == (b"x", [])

    def test_another_users(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir()
        mine = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
        assert refused(folder) == f"prefix_cache is {str(folder)!r}, but it belongs to another user, {mine}"
        assert [*folder.iterdir()] == []

    @pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
    def test_unwritable(self, folder: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Root may write anywhere, so the system's answer is made up."""

        def refuse(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(module, "write_private", refuse)
        told = f"prefix_cache is {str(folder)!r}, but this user cannot write there: {os.strerror(number)}"
        assert refused(folder) == told

    def test_systems_that_lack_what_it_takes(self, usual: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "O_NOFOLLOW")
        lacks = "but a prefix cache needs O_NOFOLLOW, which this system lacks"
        assert refused(folder) == f"prefix_cache is {str(folder)!r}, {lacks}"
        assert refused(True) == f"prefix_cache is True, in {str(usual)!r}, {lacks}"
        assert list(stored_models()) == []
        assert not folder.exists()

    def test_users_without_a_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail() -> Path:
            raise RuntimeError("Could not determine home directory.")

        for name in ("SANTACODER_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(Path, "home", fail)
        assert find_place() is None
        assert refused(True) == "prefix_cache is True, but this user has no home folder: name a folder"

    def test_the_variable_is_named(self, usual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "file"
        file.write_bytes(b"")
        monkeypatch.setenv(VARIABLE, str(file))
        assert refused() == f"{VARIABLE} is {str(file)!r}, but it is not a folder"
        usual.parent.mkdir()
        usual.write_bytes(b"")
        monkeypatch.setenv(VARIABLE, "1")
        assert refused() == f"{VARIABLE} is '1', in {str(usual)!r}, but it is not a folder"


class TestModels:
    """Every way to load one."""

    def test_load(self, folder: Path) -> None:
        asked: dict[str, Any] = {"max_tokens": 8, "temperature": 1.0, "seed": 3}
        with santacoder.load(FILE, 1) as model:
            expected = model.complete(PROMPT, **asked)
        for found in (0, 128):
            with santacoder.load(FILE, 1, prefix_cache=folder) as model:
                completion = model.complete(PROMPT, **asked)
                assert (completion.tokens, completion.text) == (expected.tokens, expected.text)
                assert completion.timings.cached_tokens == found
        assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o600}
        assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_dir()} == {0o700}
        assert len(block_paths(folder)) == 2

    def test_the_variable_counts_everywhere(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        loads: list[Any] = [
            lambda: santacoder.load(FILE, 1),
            lambda: santacoder.SantaCoder.load(FILE, 1),
            lambda: santacoder.from_pretrained(FILE, threads=1),
        ]
        monkeypatch.setenv(VARIABLE, str(folder))
        for number, load in enumerate(loads):
            with load() as model:
                model.complete([number, *PROMPT], max_tokens=1)
            assert len(block_paths(folder)) == 2 * number + 2
        with santacoder.load(FILE, 1, prefix_cache=False) as model:
            model.complete([99, *PROMPT], max_tokens=1)
        assert len(block_paths(folder)) == 2 * len(loads)
        hf = AutoModelForCausalLM.from_pretrained(str(FILE), threads=1)
        hf.generate(np.array([[98, *PROMPT]]), max_new_tokens=1, do_sample=False)
        hf.engine.close()
        assert len(block_paths(folder)) == 2 * len(loads) + 2
