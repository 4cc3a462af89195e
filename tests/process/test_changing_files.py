"""Model files that change, are replaced or vanish while they are loaded or afterwards; numbers that overflow."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

import santacoder
from santacoder.gguf.reader import GGUFFile
from tests.support import malformed
from tests.support.paths import FILE

PROMPT = "def fib(n):"


def test_the_file_may_vanish_once_it_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(FILE.read_bytes())
    with santacoder.load(path, threads=2) as model:
        before = model.complete(PROMPT, max_tokens=5, seed=1).tokens
        os.truncate(path, 0)
        model._scheduler.forget()
        assert model.complete(PROMPT, max_tokens=5, seed=1).tokens == before
        path.unlink()
        model._scheduler.forget()
        assert model.complete(PROMPT, max_tokens=5, seed=1).tokens == before


def test_a_truncation_while_it_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some tensors were packed; the rest is not read."""
    path, release, calls = tmp_path / "m.gguf", GGUFFile.release, 0

    def releasing(file: GGUFFile, offset: int, part: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            os.truncate(path, 0)
        release(file, offset, part)

    path.write_bytes(FILE.read_bytes())
    monkeypatch.setattr(GGUFFile, "release", releasing)
    with pytest.raises(santacoder.ModelFormatError, match="the file was changed while it was read: try again"):
        santacoder.load(path, threads=1)
    assert calls == 5


def test_replaced_again_and_again_while_it_is_loaded(tmp_path: Path) -> None:
    """By renaming, as downloads and `atomic_file` do: what was opened is loaded."""
    path, done = tmp_path / "m.gguf", threading.Event()
    data = malformed.model().build()
    path.write_bytes(data)

    def replace() -> None:
        while not done.is_set():
            (tmp_path / "new").write_bytes(data)
            (tmp_path / "new").replace(path)

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        for _ in range(50):
            with santacoder.load(path, threads=1) as model:
                assert model.complete([0], max_tokens=1, ignore_eos=True).tokens
    finally:
        done.set()
        writer.join()


def test_activations_that_overflow(tmp_path: Path) -> None:
    """All weights are finite, the logits are not: an error, and no token."""
    out = malformed.model(weight_type="F32")
    norm = out.tensor("output_norm.weight")
    norm.data = np.full(8, 3e38, np.float32).tobytes()
    embedding = out.tensor("token_embd.weight")
    embedding.data = (np.frombuffer(embedding.data, np.float32) * np.float32(1e3)).tobytes()
    path = tmp_path / "m.gguf"
    path.write_bytes(out.build())
    with santacoder.load(path, threads=1) as model:
        assert not np.isfinite(model.logits([0, 1])).all()
        for options in ({"temperature": 0}, {"temperature": 1.0}, {"temperature": 1.0, "top_k": 3, "logprobs": 2}):
            with pytest.raises(santacoder.NumericalError, match="the logits of position 1 hold a NaN or an infinity"):
                model.complete([0], max_tokens=1, ignore_eos=True, **options)
        with pytest.raises(santacoder.NumericalError):
            model.score([0, 1])
        with pytest.raises(santacoder.NumericalError):
            model.complete_many([[0], [1]], n=2, max_tokens=1, ignore_eos=True)


def test_no_thread_to_load_with(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with santacoder.load(FILE, threads=1) as model:
        expected = model.complete(PROMPT, max_tokens=5, seed=1).tokens
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with santacoder.load(FILE, threads=1) as model:
        assert model.complete(PROMPT, max_tokens=5, seed=1).tokens == expected
