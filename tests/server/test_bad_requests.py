"""Bad requests, one by one: each gets its answer, and the next good one gets the same as before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from santacoder.model import SantaCoder
from santacoder.server import Settings
from tests.support.http_server import GOOD, LiveServer, Reply, serving

C, L, I = "/v1/completions", "/completion", "/infill"  # noqa: E741
TOO_LONG = {"kind": "exceed_context_size_error", "code": "context_length_exceeded", "n_prompt_tokens": int}


def check(server: LiveServer, good: Any, reply: Reply, status: int, **members: object) -> None:
    """Check an answer's shape, and that the server goes on as before."""
    assert reply.status == status, reply.body
    if status >= 400:
        error = reply.error
        assert {"message", "type", "param", "code"} <= set(error)
        assert isinstance(error["message"], str)
        assert error["message"]
        assert "Traceback" not in error["message"]
        for name, value in members.items():
            found = error["type" if name == "kind" else name]
            assert isinstance(found, value) if isinstance(value, type) else found == value
    assert b", " not in reply.body.split(b'"message"')[0]
    assert server.good() == good


BODIES: dict[str, bytes] = {
    "1": b"",
    "2": b"{:",
    "3 list": b"[]",
    "3 text": b'"x"',
    "3 number": b"5",
    "3 null": b"null",
    "4 no UTF-8": b'{"prompt":"\xff"}',
    "4 UTF-16": '{"prompt":"a"}'.encode("utf-16"),
    "5": b"[" * 100_000,
    "6": b'{"prompt":"a","prompt":"b"}',
    "7 NaN": b'{"prompt":"a","temperature":NaN}',
    "7 Infinity": b'{"prompt":"a","temperature":Infinity}',
    "7 1e999": b'{"prompt":"a","temperature":1e999}',
    "8": b'{"prompt":"a","max_tokens":' + b"9" * 5000 + b"}",
    "9": b'{"prompt":"\\ud800"}',
    "10 no prompt": b'{"max_tokens":2}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_bodies(server: LiveServer, good: Any, body: bytes) -> None:
    check(server, good, server.request("POST", C, body), 400, kind="invalid_request_error", code=None)


def _completions() -> Iterator[tuple[str, dict[str, Any]]]:
    def each(number: int, name: str, *values: object) -> Iterator[tuple[str, dict[str, Any]]]:
        for value in values:
            yield f"{number} {name} {json.dumps(value)[:20]}", {name: value}

    yield from each(10, "prompt", None)
    yield from each(11, "prompt", {}, 5, True, [], [1, "a"], [1.5], [True], [[1], "a"], ["a", [1]], [["a"]], [None])
    yield from each(14, "max_tokens", -1, 1.5, "5", True, 10**18)
    yield from each(16, "temperature", -1, 1000, "hot", True)
    yield from each(17, "top_p", -0.1, 1.1, [])
    yield from each(18, "n", 0, -1, 10**6, 1.5)
    yield "19 best_of below n", {"best_of": 1, "n": 2}
    yield "19 best_of with stream", {"best_of": 2, "stream": True}
    yield "20 prompts", {"prompt": ["a"] * 10_000}
    yield "20 samples", {"prompt": ["a"] * 64, "n": 8}
    yield from each(21, "logprobs", -1, 10**9, True, "all")
    yield from each(22, "echo", "yes", 1)
    yield from each(22, "stream", 1)
    yield from each(23, "stop", 5, {}, [1], [str(i) for i in range(33)], "x" * (1 << 20))
    yield from each(25, "seed", 1.5, "x", 1 << 64, -2)
    yield from each(26, "logit_bias", {"AI": 1}, {"10000000": 1}, {"5": 1000}, {"5": "x"}, [[5, 1]])
    yield "26 many", {"logit_bias": {str(i): 1 for i in range(2000)}}
    yield "26 many in a list", {"logit_bias": [[i, 1] for i in range(2000)]}
    yield from each(27, "presence_penalty", 3)
    yield from each(27, "frequency_penalty", "x")
    yield from each(28, "suffix", 5)
    yield "28 suffix of ids", {"suffix": "x", "prompt": [1, 2]}
    yield "28 suffix with echo", {"suffix": "x", "echo": True}
    yield "29 without stream", {"stream_options": {"include_usage": True}}
    yield "29 no flag", {"stream": True, "stream_options": {"include_usage": 1}}
    yield from each(31, "model", 5)
    yield from each(0, "token_healing", 1)
    yield from each(0, "fim_mode", "mps", 5)
    yield from each(0, "single_line", True)
    yield from each(0, "stop_token_ids", ["a"], [-1], [1 << 40])


@pytest.mark.parametrize(
    ("name", "changes"), [*_completions()], ids=lambda value: value if isinstance(value, str) else ""
)
def test_completions(server: LiveServer, good: Any, name: str, changes: dict[str, Any]) -> None:
    body = {"prompt": "a", "max_tokens": 2, **changes}
    check(server, good, server.post(C, body), 400, kind="invalid_request_error", code=None)


@pytest.mark.parametrize("id", [-1, 10**7, 1 << 40])
def test_ids_outside_the_vocabulary(server: LiveServer, good: Any, id: int) -> None:
    reply = server.post(C, {"prompt": [1, id]})
    check(server, good, reply, 400)
    assert str(id) in reply.error["message"]


@pytest.mark.parametrize("prompt", [[5], " a", "xyzzy", "7", "<|endoftext|>"])
def test_prompts_that_fill_the_context(server: LiveServer, good: Any, model: SantaCoder, prompt: Any) -> None:
    reply = server.post(C, {"prompt": prompt * model.context, "max_tokens": 1})
    check(server, good, reply, 400, **TOO_LONG, n_ctx=model.context)
    assert reply.error["n_prompt_tokens"] >= model.context
    several = [prompt, prompt * model.context]
    check(server, good, server.post(C, {"prompt": several}), 400, **TOO_LONG, n_ctx=model.context)


@pytest.mark.parametrize("character", ["x", "7", " "])
def test_prompts_of_megabytes(server: LiveServer, good: Any, character: str) -> None:
    reply = server.post(C, {"prompt": character * 3_000_000, "max_tokens": 1})
    check(server, good, reply, 400, **TOO_LONG)


def test_more_tokens_than_room(server: LiveServer, good: Any, model: SantaCoder) -> None:
    prompt = [5] * (model.context - 4)
    reply = server.post(C, {"prompt": prompt, "max_tokens": (1 << 31) - 1, "ignore_eos": True})
    check(server, good, reply, 200)
    assert reply.json["choices"][0]["finish_reason"] == "length"
    assert reply.json["usage"]["total_tokens"] == model.context


def test_more_tokens_than_room_where_that_is_an_error(model: SantaCoder) -> None:
    with serving(model, Settings(overflow="error")) as server:
        reply = server.post(C, {"prompt": [5] * (model.context - 4), "max_tokens": 5})
        check(server, server.good(), reply, 400, **TOO_LONG, n_ctx=model.context)


@pytest.mark.parametrize("stop", ["", [""], [], None])
def test_empty_stops(server: LiveServer, good: Any, stop: object) -> None:
    check(server, good, server.post(C, {**GOOD, "stop": stop}), 200)


UNSUPPORTED = {
    "response_format": {"type": "json_object"}, "grammar": "root ::= x", "tools": [{}], "guided_regex": "a",
    "messages": [], "json_schema": {}, "functions": [{}], "structured_outputs": {}, "use_beam_search": True,
    "typical_p": 0.5, "dry_multiplier": 1, "xtc_probability": 0.1, "dynatemp_range": 1, "top_n_sigma": 1,
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), UNSUPPORTED.items())
def test_unsupported_fields(server: LiveServer, good: Any, name: str, value: object) -> None:
    check(server, good, server.post(C, {**GOOD, name: value}), 400, code="unsupported", param=name)


NEUTRAL = {
    "response_format": {"type": "text"}, "grammar": "", "tools": [], "mirostat": 0, "typical_p": 1.0, "lora": [],
    "top_n_sigma": -1.0, "guided_json": None, "post_sampling_probs": False,
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), NEUTRAL.items())
def test_fields_that_change_nothing(server: LiveServer, good: Any, name: str, value: object) -> None:
    reply = server.post(C, {**GOOD, name: value})
    check(server, good, reply, 200)
    assert "x-santacoder-ignored" not in reply.headers


def test_unknown_fields(server: LiveServer, good: Any) -> None:
    reply = server.post(C, {**GOOD, "penalty_last_n": 0, "zzz": {"a": [1]}, "é\r\n": None})
    check(server, good, reply, 200)
    assert reply.headers["x-santacoder-ignored"] == "penalty_last_n,zzz,%C3%A9%0D%0A"
    assert reply.json["choices"] == good


@pytest.mark.parametrize("method", ["GET", "PUT", "FOO"])
def test_methods(server: LiveServer, good: Any, method: str) -> None:
    reply = server.request(method, C)
    check(server, good, reply, 405, code="method_not_allowed")
    assert reply.headers["allow"] == "POST"


MISSING = [
    ("GET", "/nope", "not_found"), ("POST", "/v1/chat/completions", "not_found"),
    ("POST", "/v1/embeddings", "not_found"), ("GET", "/v1/models/nope", "model_not_found"),
    ("POST", "/v1//completions", "not_found"), ("GET", "/../etc/passwd", "not_found"),
    ("GET", "/v1/models/", "model_not_found"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "code"), MISSING)
def test_paths(server: LiveServer, good: Any, method: str, path: str, code: str) -> None:
    reply = server.request(method, path)
    check(server, good, reply, 404, code=code)
    if "completions" in path or "embeddings" in path:
        assert path != "/v1/chat/completions" or "/v1/completions" in reply.error["message"]


def test_encodings(server: LiveServer, good: Any) -> None:
    check(server, good, server.request("POST", C, b"{}", {"Content-Encoding": "gzip"}), 415)


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}])
def test_hosts_and_origins(server: LiveServer, good: Any, headers: dict[str, str]) -> None:
    check(server, good, server.post(C, GOOD, headers), 403, kind="permission_error", code="forbidden")


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer no"}, {"Authorization": "Basic c2VjcmV0"}, {"Authorization": "Bearer "},
                {"X-Api-Key": ""}, {"X-Api-Key": "secre"}, {"X-Api-Key": "\xff"}]
)  # fmt: skip
def test_keys(model: SantaCoder, good: Any, headers: dict[str, str]) -> None:
    with serving(model, Settings(api_keys=("secret", "other"))) as server:
        reply = server.post(C, GOOD, headers)
        assert reply.status == 401
        assert (reply.error["type"], reply.error["code"]) == ("authentication_error", "invalid_api_key")
        assert reply.headers["www-authenticate"] == "Bearer"
        assert server.get("/health").status == 200
        for key in ({"Authorization": "bearer other"}, {"X-Api-Key": "secret"}):
            assert server.post(C, GOOD, key).json["choices"] == good


INFILL = {"input_prefix": "a", "input_suffix": "b", "n_predict": 2}
INFILLS: dict[str, dict[str, Any]] = {
    "no input_prefix": {"input_prefix": None},
    "input_suffix 5": {"input_suffix": 5},
    "input_extra {}": {"input_extra": {}},
    "input_extra [5]": {"input_extra": [5]},
    "input_extra [{}]": {"input_extra": [{}]},
    "prompt [1]": {"prompt": [1]},
}


@pytest.mark.parametrize("changes", INFILLS.values(), ids=INFILLS)
def test_infills(server: LiveServer, good: Any, changes: dict[str, Any]) -> None:
    check(server, good, server.post(I, {**INFILL, **changes}), 400, kind="invalid_request_error", code=400)


@pytest.mark.parametrize("name", ["n_cmpl", "n"])
@pytest.mark.parametrize("value", [0, 1000, "x", 1.5, True])
def test_samples_of_llama_cpp(server: LiveServer, good: Any, name: str, value: object) -> None:
    reply = server.post(L, {"prompt": "a", name: value})
    check(server, good, reply, 400, code=400)
    assert reply.error["message"].startswith("Field 'n_cmpl': Value must be between")


LLAMA: dict[str, object] = {
    "n_predict -2": {"n_predict": -2}, "n_predict x": {"n_predict": "x"},
    "response_fields": {"response_fields": "content"}, "samplers": {"samplers": 5},
    "t_max_predict_ms": {"t_max_predict_ms": "x"}, "mirostat": {"mirostat": 2},
    "lora": {"lora": [{"id": 0, "scale": 1}]}, "json_schema": {"json_schema": {}}, "id_slot": {"id_slot": "x"},
    "logit_bias": {"logit_bias": [5]}, "logit_bias true": {"logit_bias": [[5, True]]},
    "cache_prompt": {"cache_prompt": 1}, "n_indent": {"n_indent": -1},
}  # fmt: skip


@pytest.mark.parametrize("changes", LLAMA.values(), ids=LLAMA)
def test_fields_of_llama_cpp(server: LiveServer, good: Any, changes: dict[str, Any]) -> None:
    check(server, good, server.post(L, {"prompt": "a", "n_predict": 2, **changes}), 400, code=400)


TOKENS: dict[str, tuple[str, object]] = {
    "no text": ("/tokenize", {}),
    "text 5": ("/tokenize", {"content": 5}),
    "no ids": ("/detokenize", {}),
    "a text": ("/detokenize", {"tokens": ["a"]}),
    "an id outside": ("/detokenize", {"tokens": [10**7]}),
}


@pytest.mark.parametrize(("path", "body"), TOKENS.values(), ids=TOKENS)
def test_tokens(server: LiveServer, good: Any, path: str, body: object) -> None:
    check(server, good, server.post(path, body), 400, code=None)
