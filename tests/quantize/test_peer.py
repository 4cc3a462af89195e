"""llama.cpp's quantiser on the same file: the same types, larger errors; and it reads what ours writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support import reference
from tests.support.gguf_builder import tiny_builder

pytest.importorskip("llama_cpp", exc_type=ImportError)

from bench.peers.llama_cpp_peer import LlamaCpp, quantize_file
from santacoder.gguf.reader import GGUFFile
from santacoder.quantize import quantize
from santacoder.quantize.mixes import MIXES

TEXT = "def f(x):\n    return x\n" * 40

pytestmark = pytest.mark.peer

#: Mixes that it has too and that change anything: its own F32, F16 and BF16 hold the same values.
NAMES = [name for name in MIXES if name.startswith("q")]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("peer") / "f16.gguf"
    builder = tiny_builder(layers=9, width=256, heads=4, hidden=512, context=64)
    path.write_bytes(builder.build())
    return path


@pytest.mark.parametrize("name", NAMES)
def test_types_and_errors(source: Path, tmp_path: Path, name: str) -> None:
    ours, theirs = tmp_path / "ours.gguf", tmp_path / "theirs.gguf"
    quantize(source, ours, name)
    quantize_file(source, theirs, MIXES[name].file_type)
    with GGUFFile.open(ours) as our_file, GGUFFile.open(theirs) as their_file:
        types = {key: info.type_name for key, info in our_file.tensors.items()}
        assert types == {key: info.type_name for key, info in their_file.tensors.items()}
        assert our_file.metadata["general.file_type"] == their_file.metadata["general.file_type"]
    exact, ours_read, theirs_read = (reference.load(path)[0] for path in (source, ours, theirs))
    for key, kind in types.items():
        our_error, their_error = (((read[key] - exact[key]) ** 2).sum() for read in (ours_read, theirs_read))
        assert our_error < 0.99 * their_error if kind.startswith("Q") else our_error == their_error == 0, key


@pytest.mark.parametrize("name", MIXES)
def test_it_reads_ours(source: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "ours.gguf"
    quantize(source, target, name, calibration=[TEXT])
    check_read(target)


def test_it_reads_a_file_of_a_given_size(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "ours.gguf"
    reports = quantize(source, target, size="2.7MB", calibration=[TEXT])
    assert len({report.target for report in reports}) > 3
    check_read(target)


def check_read(target: Path) -> None:
    """Its predictions are those of a float64 pass."""
    tokens = np.random.default_rng(0).integers(0, 250, 60).tolist()
    with LlamaCpp(target, threads=2, n_ctx=64) as model:
        logits = model.logits(tokens)
    weights, config = reference.load(target)
    assert reference.mean_kl(reference.forward(weights, config, tokens), logits) < 2e-3
