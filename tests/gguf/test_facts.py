"""Facts about files that come from their headers."""

from __future__ import annotations

from pathlib import Path

import pytest

from santacoder.errors import ModelFormatError
from santacoder.gguf.facts import file_facts
from santacoder.sources.packaged import packaged_model
from tests.support.gguf_builder import tiny_builder


def test_packaged_model() -> None:
    facts = file_facts(packaged_model())
    assert (facts.path, facts.file_bytes) == (str(packaged_model()), packaged_model().stat().st_size)
    assert (facts.file_type, facts.parameters, facts.license) == ("Q4_K_M", 13656064, "apache-2.0")


@pytest.mark.parametrize(
    ("number", "name"), [(0, "F32"), (1, "F16"), (7, "Q8_0"), (15, "Q4_K_M"), (32, "BF16"), (999, "999"), (None, None)]
)
def test_file_type(tmp_path: Path, number: int | None, name: str | None) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(tiny_builder(metadata={} if number is None else {"general.file_type": number}).build())
    assert file_facts(path).file_type == name


@pytest.mark.parametrize(("key", "value"), [("general.file_type", "F16"), ("general.license", 3)])
def test_values_of_a_wrong_type(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(tiny_builder(metadata={key: value}).build())
    with pytest.raises(ModelFormatError, match=f"{key} at byte [0-9]+ is "):
        file_facts(path)
