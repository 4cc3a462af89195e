"""`quantize --size`: at most the size, better than the mixes at the same bytes, and the same file everywhere."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from santacoder.cli import main
from santacoder.engine.isa import available
from santacoder.errors import InvalidRequestError
from santacoder.gguf.reader import GGUFFile
from santacoder.quantize import TensorReport, quantize
from santacoder.quantize.mixes import MIXES
from tests.support.floats_to_quantize import TEXT, builder, divergence
from tests.support.gguf_builder import GGUFBuilder


def write(path: Path, out: GGUFBuilder) -> Path:
    path.write_bytes(out.build())
    return path


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights with heavy tails (Student's t with 4 degrees of freedom)."""
    rng, out = np.random.default_rng(1), builder(layers=9)
    for tensor in out.tensors:
        if len(tensor.dims) == 2:
            tensor.data = (0.02 * rng.standard_t(4, tensor.dims)).astype("<f4").tobytes()
    return write(tmp_path_factory.mktemp("heavy") / "f32.gguf", out)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs that are not alike, so that some matrices matter more than others."""
    rng, out = np.random.default_rng(0), builder()
    for tensor in out.tensors:
        if "_norm.weight" in str(tensor.name):
            tensor.data = np.exp(0.7 * rng.standard_normal(256)).astype("<f4").tobytes()
        elif "_norm.bias" in str(tensor.name):
            tensor.data = rng.standard_normal(256).astype("<f4").tobytes()
    return write(tmp_path_factory.mktemp("uneven") / "f32.gguf", out)


def squared_error(reports: list[TensorReport], source: Path) -> float:
    with GGUFFile.open(source) as file:
        squares = {
            name: float((file.data(info).view("<f4").astype(np.float64) ** 2).sum())
            for name, info in file.tensors.items()
        }
    return math.fsum(report.relative_error**2 * squares[report.name] for report in reports)


@pytest.mark.parametrize(("mix", "most"), [("q4_k_s", 0.99), ("q4_k_m", 0.75), ("q5_k_m", 1.005)])
def test_squared_error_beside_the_mix(heavy: Path, tmp_path: Path, mix: str, most: float) -> None:
    """Where all weights are alike, only mixes that go from Q4_K to Q6_K leave something to gain."""
    target = tmp_path / "mix.gguf"
    fixed = squared_error(quantize(heavy, target, mix), heavy)
    size = target.stat().st_size
    reports = quantize(heavy, tmp_path / "sized.gguf", size=size)
    assert 0.98 * size < (tmp_path / "sized.gguf").stat().st_size <= size
    assert squared_error(reports, heavy) <= most * fixed


@pytest.mark.parametrize("mix", ["q4_k_s", "q4_k_m", "q5_k_m"])
def test_divergence_beside_the_mix(uneven: Path, tmp_path: Path, mix: str) -> None:
    """On a text that was not calibrated on."""
    mixed, sized = tmp_path / "mix.gguf", tmp_path / "sized.gguf"
    quantize(uneven, mixed, mix, calibration=[TEXT])
    quantize(uneven, sized, size=mixed.stat().st_size, calibration=[TEXT])
    assert sized.stat().st_size <= mixed.stat().st_size
    assert divergence(sized, uneven) < 0.8 * divergence(mixed, uneven)


def test_every_size(heavy: Path, tmp_path: Path) -> None:
    """From all Q4_K to all Q8_0, each within the size and named as llama.cpp names what most weights have."""
    with pytest.raises(InvalidRequestError) as refused:
        quantize(heavy, tmp_path / "out.gguf", size=1)
    least, most = map(int, re.findall(r"\d+(?=\.\.)|(?<=\.\.)\d+", str(refused.value)))
    seen = []
    for size in np.linspace(least, most, 6).astype(int).tolist():
        target = tmp_path / f"{size}.gguf"
        reports = quantize(heavy, target, size=size)
        assert size - 70_000 < target.stat().st_size <= size  # the largest step is a matrix of 512 x 256
        with GGUFFile.open(target) as file:
            seen.append(file.metadata["general.file_type"])
        assert {r.target for r in reports} <= {"F32", "Q4_K", "Q5_K", "Q6_K", "Q8_0"}
        if size in (least, most):
            assert target.stat().st_size == size
            assert {r.target for r in reports} == {"F32", "Q4_K" if size == least else "Q8_0"}
    assert (seen[0], seen[-1]) == (MIXES["q4_k_m"].file_type, MIXES["q8_0"].file_type)
    assert set(seen) <= {15, 17, 18, 7}


@pytest.mark.parametrize("calibration", [[], [TEXT]], ids=["plain", "calibrated"])
def test_the_same_bytes(uneven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calibration: list[str]) -> None:
    files = set()
    fast = available()[-2:]  # plain C takes half a minute to calibrate
    for isa, threads in [*((isa, 2) for isa in (fast if calibration else available())), (fast[-1], 1)]:
        monkeypatch.setenv("SANTACODER_ISA", isa)
        target = tmp_path / f"{isa}{threads}.gguf"
        quantize(uneven, target, size="1MB", calibration=calibration, threads=threads)
        files.add(target.read_bytes())
    assert len(files) == 1


@pytest.mark.parametrize(("width", "kinds"), [(96, {"Q8_0"}), (48, {"F16"})])
def test_rows_that_do_not_divide_into_blocks(tmp_path: Path, width: int, kinds: set[str]) -> None:
    source = write(tmp_path / "in.gguf", builder(width=width, heads=2, weight_type="F16"))
    with pytest.raises(InvalidRequestError, match=r"\d+\.\.\d+ bytes") as refused:
        quantize(source, tmp_path / "out.gguf", size="1B")
    [size] = re.findall(r" in (\d+)\.\.", str(refused.value))
    for calibration in ([], [TEXT]):
        wanted = int(size) + 10_000 * len(calibration)
        found = quantize(source, tmp_path / "out.gguf", size=wanted, calibration=calibration, force=True)
        reports = {report.name: report for report in found}
        assert {reports[f"blk.{i}.ffn_up.weight"].target for i in range(3)} == kinds
        assert reports["blk.0.ffn_down.weight"].target.startswith("Q")


class TestBadInput:
    @pytest.mark.parametrize("size", ["1KB", "1GB", 1, 10**12])
    @pytest.mark.parametrize("calibration", [[], [TEXT]], ids=["plain", "calibrated"])
    def test_out_of_range(self, heavy: Path, tmp_path: Path, size: Any, calibration: list[str]) -> None:
        """Refused with the range, before any text is read."""
        read: list[int] = []
        match = r"^size is .*, but it must be in \d+\.\.\d+ bytes \(\d\.\d to \d\.\d MB\) for this model$"
        with pytest.raises(InvalidRequestError, match=match):
            quantize(
                heavy, tmp_path / "out.gguf", size=size, calibration=calibration,
                progress=read.append, calibration_progress=read.append,
            )  # fmt: skip
        assert not read
        assert not list(tmp_path.iterdir())

    def test_a_type_too(self, heavy: Path, tmp_path: Path) -> None:
        match = "^type is 'q4_k_m' and size is '3MB', but only one of them can be given$"
        with pytest.raises(InvalidRequestError, match=match):
            quantize(heavy, tmp_path / "out.gguf", "q4_k_m", size="3MB")

    def test_command(self, uneven: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        target, text = tmp_path / "out.gguf", tmp_path / "code.py"
        text.write_text(TEXT, "utf-8")
        command = ["quantize", str(uneven), str(target), "--calibrate", str(text), "--size"]
        for arguments, words in (
            ([*command, "9GB"], "size is '9GB', but it must be in "),
            ([*command, "much"], "size is 'much', but it must be bytes, or a number with KB, MB, GB, KiB, MiB or GiB"),
            ([*command, "1MB", "--type", "q6_k"], "type is 'q6_k' and size is '1MB', but only one of them"),
        ):
            assert main(arguments) == 1
            message = capsys.readouterr().err
            assert words in message
            assert message.count("\n") == 1
            assert not target.exists()
        assert main([*command, "1MB"]) == 0
        quantize(uneven, tmp_path / "again.gguf", size=10**6, calibration=[TEXT])
        assert target.read_bytes() == (tmp_path / "again.gguf").read_bytes()
