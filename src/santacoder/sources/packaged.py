"""The small demonstration model that ships in the package."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from santacoder.errors import ModelNotFoundError

PACKAGED_MODEL: Final = Path(__file__).parents[1] / "models" / "santacoder-tiny-q4_k_m.gguf"


def packaged_model() -> Path:
    """Return the path of the model that is used if none is named.

    Raises:
        ModelNotFoundError: this installation lacks it.
    """
    if not PACKAGED_MODEL.is_file():
        raise ModelNotFoundError(
            f"no model was named, and this installation lacks the demonstration model {PACKAGED_MODEL}: "
            "name a GGUF file"
        )
    return PACKAGED_MODEL
