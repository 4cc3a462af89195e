"""Where the tests' files are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DATA: Final = ROOT / "tests" / "data"
FILE: Final = DATA / "mqa-q4_k_m.gguf"  # the model of most tests: two layers of random weights
