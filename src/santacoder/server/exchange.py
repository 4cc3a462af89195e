"""Every request and its answer: an id, the headers of all answers, errors, one line in the log, and the metrics."""

from __future__ import annotations

import asyncio
import secrets
from time import perf_counter
from typing import Any, Final
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from santacoder.errors import SantaCoderError
from santacoder.server.errors import ApiError, internal, of_library
from santacoder.server.log import log
from santacoder.server.metrics import Metrics, Tally
from santacoder.server.strict_json import read_object, write_json

KEY: Final = "santacoder.tally"
#: In the scope of a request: its id, where another server before this one gave it one.
REQUEST_ID: Final = "santacoder.id"
#: In the scope of a request: the web page that may read its answer.
ORIGIN: Final = "santacoder.origin"
_EXPOSED: Final = {
    "access-control-expose-headers": "retry-after, x-request-id, x-santacoder-ignored, x-santacoder-fim, "
    "x-santacoder-context"
}
COMMON_HEADERS: Final = (("cache-control", "no-store"), ("x-content-type-options", "nosniff"))


def new_id() -> str:
    """Return a name for a request."""
    return secrets.token_hex(8)


class ClientGoneError(Exception):
    """The client closed its connection; nobody waits for an answer."""


class JSONResponse(Response):
    """An answer of one line of JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return write_json(content)


class Exchange:
    """Runs an application for each request, and turns its errors into answers."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        tally = scope[KEY] = Tally(scope.get(REQUEST_ID) or new_id(), began=perf_counter())

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                tally.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update({"x-request-id": tally.id, **dict(COMMON_HEADERS)})
                if origin := scope.get(ORIGIN):
                    headers.update({"access-control-allow-origin": origin, **_EXPOSED})
                    headers.add_vary_header("Origin")
            await send(message)

        try:
            await self._run(scope, receive, send_noted, tally)
        except asyncio.CancelledError:
            tally.outcome = "cancelled"
            raise
        finally:
            self._metrics.add(tally)
            log.info("%s", _line(scope, tally))

    async def _run(self, scope: Scope, receive: Receive, send: Send, tally: Tally) -> None:
        try:
            await self._app(scope, receive, send)
        except ClientGoneError:
            tally.outcome = "cancelled"
        except Exception as raised:
            error = api_error(raised, tally.id)
            tally.outcome = "error" if error.status == 500 else "rejected"
            if tally.status:  # the answer has begun: the connection can only be closed
                raise
            await JSONResponse(error.body(scope["path"]), error.status, error.headers)(scope, receive, send)


def api_error(error: Exception, id: str) -> ApiError:
    """Return what a client gets for any error; one that is nobody's fault is logged with its traceback."""
    found = error if isinstance(error, ApiError) else internal()
    if isinstance(error, SantaCoderError):
        found = of_library(error)
    if found.status == 500:
        log.error("%s failed", id, exc_info=error)
    return found


def tally_of(request: Request) -> Tally:
    """Return what is known of a request so far."""
    tally: Tally = request.scope[KEY]
    return tally


def _line(scope: Scope, tally: Tally) -> str:
    seconds = perf_counter() - tally.began
    path = quote(scope["path"][:80])
    tokens = f"{tally.prompt_tokens}/{tally.cached_tokens}/{tally.generated_tokens} tokens"
    ended = tally.outcome or "-"
    return f"{tally.id} {scope['method'][:16]} {path} {tally.status} {1e3 * seconds:.0f} ms {tokens} {ended}"


async def read_body(request: Request, most: int) -> dict[str, Any]:
    """Return the JSON object of a request's body.

    Raises:
        ApiError: it is encoded, larger than `most` bytes, or not a JSON object.
        ClientGoneError: the connection was closed meanwhile.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() not in ("", "identity"):
        raise ApiError(
            415,
            f"Content-Encoding is {ascii(encoding)[:40]}, but bodies must come as they are",
            code="unsupported_encoding",
            closes=True,
        )
    length = request.headers.get("content-length", "0")
    size = int(length[:20]) if length.isdecimal() else 0
    body = bytearray()
    more = True
    while more and size <= most:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body += message.get("body", b"")
        more = message.get("more_body", False)
        size = max(size, len(body))
    if size > most:
        raise ApiError(413, f"the body has {size} bytes, but {most} are the most", code="body_too_large", closes=True)
    return read_object(bytes(body))
