"""Where the tests' files are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DATA: Final = ROOT / "tests" / "data"
#: Whether this is a source distribution, which leaves out what would make it large: MANIFEST.in says what.
SOURCE_DISTRIBUTION: Final = (ROOT / "PKG-INFO").is_file()
FILE: Final = DATA / "mqa-q4_k_m.gguf"  # the model of most tests: two layers of random weights


def distributed(path: Path) -> Path:
    """Return the path of a file of the repository; skip the test if this is a source distribution without it."""
    import pytest  # scripts use this module, too

    if SOURCE_DISTRIBUTION and not path.exists():
        pytest.skip(f"{path.relative_to(ROOT)} is not in source distributions")
    return path
