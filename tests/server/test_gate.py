"""Who may ask: hosts, web pages, keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from santacoder.model import SantaCoder
from santacoder.server import Settings
from tests.support.http_server import GOOD, LiveServer, serving

PAGE = "https://page.example"


@pytest.fixture(scope="module")
def server(model: SantaCoder) -> Iterator[LiveServer]:
    with serving(model, Settings(api_keys=("k",), cors_origin=(PAGE,), allowed_host=("Box.Local",))) as server:
        yield server


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8012", "[::1]", "[::1]:8012", "box.local:80"])
def test_hosts(server: LiveServer, host: str) -> None:
    assert server.get("/health", {"Host": host}).status == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.2", "[::2]", "", "localhost@evil"])
def test_other_hosts(server: LiveServer, host: str) -> None:
    assert server.get("/health", {"Host": host}).status == 403


def test_any_host_where_the_server_is_public(model: SantaCoder) -> None:
    with serving(model, Settings(api_keys=("k",), host="0.0.0.0")) as server:
        assert server.get("/health", {"Host": "anything.example"}).status == 200


def test_pages(server: LiveServer) -> None:
    key = {"X-Api-Key": "k"}
    own = f"http://127.0.0.1:{server.port}"
    for origin, status in ((own, 200), (PAGE, 200), ("http://localhost", 403), (PAGE + ".evil", 403), ("null", 403)):
        reply = server.post("/v1/completions", GOOD, {**key, "Origin": origin})
        assert reply.status == status
        assert ("access-control-allow-origin" in reply.headers) is (origin == PAGE)
        assert server.get("/health", {"Origin": origin}).status == 200


def test_errors_can_be_read_by_a_page(server: LiveServer) -> None:
    reply = server.post("/v1/completions", GOOD, {"Origin": PAGE})
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (401, PAGE)
    assert reply.headers["vary"] == "Origin"


def test_preflights_need_no_key(server: LiveServer) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-api-key"}
    reply = server.request("OPTIONS", "/v1/completions", None, {"Origin": PAGE, **asked})
    assert reply.status == 204
    assert reply.headers["access-control-allow-headers"] == "authorization,x-api-key"
    assert "POST" in reply.headers["access-control-allow-methods"]
    assert server.request("OPTIONS", "/v1/completions", None, {"Origin": "https://x", **asked}).status == 403
    assert server.request("OPTIONS", "/v1/completions", None, {"X-Api-Key": "k"}).status == 405


def test_what_needs_no_key(server: LiveServer) -> None:
    for path in ("/health", "/v1/health"):
        assert server.get(path).status == 200
    for path in ("/props", "/metrics", "/slots", "/v1/models", "/nope", "/openapi.json"):
        assert server.get(path).status == 401


def test_headers_of_every_answer(server: LiveServer) -> None:
    for path in ("/health", "/nope", "/props"):
        headers = server.get(path).headers
        assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
        assert len(headers["x-request-id"]) == 16


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Bearer undefined", "Basic x", "x"])
def test_without_a_key_any_authorization_is_ignored(model: SantaCoder, value: str) -> None:
    with serving(model) as server:
        assert server.get("/v1/models", {"Authorization": value}).status == 200
