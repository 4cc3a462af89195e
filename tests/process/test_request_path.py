"""The way of a request from the command line to the kernels: short, and nothing on it is done twice."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import santacoder
from santacoder._native import lib
from santacoder.cli import main
from santacoder.decoding.options import SamplingParams
from santacoder.engine import transformer
from santacoder.text.tokenizer import Tokenizer
from tests.support.paths import FILE

PACKAGE = str(Path(santacoder.__file__).parent)
MOST_FRAMES = 8


class WatchedLibrary:
    """The kernels; each call of `sc_run` calls `watch` with the frame of the caller and the batch."""

    def __init__(self, library: Any, watch: Any) -> None:
        self._library, self._watch = library, watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def sc_run(self, engine: Any, ops: Any, n: int, batch: Any) -> None:
        self._watch(sys._getframe(1), batch)
        self._library.sc_run(engine, ops, n, batch)


def package_frames(frame: FrameType | None) -> list[str]:
    """The names of the package's functions from `frame` outward."""
    names = []
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names


def test_few_frames_stand_between_the_command_and_the_kernels(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stacks: list[list[str]] = []
    library = WatchedLibrary(lib, lambda frame, _: stacks.append(package_frames(frame)))
    monkeypatch.setattr(transformer, "lib", library)
    assert main(["complete", "-m", str(FILE), "-n", "2", "--ignore-eos", "a"]) == 0
    assert stacks
    for stack in stacks:
        assert (stack[0], stack[-1]) == ("_run", "main")
        assert len(stack) <= MOST_FRAMES, stack


def test_ids_are_converted_once(model: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a list to an array of int32, in the first function that gets them; after that only copied or read."""
    prompt = [5 + i % 90 for i in range(97)]  # of a length that nothing else has
    conversions: list[str] = []

    def counted(name: str) -> Any:
        function = getattr(np, name)

        def convert(first: Any, *arguments: Any, **options: Any) -> Any:
            result = function(first, *arguments, **options)
            same = isinstance(first, np.ndarray) and first.dtype == result.dtype
            if result.size >= len(prompt) and np.array_equal(result[: len(prompt)], prompt) and not same:
                conversions.append(name)
            return result

        return convert

    tokens: list[list[int]] = []

    def watch(_: FrameType, batch: Any) -> None:
        tokens.append([batch.tokens[row] for row in range(batch.rows)])

    monkeypatch.setattr(transformer, "lib", WatchedLibrary(lib, watch))
    for name in ("array", "asarray", "ascontiguousarray", "fromiter", "frombuffer"):
        monkeypatch.setattr(np, name, counted(name))
    model._scheduler.forget()
    found = model.complete(prompt, max_tokens=3, temperature=0, ignore_eos=True, lookup=False)
    assert tokens[0] == prompt
    assert tokens[1:] == [[token] for token in found.tokens[:2]]
    assert conversions == ["array"]


def test_a_prompt_is_encoded_and_checked_once(model: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, check = Tokenizer.encode_to_cut, SamplingParams.__post_init__
    counts = {"encoded": 0, "checked": 0}

    def counted_encode(self: Tokenizer, *arguments: Any, **options: Any) -> tuple[list[int], int]:
        counts["encoded"] += 1
        return encode(self, *arguments, **options)

    def counted_check(self: SamplingParams) -> None:
        counts["checked"] += 1
        check(self)

    monkeypatch.setattr(Tokenizer, "encode_to_cut", counted_encode)
    monkeypatch.setattr(SamplingParams, "__post_init__", counted_check)
    [samples] = model.complete_many(["def f(x):\n"], n=200, max_tokens=1, seed=1)
    assert len(samples) == 200
    assert counts == {"encoded": 1, "checked": 1}
