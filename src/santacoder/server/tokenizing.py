"""The tokenizer over HTTP: llama.cpp's /tokenize and /detokenize, and what lm-eval's remote tokenizer asks for."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from santacoder.errors import SantaCoderError
from santacoder.server.errors import bad_request, of_library
from santacoder.server.exchange import JSONResponse, read_body, tally_of
from santacoder.server.fields import Fields, whole
from santacoder.server.generation import SHORT
from santacoder.server.service import Service
from santacoder.text.tokenizer import Tokenizer


async def _read(request: Request, endpoint: str) -> tuple[Tokenizer, int, Fields]:
    service: Service = request.app.state.service
    tally_of(request).endpoint = endpoint
    fields = Fields(await read_body(request, service.settings.max_body))
    fields.check_model()
    return service.model.tokenizer, service.model.context, fields


def _headers(fields: Fields) -> dict[str, str]:
    ignored = fields.ignored()
    return {"x-santacoder-ignored": ignored} if ignored else {}


async def tokenize(request: Request) -> Response:
    """Answer POST /tokenize."""
    tokenizer, context, fields = await _read(request, "tokenize")
    texts = [fields.text(name, None) for name in ("content", "prompt")]
    text = next((text for text in texts if text is not None), None)
    if text is None:
        raise bad_request("content is missing: it must be a text", "content")
    for name in ("add_special", "add_special_tokens"):  # this tokenizer adds nothing at either end
        fields.flag(name)
    special, with_pieces = fields.flag("parse_special", True), fields.flag("with_pieces")
    try:
        if len(text) > SHORT:
            ids = await asyncio.to_thread(tokenizer.encode, text, special)
        else:
            ids = tokenizer.encode(text, special)
    except SantaCoderError as error:
        raise of_library(error, "content") from None
    tokens: list[Any] = [{"id": token, "piece": _piece(tokenizer, token)} for token in ids] if with_pieces else ids
    found = {"tokens": tokens, "count": len(ids), "max_model_len": context}
    return JSONResponse(found, headers=_headers(fields))


def _piece(tokenizer: Tokenizer, token: int) -> str | list[int]:
    """Return the text of a token, or its bytes where they are no UTF-8 alone."""
    data = tokenizer.token_bytes(token)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return [*data]


async def detokenize(request: Request) -> Response:
    """Answer POST /detokenize."""
    tokenizer, _, fields = await _read(request, "detokenize")
    if not fields.has("tokens"):
        raise bad_request("tokens is missing: it must be a list of token ids", "tokens")
    ids = [whole(token) for token in fields.items("tokens", 1 << 20)]
    for index, token in enumerate(ids):
        if type(token) is not int:
            raise bad_request(f"tokens[{index}] is not an integer, but it must be a token id", "tokens")
    try:
        text = tokenizer.decode(ids)  # type: ignore[arg-type]
    except SantaCoderError as error:
        raise of_library(error, "tokens") from None
    return JSONResponse({"content": text, "prompt": text}, headers=_headers(fields))


async def tokenizer_info(request: Request) -> Response:
    """Answer GET /tokenizer_info."""
    service: Service = request.app.state.service
    tally_of(request).endpoint = "tokenizer_info"
    tokenizer = service.model.tokenizer
    end = None if tokenizer.eot_id is None else tokenizer.vocabulary[tokenizer.eot_id]
    return JSONResponse(
        {
            "eos_token": end,
            "bos_token": None,
            "pad_token": None,
            "unk_token": None,
            "chat_template": None,
            "vocab_size": tokenizer.vocab_size,
            "tokenizer_class": "santacoder",
        }
    )


ROUTES = [
    Route("/tokenize", tokenize, methods=["POST"]),
    Route("/detokenize", detokenize, methods=["POST"]),
    Route("/tokenizer_info", tokenizer_info, methods=["GET"]),
]
