"""Model cards that name no licence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import checkpoint_builder as builder

pytest.importorskip("safetensors")

from santacoder.conversion.convert import convert
from santacoder.gguf.reader import GGUFFile

CARDS = {
    "anchors": "a: &a [x, x]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\nlicense: [*c, *c, *c, *c]",
    "a surrogate": 'license: "\\uD800"',
    "many": "license: [" + "x, " * 20 + "x]",
    "long": "license: " + "x" * 300,
    "large": "license: mit\nrest: " + "x" * 70_000,
}


@pytest.mark.parametrize("name", CARDS)
def test_model_cards_that_are_none(tmp_path: Path, name: str) -> None:
    """They give no licence, take no memory and do not stop the conversion."""
    folder, out = builder.write_checkpoint(tmp_path / "c"), tmp_path / "m.gguf"
    (folder / "README.md").write_text(f"---\n{CARDS[name]}\n---\n", "utf-8")
    convert(folder, out)
    with GGUFFile.open(out) as file:
        assert "general.license" not in file.metadata
