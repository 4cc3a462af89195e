"""Another library's rounding mode or flush-to-zero: results stay the same, and so does the other library's setting."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import santacoder
from santacoder._native import ffi, lib
from santacoder.engine.isa import active
from santacoder.quantize import quantize
from tests.support import checkpoint_builder
from tests.support.gguf_builder import tiny_builder
from tests.support.paths import FILE
from tests.support.samples import CODE

FENV_BYTES, MXCSR = 32, 28  # the size of glibc's fenv_t on x86-64, and where MXCSR lies in it
MASKS = 0x1F80  # of MXCSR: no exception ends the program, which holds for every program that does not ask for it


def known_environment() -> bool:
    """Whether the C library's fenv_t is that one: others have no masks in that place."""
    try:
        libm = ctypes.CDLL("libm.so.6")
    except OSError:
        return False
    fenv = ctypes.create_string_buffer(256)
    return bool(libm.fegetenv(fenv) == 0 and struct.unpack_from("<I", fenv, MXCSR)[0] & MASKS == MASKS)


pytestmark = pytest.mark.skipif(not known_environment(), reason="this C library has another fenv_t")
STATES = {
    "flush to zero": MASKS | 0x8040,
    "round down": MASKS | 0x2000,
    "round up": MASKS | 0x4000,
    "round to zero, flush to zero": MASKS | 0x6000 | 0x8040,
}


@contextmanager
def fpenv_of(mxcsr: int) -> Iterator[None]:
    """Set this thread's control register as a careless library does."""
    libm = ctypes.CDLL("libm.so.6")
    before = ctypes.create_string_buffer(FENV_BYTES)
    libm.fegetenv(before)
    changed = ctypes.create_string_buffer(before.raw, FENV_BYTES)
    changed[MXCSR : MXCSR + 4] = struct.pack("<I", mxcsr)  # type: ignore[call-overload]
    libm.fesetenv(changed)
    try:
        yield
        libm.fegetenv(changed)
        assert struct.unpack_from("<I", changed, MXCSR)[0] & ~0x3F == mxcsr & ~0x3F  # the low bits are flags
    finally:
        libm.fesetenv(before)


def foreign_model(folder: Path) -> Path:
    """A model in a type without a kernel: NumPy turns it into floats at load."""
    builder = tiny_builder(width=64, heads=4, weight_type="F32", context=64)
    for tensor in builder.tensors:
        if len(tensor.dims) == 2 and "position" not in str(tensor.name):
            values = np.frombuffer(tensor.data, np.float32).reshape(tensor.dims[::-1])
            tensor.data = gguf.quants.quantize(values, gguf.GGMLQuantizationType.MXFP4).tobytes()
            tensor.kind = int(gguf.GGMLQuantizationType.MXFP4)
    path = folder / "mxfp4.gguf"
    path.write_bytes(builder.build())
    return path


def results(path: Path) -> list[Any]:
    """Everything that a model computes, on newly started threads."""
    options: dict[str, Any] = {
        "max_tokens": 12, "temperature": 0.7, "top_p": 0.9, "top_k": 50, "min_p": 0.01, "seed": 3, "ignore_eos": True,
        "repetition_penalty": 1.1, "frequency_penalty": 0.3, "presence_penalty": 0.1, "logit_bias": {3: 0.1},
    }  # fmt: skip
    prompt = CODE[:20]
    with santacoder.load(path, threads=2) as model:
        sampled = model.complete(prompt, logprobs=3, **options)
        greedy = model.complete(prompt, temperature=0, max_tokens=12, ignore_eos=True)
        score = model.score(prompt)
        return [
            sampled.tokens,
            sampled.logprobs,
            greedy.tokens,
            score.logprobs,
            score.total,
            model.logits(prompt).tobytes(),
        ]


@pytest.mark.filterwarnings("ignore:.*was rounded to Q8_0")
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("kind", ["Q4_K_M", "MXFP4"])
def test_results_do_not_follow(tmp_path: Path, state: str, kind: str) -> None:
    path = FILE if kind == "Q4_K_M" else foreign_model(tmp_path)
    expected = results(path)
    with fpenv_of(STATES[state]):
        found = results(path)
    assert found == expected


@pytest.mark.parametrize("state", STATES)
def test_files_do_not_follow(tmp_path: Path, state: str) -> None:
    source = tmp_path / "f32.gguf"
    source.write_bytes(tiny_builder(width=256, heads=4, hidden=256, weight_type="F32", context=64).build())
    quantize(source, tmp_path / "expected.gguf", calibration=[CODE * 20], threads=2)
    with fpenv_of(STATES[state]):
        quantize(source, tmp_path / "found.gguf", calibration=[CODE * 20], threads=2)
    assert (tmp_path / "found.gguf").read_bytes() == (tmp_path / "expected.gguf").read_bytes()


def test_conversions_do_not_follow(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    folder = checkpoint_builder.write_checkpoint(tmp_path / "c", changes={"layer_norm_epsilon": 1.1e-5})
    santacoder.convert(folder, tmp_path / "expected.gguf", "q8_0")
    with fpenv_of(STATES["round up"]):
        santacoder.convert(folder, tmp_path / "found.gguf", "q8_0")
    assert (tmp_path / "found.gguf").read_bytes() == (tmp_path / "expected.gguf").read_bytes()


def test_the_largest_of_tiny_logits_does_not_follow() -> None:
    logits = np.array([1e-41, 2e-41, 0], dtype=np.float32)  # subnormal
    with fpenv_of(STATES["flush to zero"]):
        assert lib.sc_argmax(active(), ffi.from_buffer("float[]", logits), 3) == 1


def test_the_states_are_real() -> None:
    tenth, least = np.float32(0.1), np.finfo(np.float32).tiny
    with fpenv_of(STATES["round up"]):
        up = tenth / np.float32(3)
    with fpenv_of(STATES["round down"]):
        down = tenth / np.float32(3)
    with fpenv_of(STATES["flush to zero"]):
        flushed = least / np.float32(2)
    assert up > down
    assert flushed == 0 < least / np.float32(2)
