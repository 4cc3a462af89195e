"""The door: takes requests from clients, sends each to a replica, and once more if that dies."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from time import monotonic
from typing import Any, Final

from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from starlette.datastructures import Headers
from starlette.routing import Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from santacoder.errors import QueueFullError
from santacoder.integrations.ray_serve.call import Call, digest_of_beginning
from santacoder.integrations.ray_serve.relay import RefusedAgainError, Relay
from santacoder.server.errors import ApiError, of_library, unavailable
from santacoder.server.events import event
from santacoder.server.exchange import REQUEST_ID, ClientGoneError, Exchange
from santacoder.server.gate import Gate
from santacoder.server.metrics import Metrics
from santacoder.server.settings import Settings

DEATHS: Final = 3  # of replicas that had a request, after which it is not sent again: it may be what kills them
PAUSE: Final = 0.2  # seconds before a request that was let in once is offered again to replicas without room
#: What a replica needs to know of a request.
_SCOPE: Final = (
    "type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path", "headers",
    "client", "server",
)  # fmt: skip


def make_door(replicas: str, settings: Settings) -> ASGIApp:
    """Make the application that clients speak to, in a deployment beside that of the replicas of this name."""
    handle = serve.get_deployment_handle(replicas).options(stream=True)
    inner: ASGIApp = Router(default=Door(handle, settings))
    return _OneId(Exchange(Gate(inner, settings), metrics=Metrics()))


class _OneId:
    """Gives a request the id that Ray gave it, and leaves Ray to tell the client."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [pair for pair in message["headers"] if pair[0] != b"x-request-id"]
            await send(message)

        id = Headers(scope=scope).get("x-request-id", "") if scope["type"] == "http" else ""
        if id.replace("-", "").isalnum() and id.isascii() and len(id) <= 64:
            scope[REQUEST_ID] = id
        await self._app(scope, receive, send_without_id)


class Door:
    """Sends requests to replicas."""

    def __init__(self, replicas: Any, settings: Settings) -> None:
        self._replicas = replicas
        self._settings = settings
        self._patience = max(settings.queue_timeout, 1.0)  # Ray needs a moment
        self._suffix_first = settings.fim_mode != "psm"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await self._read(receive)
        relay = Relay(send)
        shown = {name: scope[name] for name in (*_SCOPE, REQUEST_ID) if name in scope}
        beginning = digest_of_beginning(scope["path"], body, self._suffix_first)
        call = Call(shown, body, secrets.randbits(64), beginning)
        try:
            await self._forward(call, relay)
        except ApiError as error:
            if not relay.started:
                raise
            last = event(error.body(scope["path"]))
            await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _read(self, receive: Receive) -> bytes:
        """Return the body; of one that is too large, enough for a replica to refuse it."""
        body = bytearray()
        more = True
        while more and len(body) <= self._settings.max_body:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            body += message.get("body", b"")
            more = message.get("more_body", False)
        return bytes(body)

    async def _forward(self, call: Call, relay: Relay) -> None:
        """Have a replica answer; another one if it dies.

        Raises:
            ApiError: no replica can answer.
        """
        deaths, end = 0, monotonic() + self._patience
        while True:
            try:
                async with aclosing(self._messages(call)) as messages:
                    async for message in messages:
                        await relay.take(message)
            except RayActorError:
                deaths += 1
                if deaths == DEATHS:
                    told = f"{deaths} replicas ended while they ran this request"
                    raise unavailable(told, "replica_lost", 5) from None
                end = monotonic() + self._patience
            except RefusedAgainError:
                if monotonic() > end:
                    raise unavailable("no replica has room for this request", "queue_timeout", 30) from None
                await asyncio.sleep(PAUSE)
            else:
                return
            relay.begin_again()

    async def _messages(self, call: Call) -> AsyncGenerator[Message, None]:
        """Send a request to a replica, and yield the messages of its answer."""
        response = self._replicas.answer.remote(call)
        try:
            await asyncio.wait_for(anext(response), self._patience)
            async for messages in response:
                for message in messages:
                    yield message
        except asyncio.TimeoutError:
            raise unavailable("no replica took this request in time", "queue_timeout", 30) from None
        except BackPressureError:
            raise of_library(QueueFullError("more requests wait for a replica than may: try again later")) from None
        except DeploymentUnavailableError:
            raise unavailable("there is no replica", "no_replica", 30) from None
        finally:
            response.cancel()
