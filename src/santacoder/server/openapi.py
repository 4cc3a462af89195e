"""The description of the interface, OpenAPI 3.1: what each endpoint takes and returns."""

from __future__ import annotations

import dataclasses
from typing import Any, Final, get_args

from santacoder._version import __version__
from santacoder.attribution.matches import Kind, Match, Source
from santacoder.server.attribution import MOST_CHARACTERS, MOST_LEXEMES
from santacoder.server.fields import MAX_SEED
from santacoder.server.settings import LEAST_MATCH, Settings

Schema = dict[str, Any]

_MOST: Final = (1 << 31) - 1
_TEXT: Final[Schema] = {"type": ["string", "null"]}
_FLAG: Final[Schema] = {"type": ["boolean", "null"]}
_ID: Final[Schema] = {"type": "integer", "minimum": 0}
_IDS: Final[Schema] = {"type": "array", "items": _ID}
_ANY: Final[Schema] = {}
_STOP: Final[Schema] = {
    "anyOf": [
        {"type": ["string", "null"], "maxLength": 1024},
        {"type": "array", "items": {"type": "string", "maxLength": 1024}, "maxItems": 32},
    ]
}


def _integer(low: int, high: int) -> Schema:
    return {"type": ["integer", "null"], "minimum": low, "maximum": high}


def _number(low: float, high: float) -> Schema:
    return {"type": ["number", "null"], "minimum": low, "maximum": high}


def _prompt(settings: Settings) -> Schema:
    most = settings.max_prompts
    return {
        "anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": most},
            {"type": "array", "items": _ID, "minItems": 1},
            {"type": "array", "items": _IDS, "minItems": 1, "maxItems": most},
        ]
    }


def _sampling() -> dict[str, Schema]:
    """Return the fields that all dialects share."""
    return {
        "model": _TEXT,
        "temperature": _number(0, 100),
        "top_k": _integer(-1, (1 << 63) - 1),
        "top_p": _number(0, 1),
        "min_p": _number(0, 1),
        "presence_penalty": _number(-2, 2),
        "frequency_penalty": _number(-2, 2),
        "stop": _STOP,
        "seed": _integer(-1, MAX_SEED),
        "ignore_eos": _FLAG,
        "stream": _FLAG,
        "token_healing": _FLAG,
    }


def completions_fields(settings: Settings) -> dict[str, Schema]:
    """Return the fields of POST /v1/completions."""
    bias = {"type": "number", "minimum": -100, "maximum": 100}
    return {
        "prompt": _prompt(settings),
        "suffix": _TEXT,
        "max_tokens": _integer(0, _MOST),
        "n": _integer(1, settings.max_n),
        "best_of": _integer(1, settings.max_n),
        "stream_options": {"type": ["object", "null"], "properties": {"include_usage": _FLAG}},
        "logprobs": _integer(0, settings.max_logprobs),
        "echo": _FLAG,
        "logit_bias": {"type": ["object", "null"], "additionalProperties": bias, "maxProperties": 1024},
        "user": _ANY,
        "store": _ANY,
        "metadata": _ANY,
        "repetition_penalty": _number(0.01, 100),
        "stop_token_ids": {"type": ["array", "null"], "items": _ID, "maxItems": 1024},
        "fim_mode": {"enum": ["auto", "psm", "spm", None]},
        "single_line": _FLAG,
        **_sampling(),
    }


def completion_fields(settings: Settings) -> dict[str, Schema]:
    """Return the fields of POST /completion."""
    predict = _integer(-1, _MOST)
    bias = {"anyOf": [{"type": "number", "minimum": -100, "maximum": 100}, {"const": False}]}
    pair = {"type": "array", "prefixItems": [{"type": ["integer", "string"]}, bias], "minItems": 2, "maxItems": 2}
    any_number = {"type": ["number", "null"]}
    return {
        "prompt": _prompt(settings),
        "n_predict": predict,
        "max_tokens": predict,
        "max_completion_tokens": predict,
        "n_cmpl": _integer(1, settings.max_n),
        "n": _integer(1, settings.max_n),
        "repeat_penalty": _number(0.01, 100),
        "repeat_last_n": _integer(-1, _MOST),
        "samplers": {"anyOf": [{"type": ["string", "null"]}, {"type": "array", "items": {"type": "string"}}]},
        "return_tokens": _FLAG,
        "logit_bias": {
            "anyOf": [
                {"type": ["array", "null"], "items": pair, "maxItems": 1024},
                {"type": "object", "additionalProperties": bias, "maxProperties": 1024},
            ]
        },
        "n_probs": _integer(0, settings.max_logprobs),
        "n_indent": _integer(0, _MOST),
        "t_max_prompt_ms": _integer(0, _MOST),
        "t_max_predict_ms": _integer(0, _MOST),
        "response_fields": {"type": ["array", "null"], "items": {"type": "string"}, "maxItems": 100},
        "cache_prompt": _FLAG,
        "id_slot": _integer(-1, _MOST),
        "n_keep": any_number,
        "n_cache_reuse": any_number,
        "min_keep": any_number,
        "timings_per_token": _FLAG,
        "return_progress": _FLAG,
        "sse_ping_interval": any_number,
        **_sampling(),
    }


def infill_fields(settings: Settings) -> dict[str, Schema]:
    """Return the fields of POST /infill."""
    piece = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    return {
        **completion_fields(settings),
        "input_prefix": {"type": "string"},
        "input_suffix": {"type": "string"},
        "prompt": _TEXT,
        "input_extra": {"type": ["array", "null"], "items": piece, "maxItems": 1024},
    }


def _tokenize_fields() -> dict[str, Schema]:
    flags = ("add_special", "add_special_tokens", "parse_special", "with_pieces")
    return {"content": _TEXT, "prompt": _TEXT, "model": _TEXT, **dict.fromkeys(flags, _FLAG)}


def _attribute_fields() -> dict[str, Schema]:
    return {"text": {"type": "string", "maxLength": MOST_CHARACTERS}, "min_length": _integer(LEAST_MATCH, MOST_LEXEMES)}


def _names(kind: type[Match | Source]) -> list[str]:
    return [each.name for each in dataclasses.fields(kind)]


def _match_schema() -> Schema:
    """Return the shape of a match, as choices and /attribute have it."""
    word, number = {"type": "string"}, {"type": "integer"}
    source = {name: number if name.endswith("_line") else word for name in _names(Source)}
    fields: dict[str, Schema] = {
        **dict.fromkeys(_names(Match), number),
        "kind": {"enum": [*get_args(Kind)]},
        "common": {"type": "boolean"},
        "sources": {"type": "array", "items": {"type": "object", "required": [*source], "properties": source}},
    }
    return {"type": "object", "required": [*fields], "properties": fields}


def _post(summary: str, fields: dict[str, Schema], required: list[str], answer: Schema, events: bool = False) -> Schema:
    body = {"type": "object", "properties": fields, "required": required}
    content: Schema = {"application/json": {"schema": answer}}
    if events:
        content["text/event-stream"] = {}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": {"description": "done", "content": content}, "default": _error()},
    }


def _get(summary: str, kind: str = "application/json", parameter: str = "") -> Schema:
    schema: Schema = {"type": ["object", "array"]} if kind == "application/json" else {"type": "string"}
    found: Schema = {
        "summary": summary,
        "responses": {"200": {"description": "done", "content": {kind: {"schema": schema}}}, "default": _error()},
    }
    if parameter:
        found["parameters"] = [{"name": parameter, "in": "path", "required": True, "schema": {"type": "string"}}]
    return found


def _error() -> Schema:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {"description": "refused, or failed", "content": content}


def _objects(*names: str) -> Schema:
    return {"type": "object", "required": [*names]}


def _paths(settings: Settings) -> dict[str, Schema]:
    """Return what each path takes and returns."""
    final = {"type": ["object", "array"]}
    paths: dict[str, Schema] = {
        "/v1/completions": {
            "post": _post(
                "Continue or infill texts, as OpenAI's API does", completions_fields(settings), ["prompt"],
                _objects("id", "object", "created", "model", "system_fingerprint", "choices", "usage"), events=True,
            ),
        },
        "/v1/models": {"get": _get("List the model")},
        "/models": {"get": _get("List the model")},
        "/v1/models/{id}": {"get": _get("Describe the model", parameter="id")},
        "/completion": {
            "post": _post(
                "Continue texts, as llama.cpp does", completion_fields(settings), ["prompt"], final, events=True
            ),
        },
        "/infill": {
            "post": _post(
                "Fill a gap, as llama.cpp does", infill_fields(settings), ["input_prefix", "input_suffix"], final,
                events=True,
            ),
        },
        "/tokenize": {
            "post": _post("Tokenize a text", _tokenize_fields(), [], _objects("tokens", "count", "max_model_len")),
        },
        "/detokenize": {
            "post": _post(
                "Join tokens to a text", {"tokens": _IDS, "model": _TEXT}, ["tokens"], _objects("content", "prompt")
            ),
        },
        "/tokenizer_info": {"get": _get("Describe the tokenizer, for lm-eval")},
        "/health": {"get": _get("Say whether the server can answer")},
        "/v1/health": {"get": _get("Say whether the server can answer")},
        "/props": {"get": _get("Describe the server, as llama.cpp does")},
    }  # fmt: skip
    paths["/completions"] = paths["/completion"]
    if settings.attribution is not None:
        matches = {"type": "array", "items": {"$ref": "#/components/schemas/Match"}}
        answer = {**_objects("matches"), "properties": {"matches": matches}}
        paths["/attribute"] = {"post": _post("Say what of a text is a copy", _attribute_fields(), ["text"], answer)}
    if settings.slots:
        paths["/slots"] = {"get": _get("List the samples that are being written")}
    if settings.metrics:
        paths["/metrics"] = {"get": _get("Count what the server did, for Prometheus", "text/plain")}
    return paths


def _error_schema() -> Schema:
    """Return the shape of every error."""
    member = {"message": {"type": "string"}, "type": {"type": "string"}, "param": _TEXT}
    inner = {
        "type": "object",
        "required": ["message", "type", "param", "code"],
        "properties": {**member, "code": {"type": ["string", "integer", "null"]}},
    }
    return {"type": "object", "required": ["error"], "properties": {"error": inner}}


def describe(settings: Settings) -> Schema:
    """Return the description of a server with these settings."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "santacoder", "version": __version__, "license": {"name": "Apache-2.0"}},
        "paths": _paths(settings),
        "components": {
            "schemas": {"Error": _error_schema(), "Match": _match_schema()},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}] if settings.api_keys else [],
    }
