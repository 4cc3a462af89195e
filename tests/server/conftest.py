"""A server of the fixture file, started once for each module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import santacoder
from santacoder.model import SantaCoder
from tests.support.http_server import LiveServer, serving
from tests.support.paths import FILE


@pytest.fixture(scope="module")
def server(model: SantaCoder) -> Iterator[LiveServer]:
    with serving(model) as server:
        yield server


@pytest.fixture(scope="module")
def good(server: LiveServer) -> Any:
    return server.good()


@pytest.fixture
def own() -> Iterator[SantaCoder]:
    """A model of the test's own, whose limits may be changed."""
    with santacoder.load(FILE, threads=1) as model:
        yield model
