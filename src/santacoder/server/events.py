"""Answers that come as events (text/event-stream), while the text is being written."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from time import monotonic
from typing import Any, Final, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from santacoder.batching.prepared import Prepared
from santacoder.decoding.results import Piece
from santacoder.server.exchange import ClientGoneError, api_error, tally_of
from santacoder.server.generation import Ask, pieces
from santacoder.server.service import Service
from santacoder.server.strict_json import write_json

SILENCE: Final = 15.0  # seconds without an event, after which a comment says that the stream goes on
#: In the scope of a request: the connection ends with its answer.
CLOSES: Final = "santacoder.closes"


def event(value: object) -> bytes:
    """Return one event with a JSON object."""
    return b"data: " + write_json(value) + b"\n\n"


class Shown(Protocol):
    """How an answer is shown in a dialect."""

    def begin(self, prepared: Prepared) -> None:
        """Take the samples, and set headers that depend on them."""

    def events(self, index: int, piece: Piece) -> list[Any]:
        """Return the JSON objects for a piece of sample `index`."""

    def last(self) -> bytes:
        """Return the events after all pieces."""


class EventStream(Response):
    """Runs what a request asks for, and sends the events of an answer.

    What is wrong before the first event has an answer of its own. Later errors are an event, which ends the stream.
    """

    def __init__(
        self,
        service: Service,
        request: Request,
        ask: Ask,
        answer: Shown,
        headers: dict[str, str],
    ) -> None:
        super().__init__(media_type="text/event-stream", headers=headers)
        del self.headers["content-length"]
        self._service = service
        self._request = request
        self._ask = ask
        self._shown = answer
        self._extra_headers = headers
        self._sent = monotonic()
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        pinger = asyncio.ensure_future(self._break_silence(send))
        try:
            await self._answer(send)
        except ClientGoneError:
            raise
        except Exception as raised:
            if not self._started:
                raise
            tally = tally_of(self._request)
            tally.outcome = "error"
            scope[CLOSES] = True
            await self._send(send, event(api_error(raised, tally.id).body(scope["path"])))
        finally:
            pinger.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _begin(self, prepared: Prepared) -> None:
        self._shown.begin(prepared)
        self.headers.update(self._extra_headers)

    async def _answer(self, send: Send) -> None:
        with self._service.at_work() as interrupt:
            async with aclosing(pieces(self._service, self._request, self._ask, interrupt, self._begin)) as stream:
                async for index, piece in stream:
                    if shown := self._shown.events(index, piece):
                        await self._send(send, b"".join(map(event, shown)))
        if last := self._shown.last():
            await self._send(send, last)

    async def _send(self, send: Send, data: bytes) -> None:
        if not self._started:
            self._started = True
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        self._sent = monotonic()
        await send({"type": "http.response.body", "body": data, "more_body": True})

    async def _break_silence(self, send: Send) -> None:
        while True:
            left = self._sent + SILENCE - monotonic()
            if left <= 0:
                await self._send(send, b":\n\n")
            else:
                await asyncio.sleep(left)
