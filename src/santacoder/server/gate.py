"""Who may ask: the host that a request names, the web page that it comes from, and its key."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from santacoder.server.errors import ApiError
from santacoder.server.exchange import ORIGIN
from santacoder.server.settings import LOOPBACK, Settings

HEALTH: Final = frozenset({"/health", "/v1/health"})
#: Paths that need no key.
OPEN: Final = HEALTH | {"/", "/page.js", "/page.css"}


class Gate:
    """Lets requests through to an application, or refuses them."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._keys = [key.encode() for key in settings.api_keys]
        self._origins = frozenset(settings.cors_origin)
        self._hosts = frozenset(map(str.lower, settings.allowed_host)) | LOOPBACK if settings.on_loopback else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        self._check_host(headers)
        origin = headers.get("origin", "")
        listed = origin in self._origins
        if origin and not listed and scope["path"] not in HEALTH and urlsplit(origin).netloc != headers.get("host"):
            raise _forbidden("Origin", origin)
        if listed:
            scope[ORIGIN] = origin
            if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                await _preflight(headers)(scope, receive, send)
                return
        if self._keys and scope["path"] not in OPEN:
            self._check_key(headers)
        await self._app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        host = headers.get("host")
        if self._hosts is not None and host is not None and _name(host) not in self._hosts:
            raise _forbidden("Host", host)

    def _check_key(self, headers: Headers) -> None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        given = [headers.get("x-api-key", ""), key.strip() if scheme.lower() == "bearer" else ""]
        matches = [hmac.compare_digest(text.encode("latin-1"), known) for text in given for known in self._keys]
        if not any(matches):
            raise ApiError(
                401,
                "the request has no valid key: send the header Authorization: Bearer KEY",
                kind="authentication_error",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )


def _name(host: str) -> str:
    """Return the name of a Host header, without its port and the brackets of an address."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _forbidden(header: str, value: str) -> ApiError:
    option = "--allowed-host" if header == "Host" else "--cors-origin"
    return ApiError(
        403,
        f"{header} is {ascii(value)[:80]}, which this server does not answer: {option} names others",
        kind="permission_error",
        code="forbidden",
    )


def _preflight(headers: Mapping[str, str]) -> Response:
    wanted = headers.get("access-control-request-headers", "authorization, content-type")
    allowed = {
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": wanted,
        "access-control-max-age": "600",
    }
    return Response(status_code=204, headers=allowed)
