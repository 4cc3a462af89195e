"""Clients, as far as earlier answers are concerned: each is served from its own only."""

from __future__ import annotations

from santacoder.model import SantaCoder
from tests.support.http_server import serving


def test_each_has_its_own_answers(own: SantaCoder) -> None:
    with serving(own) as server:
        for key in ("one", "other", "one", "last"):  # what has ended is noted with the next step
            body = {"prompt": "x", "max_tokens": 5, "ignore_eos": True}
            assert server.post("/v1/completions", body, headers={"x-api-key": key}).status == 200
        stores = own._scheduler.guesses.answers._stores
        tokens = {client[2]: len(store) for client, store in stores.items() if isinstance(client, tuple)}
    assert tokens["one"] == 2 * tokens["other"] > 10
