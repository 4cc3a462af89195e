"""The description of the interface says what the code does."""

from __future__ import annotations

from typing import Any

import pytest

from santacoder.server import Settings, fields
from santacoder.server.openapi import describe
from tests.support.http_server import LiveServer

BODIES: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "a", "max_tokens": 1},
    "/completion": {"prompt": "a", "n_predict": 1},
    "/infill": {"input_prefix": "a", "input_suffix": "b", "n_predict": 1},
    "/tokenize": {"content": "a"},
    "/detokenize": {"tokens": [1]},
}
#: What a field needs beside it.
WITH: dict[str, dict[str, Any]] = {
    "stream_options": {"stream": True},
    "single_line": {"suffix": "b"},
    "best_of": {"n": 1},
    "content": {"prompt": "a"},
}


def documented(path: str) -> dict[str, Any]:
    content = describe(Settings())["paths"][path]["post"]["requestBody"]["content"]
    properties: dict[str, Any] = content["application/json"]["schema"]["properties"]
    return properties


def example(schema: dict[str, Any]) -> Any:
    """Return a value that a schema allows."""
    if "anyOf" in schema:
        return example(schema["anyOf"][-1])
    if "enum" in schema:
        return schema["enum"][0]
    kinds = schema.get("type", "object")
    kind = kinds if isinstance(kinds, str) else kinds[0]
    if kind in ("integer", "number"):
        return max(schema.get("minimum", 0), 0) or min(1, schema.get("maximum", 1))
    if kind == "array":
        return [example(schema["items"])] if "items" in schema else [example(each) for each in schema["prefixItems"]]
    if kind == "object":
        return {name: example(schema["properties"][name]) for name in schema.get("required", ())}
    return {"boolean": True, "string": "x"}[kind]


FIELDS = [(path, name) for path in BODIES for name in documented(path)]


@pytest.mark.parametrize(("path", "name"), FIELDS)
def test_every_field_is_taken(server: LiveServer, path: str, name: str) -> None:
    schema = documented(path)[name]
    body = {**BODIES[path], **WITH.get(name, {})}
    values = [example(schema), None] if "null" in str(schema) else [example(schema)]
    for value in values:
        reply = server.post(path, {**body, name: value})
        assert reply.status == 200, (value, reply.body)
        assert "x-santacoder-ignored" not in reply.headers
    for limit, step in (("minimum", -1), ("maximum", 1)):
        if limit in schema:
            reply = server.post(path, {**body, name: schema[limit] + step})
            assert reply.status == 400, reply.body


@pytest.mark.parametrize("path", BODIES)
def test_no_other_field_is_taken(server: LiveServer, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: set[str] = set()
    take, skip = fields.Fields.take, fields.Fields.skip

    def noting_take(self: fields.Fields, name: str) -> Any:
        taken.add(name)
        return take(self, name)

    def noting_skip(self: fields.Fields, *names: str) -> None:
        taken.update(names)
        skip(self, *names)

    monkeypatch.setattr(fields.Fields, "take", noting_take)
    monkeypatch.setattr(fields.Fields, "skip", noting_skip)
    assert server.post(path, BODIES[path]).status == 200
    assert taken - {"top_n_sigma", "include_usage"} == set(documented(path))


def test_every_path_is_there(server: LiveServer) -> None:
    description = server.get("/openapi.json").json
    assert description == describe(Settings(drain=5))
    routes = {route.path.replace(":path", "") for route in server.server.config.app.routes}  # type: ignore[union-attr]
    assert routes - {"/", "/page.js", "/page.css", "/openapi.json"} == set(description["paths"])
    for path, methods in description["paths"].items():
        for method in methods:
            reply = server.request(
                method.upper(), path.replace("{id}", "santacoder"), b"{}" if method == "post" else None
            )
            assert reply.status in (200, 400)
