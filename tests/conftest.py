"""Fixtures of all tests: the fixture file, loaded once for each module, and how Hypothesis runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings

import santacoder
from santacoder.engine.loading import open_transformer
from santacoder.engine.transformer import Transformer
from santacoder.text.tokenizer import Tokenizer
from tests.support.kernel_library import Built, build
from tests.support.paths import FILE

# The machine decides how long examples take. They may share their test's fixtures: each writes its files anew.
settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("thorough", settings.get_profile("any machine"), max_examples=2_500)
settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def converted_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test writes to the user's caches of converted checkpoints and prompts, or finds anything in them."""
    folder = str(tmp_path_factory.mktemp("converted"))
    with mock.patch.dict(os.environ, SANTACODER_CACHE=folder, SANTACODER_PREFIX_CACHE=""):
        yield


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The C sources, with functions that call single kernels."""
    return build(tmp_path_factory.getbasetemp() / "kernels")


@pytest.fixture(scope="module")
def model() -> Iterator[santacoder.SantaCoder]:
    """The model as users load it."""
    with santacoder.load(FILE, threads=2) as model:
        yield model


@pytest.fixture(scope="module")
def parts() -> tuple[Transformer, Tokenizer]:
    """The parts of a model."""
    return open_transformer(FILE, threads=2)
