"""The sampling options that a model's file recommends: what is read, what is ignored, and who keeps to them."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest

import santacoder
from santacoder.gguf.sampling_defaults import read_sampling_defaults
from tests.support.command_line import run_here
from tests.support.gguf_builder import F64, I32, scalar, tiny_builder

PREFIX = "general.sampling."
RECOMMENDED: dict[str, Any] = {"temperature": 1.5, "top_k": 9, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.25}
METADATA = {
    PREFIX + key: value
    for key, value in (("temp", 1.5), ("top_k", 9), ("top_p", 0.9), ("min_p", 0.01), ("penalty_repeat", 1.25))
}
PROMPT = "ab"
FEW = ("-n", "6", "--ignore-eos", "--seed", "4")


def written(folder: Path, **keys: Any) -> Path:
    path = folder / "m.gguf"
    path.write_bytes(tiny_builder(metadata={**METADATA, **keys}).build())
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A model whose file recommends RECOMMENDED."""
    return written(tmp_path)


def by_library(path: Path, prompt: str = PROMPT, **options: Any) -> str:
    with santacoder.load(path, threads=1) as model:
        return model.complete(prompt, max_tokens=6, ignore_eos=True, seed=4, **options).text


class TestRead:
    """Reading the metadata."""

    def test_as_decimals(self, path: Path) -> None:
        with santacoder.load(path, threads=1) as model:
            assert model.config.sampling_defaults == RECOMMENDED

    def test_other_types_of_numbers(self, tmp_path: Path) -> None:
        numbers = {PREFIX + "temp": 2, PREFIX + "top_k": scalar(I32, 0), PREFIX + "top_p": scalar(F64, 0.1)}
        with santacoder.load(written(tmp_path, **numbers), threads=1) as model:
            found = model.config.sampling_defaults
        assert (found["temperature"], found["top_k"], found["top_p"]) == (2, 0, 0.1)

    def test_nothing(self) -> None:
        assert read_sampling_defaults({"general.name": "x", PREFIX + "mirostat": 1}) == {}

    @pytest.mark.parametrize(("key", "value", "message"), [
        ("temp", "hot", "general.sampling.temp is 'hot', but it must be a number in 0..100; it is ignored"),
        ("temp", True, "general.sampling.temp is True, but it must be a number in 0..100; it is ignored"),
        ("temp", -0.5, "general.sampling.temp is -0.5, but it must be a number in 0..100; it is ignored"),
        ("temp", math.nan, "general.sampling.temp is nan, but it must be a number in 0..100; it is ignored"),
        ("top_k", 1.5, "general.sampling.top_k is 1.5, but it must be an integer in 0..2147483647; it is ignored"),
        ("top_k", -1, "general.sampling.top_k is -1, but it must be an integer in 0..2147483647; it is ignored"),
        ("top_p", 1.01, "general.sampling.top_p is 1.01, but it must be a number in 0..1; it is ignored"),
        ("min_p", [1], "general.sampling.min_p is [1], but it must be a number in 0..1; it is ignored"),
        ("penalty_repeat", 0.0,
         "general.sampling.penalty_repeat is 0.0, but it must be a number in 0.01..100; it is ignored"),
    ])  # fmt: skip
    def test_what_is_wrong_is_ignored(self, key: str, value: object, message: str) -> None:
        with pytest.warns(UserWarning, match=r"it is ignored$") as caught:
            found = read_sampling_defaults({PREFIX + "temp": 0.5, PREFIX + "top_p": 0.5, PREFIX + key: value})
        assert [str(warning.message) for warning in caught] == [message]
        valid = {"temp": "temperature", "top_p": "top_p"}
        assert found == {name: 0.5 for other, name in valid.items() if other != key}


class TestWhoKeepsToThem:
    """The command line does where its caller says nothing; the library does not."""

    def test_complete(self, path: Path) -> None:
        assert run_here("complete", PROMPT, *FEW, model=path)[1].decode() == by_library(path, **RECOMMENDED)

    def test_infill(self, path: Path) -> None:
        outcome = run_here("infill", "--prefix", "a", "--suffix", "b", *FEW, model=path)
        with santacoder.load(path, threads=1) as model:
            options: dict[str, Any] = {"max_tokens": 6, "ignore_eos": True, "seed": 4}
            expected = model.infill("a", "b", **options, **RECOMMENDED).text
        assert outcome[1].decode().removesuffix("\n") == expected.removesuffix("\n")

    def test_a_flag_comes_first(self, path: Path) -> None:
        flags = ("--temperature", "0", "--repetition-penalty", "1")
        options = {**RECOMMENDED, "temperature": 0, "repetition_penalty": 1}
        assert run_here("complete", PROMPT, *FEW, *flags, model=path)[1].decode() == by_library(path, **options)

    def test_a_line_of_prompts_comes_first(self, path: Path, tmp_path: Path) -> None:
        rows: list[dict[str, Any]] = [{"prompt": PROMPT}, {"prompt": PROMPT, "temperature": 3.0}]
        (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        outcome = run_here("complete", "--prompts", str(tmp_path / "p.jsonl"), *FEW, model=path)
        texts = {line["index"]: line["text"] for line in map(json.loads, outcome[1].splitlines())}
        hotter = by_library(path, **{**RECOMMENDED, "temperature": 3.0})
        assert texts == {0: by_library(path, **RECOMMENDED), 1: hotter}

    def test_the_library_does_not(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        other = tmp_path / "other" / "m.gguf"
        other.write_bytes(tiny_builder().build())
        assert by_library(path) == by_library(other)

    def test_info_shows_them(self, path: Path) -> None:
        lines = run_here("info", model=path)[1].decode().splitlines()
        shown = "temperature 1.5, top_k 9, top_p 0.9, min_p 0.01, repetition_penalty 1.25"
        assert f"sampling defaults    {shown}" in lines
        assert json.loads(run_here("info", "--json", model=path)[1])["sampling_defaults"] == RECOMMENDED

    def test_the_warning_is_one_line(self, tmp_path: Path) -> None:
        outcome = run_here("complete", PROMPT, *FEW, model=written(tmp_path, **{PREFIX + "temp": "hot"}))
        message = "general.sampling.temp is 'hot', but it must be a number in 0..100; it is ignored"
        assert (outcome[0], outcome[2]) == (0, f"santacoder: warning: {message}\n")


def test_a_file_without_them_warns_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(tiny_builder().build())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with santacoder.load(path, threads=1) as model:
            assert model.config.sampling_defaults == {}
