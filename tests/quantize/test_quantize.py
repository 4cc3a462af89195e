"""`quantize`: from a file of floats to one of fewer bits, with and without texts to calibrate on; bad input."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from santacoder.cli import main
from santacoder.errors import InvalidRequestError, ModelFormatError, NumericalError
from santacoder.gguf.reader import GGUFFile
from santacoder.quantize import quantize
from santacoder.quantize.mixes import MIXES
from tests.support.floats_to_quantize import TEXT, builder, divergence

#: Mean KL from the model of floats, at most: a third above what was measured.
LARGEST_KL = {
    "f32": 0.0, "f16": 8e-7, "bf16": 4e-5, "q8_0": 3.6e-4, "q6_k": 5e-3, "q5_k_m": 1.36e-2, "q5_k_s": 1.25e-2,
    "q4_k_m": 5.8e-2, "q4_k_s": 6.3e-2, "q4_0": 1.14e-1, "q3_k_m": 7.6e-2,
}  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of F32 whose columns are not alike: norms that make some inputs large, and means that are not 0."""
    rng = np.random.default_rng(0)
    out = builder(metadata={"general.tags": ["code", "é"], "x.flag": True, "x.number": 2**31, "x.ratio": 0.5})
    for tensor in out.tensors:
        if "_norm.weight" in str(tensor.name):
            tensor.data = np.exp(0.7 * rng.standard_normal(256)).astype("<f4").tobytes()
        elif "_norm.bias" in str(tensor.name):
            tensor.data = rng.standard_normal(256).astype("<f4").tobytes()
    path = tmp_path_factory.mktemp("source") / "f32.gguf"
    path.write_bytes(out.build())
    return path


@pytest.mark.parametrize("mix", MIXES)
def test_each_type(source: Path, tmp_path: Path, mix: str) -> None:
    target = tmp_path / "out.gguf"
    read: list[int] = []
    reports = quantize(source, target, mix.upper(), threads=2, progress=read.append)
    assert divergence(target, source) <= LARGEST_KL[mix]
    with GGUFFile.open(source) as before, GGUFFile.open(target) as after:
        assert sum(read) == sum(info.n_bytes for info in before.tensors.values())
        assert [(r.name, r.shape, r.source, r.target, r.n_bytes) for r in reports] == [
            (info.name, info.shape, "F32", info.type_name, info.n_bytes) for info in after.tensors.values()
        ]
        assert all((r.relative_error > 0) == (r.target != "F32") for r in reports)
        assert after.metadata.pop("general.file_type") == MIXES[mix].file_type
        assert after.metadata.pop("general.quantization_version") == 2
        assert after.metadata.keys() == before.metadata.keys()
        for key, value in before.metadata.items():
            assert after.metadata.kinds[key] == before.metadata.kinds[key], key
            assert np.array_equal(after.metadata[key], value), key


def test_again_gives_the_same_bytes(source: Path, tmp_path: Path) -> None:
    for threads in (1, 3):
        quantize(source, tmp_path / f"{threads}.gguf", threads=threads, calibration=[TEXT])
    assert (tmp_path / "1.gguf").read_bytes() == (tmp_path / "3.gguf").read_bytes()


@pytest.mark.parametrize("mix", ["q4_k_m", "q5_k_s", "q6_k", "q8_0"])
def test_calibration(source: Path, tmp_path: Path, mix: str) -> None:
    """On a text of the same kind but with other tokens the divergence falls."""
    read: list[int] = []
    quantize(source, tmp_path / "plain.gguf", mix)
    quantize(source, tmp_path / "careful.gguf", mix, calibration=[TEXT, TEXT[:50]], calibration_progress=read.append)
    assert sum(read) == len(TEXT) + 50
    assert divergence(tmp_path / "careful.gguf", source) < 0.9 * divergence(tmp_path / "plain.gguf", source)


@pytest.mark.parametrize("kind", ["F16", "BF16"])
def test_narrow_sources(tmp_path: Path, kind: str) -> None:
    source, target = tmp_path / "in.gguf", tmp_path / "out.gguf"
    source.write_bytes(builder(weight_type=kind, tied=False).build())
    quantize(source, target, "q6_k")
    assert divergence(target, source) <= LARGEST_KL["q6_k"]
    quantize(source, target, "q6_k", calibration=[TEXT], force=True)
    assert divergence(target, source) <= LARGEST_KL["q6_k"]


class TestBadInput:
    def refuse(
        self, error: type[Exception], match: str, source: Path, target: Path, *args: Any, **options: Any
    ) -> None:
        names = sorted(target.parent.iterdir())
        with pytest.raises(error, match=match):
            quantize(source, target, *args, **options)
        assert sorted(target.parent.iterdir()) == names

    def test_unknown_type(self, source: Path, tmp_path: Path) -> None:
        self.refuse(InvalidRequestError, "the type is 'q9', but", source, tmp_path / "out.gguf", "q9")

    @pytest.mark.parametrize("calibration", [TEXT, [TEXT, 1]])
    def test_calibration_that_is_no_list_of_texts(self, source: Path, tmp_path: Path, calibration: Any) -> None:
        match = r"^calibration is .*, but it must be a list of texts$"
        self.refuse(InvalidRequestError, match, source, tmp_path / "out.gguf", calibration=calibration)

    def test_quantised_already(self, tmp_path: Path) -> None:
        source = tmp_path / "in.gguf"
        source.write_bytes(builder(weight_type="Q4_K", embedding_type="F16").build())
        match = r"in\.gguf: tensor blk\.0\.attn_qkv\.weight is Q4_K already: start from F32, F16 or BF16$"
        self.refuse(InvalidRequestError, match, source, tmp_path / "out.gguf")

    def test_an_existing_file(self, source: Path, tmp_path: Path) -> None:
        target = tmp_path / "out.gguf"
        target.write_bytes(b"precious")
        self.refuse(FileExistsError, "force", source, target)
        assert target.read_bytes() == b"precious"
        quantize(source, target, force=True)
        assert target.read_bytes()[:4] == b"GGUF"

    @pytest.mark.parametrize("force", [False, True])
    @pytest.mark.parametrize("name", ["model.gguf", "../here/model.gguf", "link", "again"])
    def test_the_source_itself(self, source: Path, tmp_path: Path, name: str, force: bool) -> None:
        """Under whatever name, and from either end."""
        path, target = tmp_path / "here" / "model.gguf", tmp_path / "here" / name
        path.parent.mkdir()
        path.write_bytes(source.read_bytes())
        if name == "link":
            target.symlink_to("model.gguf")
        elif name == "again":
            target.hardlink_to(path)
        for one, other in ((path, target), (target, path)):
            match = f"^{re.escape(f'{other} is a file that is read ({one}): name another to write')}$"
            self.refuse(InvalidRequestError, match, one, other, "q8_0", force=force)
            assert path.read_bytes() == source.read_bytes()

    def test_a_target_that_becomes_the_source(self, source: Path, tmp_path: Path) -> None:
        """While the model is rounded."""
        target = tmp_path / "out.gguf"

        def change(_: int) -> None:
            if not target.is_symlink():
                target.symlink_to(source)

        before = source.read_bytes()
        with pytest.raises(InvalidRequestError, match=r"out\.gguf is a file that is read"):
            quantize(source, target, force=True, progress=change)
        assert source.read_bytes() == before
        assert list(tmp_path.iterdir()) == [target]

    @pytest.mark.parametrize("number", [1, 40])
    def test_a_source_that_changes(self, source: Path, tmp_path: Path, number: int) -> None:
        """Written to while a tensor, the last one too, is rounded."""
        path, data, calls = tmp_path / "in.gguf", source.read_bytes(), []
        path.write_bytes(data)
        with GGUFFile.open(source) as file:
            assert len(file.tensors) == 40

        def change(n_bytes: int) -> None:
            calls.append(n_bytes)
            if len(calls) == number:
                path.write_bytes(data)
                os.utime(path, ns=(0, 0))

        match = r"in\.gguf: the file was changed while it was read: try again$"
        self.refuse(ModelFormatError, match, path, tmp_path / "out.gguf", progress=change)
        assert len(calls) == number

    def test_activations_that_overflow(self, tmp_path: Path) -> None:
        source, out = tmp_path / "in.gguf", builder()
        for name in ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"):
            tensor = out.tensor(name)
            tensor.data = np.full(256, 3e38, "<f4").tobytes()
        source.write_bytes(out.build())
        match = r"(the inputs of blk\.\d\.\w+\.weight become infinite on the calibration texts|logits)"
        self.refuse(NumericalError, match, source, tmp_path / "out.gguf", calibration=[TEXT])

    @pytest.mark.parametrize("name", ["blk.2.ffn_down.weight", "blk.1.ffn_up.bias", "position_embd.weight"])
    def test_not_finite(self, tmp_path: Path, name: str) -> None:
        source, out = tmp_path / "in.gguf", builder()
        tensor = out.tensor(name)
        tensor.data = tensor.data[:-4] + np.float32(np.nan).tobytes()
        source.write_bytes(out.build())
        match = f"tensor {name} holds a value that is infinite or not a number"
        self.refuse(ModelFormatError, match, source, tmp_path / "out.gguf", "f16")

    def test_no_model(self, tmp_path: Path) -> None:
        (tmp_path / "in.gguf").write_bytes(b"GGUF")
        self.refuse(ModelFormatError, "in.gguf", tmp_path / "in.gguf", tmp_path / "out.gguf")
        self.refuse(FileNotFoundError, "no such model file", tmp_path / "none.gguf", tmp_path / "out.gguf")
        self.refuse(ModelFormatError, "holds a NUL", Path("a\0b"), tmp_path / "in.gguf", force=True)

    def test_little_to_calibrate_on(self, source: Path, tmp_path: Path) -> None:
        match = r"^the calibration texts have \d+ tokens, but at least 512 are needed$"
        self.refuse(InvalidRequestError, match, source, tmp_path / "out.gguf", calibration=["def f(): pass"])


class TestCommand:
    def test_table_and_size(self, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The file is the one that the function writes; --verbose prints its reports."""
        target, again = tmp_path / "out.gguf", tmp_path / "again.gguf"
        assert main(["quantize", str(source), str(target), "--type", "q5_k_m", "-v", "-t", "1"]) == 0
        reports = quantize(source, again, "q5_k_m")
        assert target.read_bytes() == again.read_bytes()
        out, err = capsys.readouterr()
        *table, last = out.splitlines()
        size, before = target.stat().st_size, source.stat().st_size
        assert (last, err) == (f"{target}: {size / 1e6:.1f} MB, {size / before:.0%} of {source}", "")
        assert table[0].split() == ["tensor", "shape", "from", "to", "bytes", "relative", "error"]
        assert [line.split()[0] for line in table[1:]] == [report.name for report in reports]
        rows = {line.split()[0]: line.split()[1:] for line in table[1:]}
        report = next(report for report in reports if report.name == "blk.0.ffn_up.weight")
        error = f"{report.relative_error:.3e}"
        assert rows[report.name] == ["512", "x", "256", "F32", report.target, str(report.n_bytes), error]
        assert rows["blk.0.ffn_up.bias"] == ["512", "F32", "F32", "2048", "-"]

    def test_calibrated(self, source: Path, tmp_path: Path) -> None:
        target, again, text = tmp_path / "out.gguf", tmp_path / "again.gguf", tmp_path / "code.py"
        text.write_text(TEXT, "utf-8")
        assert main(["quantize", str(source), str(target), "--calibrate", str(text)]) == 0
        quantize(source, again, calibration=[TEXT])
        assert target.read_bytes() == again.read_bytes()

    def test_refusals(self, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """One sentence on standard error, and no file."""
        target, binary = tmp_path / "out.gguf", tmp_path / "code.py"
        binary.write_bytes(b"\xff")
        command = ["quantize", str(source), str(target)]
        for arguments, words in (
            ([*command, "--calibrate", str(binary)], f"{binary}"),
            ([*command, "--calibrate", str(tmp_path / "none.py")], "none.py"),
            (["quantize", str(tmp_path / "none.gguf"), str(target)], "none.gguf"),
            ([*command, "-t", "0"], "threads"),
        ):
            assert main(arguments) == 1
            message = capsys.readouterr().err
            assert words in message
            assert message.count("\n") == 1
            assert not target.exists()
        assert main([*command, "--type", "q3_k"]) == 2
        assert "invalid choice: 'q3_k'" in capsys.readouterr().err
        target.write_bytes(b"precious")
        assert main(command) == 1
        assert capsys.readouterr().err == f"santacoder: {target}: the file exists; --force (force=True) overwrites it\n"
        assert target.read_bytes() == b"precious"
        assert main([*command, "--force"]) == 0
        assert target.read_bytes()[:4] == b"GGUF"

    def test_a_text_to_calibrate_on_is_not_replaced(
        self, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = tmp_path / "code.py"
        text.write_text(TEXT, "utf-8")
        assert main(["quantize", "--force", str(source), str(text), "--calibrate", str(source), str(text)]) == 1
        message = f"santacoder: {text} is a file that is read ({text}): name another to write\n"
        assert capsys.readouterr().err == message
        assert text.read_text("utf-8") == TEXT
