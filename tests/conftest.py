"""The fixture file, loaded once for a module's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from samples import FILE

import santacoder
from santacoder.loading import open_transformer
from santacoder.tokenizer import Tokenizer
from santacoder.transformer import Transformer


@pytest.fixture(scope="module")
def model() -> Iterator[santacoder.SantaCoder]:
    """As users load it."""
    with santacoder.load(FILE, threads=2) as model:
        yield model


@pytest.fixture(scope="module")
def parts() -> tuple[Transformer, Tokenizer]:
    """What a model is made of."""
    return open_transformer(FILE, threads=2)
