"""Small tables with the columns of The Stack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def write_stack(path: Path, columns: dict[str, list[Any]]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), path, row_group_size=2)


def stack(texts: list[str | None]) -> dict[str, list[Any]]:
    """The columns of The Stack v1."""
    count = len(texts)
    return {
        "hexsha": ["0"] * count,
        "content": texts,
        "max_stars_repo_name": [f"owner/r{number}" for number in range(count)],
        "max_stars_repo_path": [f"p{number}.py" for number in range(count)],
        "max_stars_repo_head_hexsha": ["c0ffee"] * count,
        "max_stars_repo_licenses": [["MIT", "Apache-2.0"]] * count,
    }
