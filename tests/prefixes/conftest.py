"""A prefix cache of the fixture file in a folder of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from santacoder.engine.transformer import Transformer
from santacoder.prefixes.store import StoredPrefixes
from santacoder.text.tokenizer import Tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "prefixes"


@pytest.fixture
def start(parts: tuple[Transformer, Tokenizer], folder: Path) -> Callable[[], StoredPrefixes]:
    """Open the cache anew, as the next process would."""
    transformer, _ = parts
    return lambda: StoredPrefixes(folder, 1 << 30, transformer.fingerprint, transformer.block_bytes)
