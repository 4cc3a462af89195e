"""A checkpoint that must be refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from santacoder.cli import describe
from santacoder.conversion.convert import convert
from santacoder.errors import SantaCoderError

LN_1 = "transformer.h.1.ln_1.weight"


def refusal(tmp_path: Path, folder: Path, **options: Any) -> str:
    """The one sentence with which a folder is refused."""
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SantaCoderError) as caught:
        convert(folder, tmp_path / "m.gguf", **options)
    assert sorted(tmp_path.iterdir()) == before
    message = describe(caught.value)
    assert "\n" not in str(caught.value)
    return message
