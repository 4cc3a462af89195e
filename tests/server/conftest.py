"""A server of the fixture file, started once for each module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from santacoder.model import SantaCoder
from tests.support.http_server import LiveServer, serving


@pytest.fixture(scope="module")
def server(model: SantaCoder) -> Iterator[LiveServer]:
    with serving(model) as server:
        yield server


@pytest.fixture(scope="module")
def good(server: LiveServer) -> Any:
    return server.good()
