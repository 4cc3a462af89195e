"""The bits of the packaged model on this machine, and the command that checks them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import santacoder
from santacoder.bench import selftest
from santacoder.cli import main
from santacoder.engine.isa import VARIABLE, available
from santacoder.errors import ModelFormatError


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_bits_as_everywhere(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "scalar")
    results = list(selftest.selftest(threads))
    assert [result.isa for result in results] == available()
    assert [result.wrong for result in results] == [[] for _ in results]
    expected = selftest.expected_hashes()
    assert all({"model": expected["model"], **result.hashes} == expected for result in results)
    assert santacoder.isa() == "scalar"  # as it was before


def test_other_bits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The results are named, and the command fails."""
    other = {**selftest.expected_hashes(), "infill": "0" * 64}
    monkeypatch.setattr(selftest, "EXPECTED", tmp_path / "expected.json")
    monkeypatch.setattr(selftest, "available", lambda: ["scalar"])
    selftest.EXPECTED.write_text(json.dumps(other))
    assert main(["selftest", "--threads", "1"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("scalar        OTHER BITS: infill  (")
    assert err == "santacoder: please report this, with the output of: santacoder info --system\n"
    assert main(["selftest", "--json", "--threads", "1"]) == 1
    (result,) = json.loads(capsys.readouterr().out)
    assert (result["isa"], result["wrong"]) == ("scalar", ["infill"])


def test_damaged_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF")
    monkeypatch.setattr(selftest, "packaged_model", lambda: model)
    with pytest.raises(ModelFormatError) as info:
        next(selftest.selftest())
    expected = selftest.expected_hashes()["model"]
    assert str(info.value) == (
        f"{model} is damaged: its SHA-256 is {selftest.model_hash()}, not {expected}: install santacoder again"
    )


def test_facts_about_the_system(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a model."""
    assert main(["info", "--system", "--json", "--model", "/no/such/file.gguf"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["santacoder"] == santacoder.__version__
    assert facts["available_isas"] == available()
    assert set(facts["packages"]) == {"numpy", "cffi", "gguf", "tokenizers", "huggingface_hub"}
