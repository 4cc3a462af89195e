"""Who may wait: a request is let in or refused before its body is looked at, however many come at once."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from santacoder.errors import QueueFullError
from santacoder.model import SantaCoder
from santacoder.server.exchange import tally_of

#: In the scope of a request that was let in: its place.
PLACE: Final = "santacoder.place"
#: Seconds that a request that was let in waits at most for others that are still to be let in or refused.
COURTESY: Final = 0.05


class Admission:
    """Counts the samples that were let in and are not in the model's queue yet, and lets requests begin in turn.

    To read and to tokenize a request takes far longer than to refuse one. So requests that were let in begin one by
    one, and only when no others come.
    """

    def __init__(self) -> None:
        self._coming = 0
        self._queued: int | None = None  # samples of the model; forgotten when the loop goes on
        self._line: deque[tuple[float, asyncio.Future[None]]] = deque()  # since when, and what to wait for
        self._others_came = False  # since the first of the line was looked at

    def enter(self, model: SantaCoder) -> Place:
        """Let a request in.

        Raises:
            QueueFullError: too many samples wait.
            ModelClosedError: the model is closed.
        """
        self._others_came = True
        self._check(model, 0)
        return Place(self, model)

    async def turn(self) -> None:
        """Wait for the turn of a request that was let in."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._line.append((loop.time(), turn))
        if len(self._line) == 1:
            loop.call_soon(self._call_next)
        await turn

    def _call_next(self) -> None:
        loop = asyncio.get_running_loop()
        since, turn = self._line[0]
        if not self._others_came or loop.time() > since + COURTESY:
            self._line.popleft()
            if not turn.done():
                turn.set_result(None)
        self._others_came = False
        if self._line:
            loop.call_soon(self._call_next)

    def _check(self, model: SantaCoder, own: int) -> None:
        if self._queued is None:
            counters = model.counters()
            self._queued = counters.running + counters.waiting
            asyncio.get_running_loop().call_soon(self._forget)
        unfinished = self._queued + self._coming - own
        if not model.limits.has_room(unfinished):
            raise QueueFullError(f"{unfinished} samples run or wait already, as many as may: try again later")

    def _forget(self) -> None:
        self._queued = None


class Place:
    """What a request has from when it is let in until its samples are in the model's queue."""

    def __init__(self, admission: Admission, model: SantaCoder) -> None:
        self._admission = admission
        self._model = model
        self._samples = 1
        admission._coming += 1

    def claim(self, samples: int) -> None:
        """Say how many samples there are.

        Raises:
            QueueFullError: those that were let in before brought so many that this request has to be refused.
        """
        self._admission._check(self._model, self._samples)
        self._admission._coming += samples - self._samples
        self._samples = samples

    def leave(self, queued: bool = False) -> None:
        """Give the place up: right before the samples are `queued`, or when there are none to come for now."""
        admission = self._admission
        admission._coming -= self._samples
        if queued and admission._queued is not None:
            admission._queued += self._samples
        self._samples = 0


class Entrance:
    """Lets requests through to an application that runs the model, or refuses them."""

    def __init__(self, app: ASGIApp, endpoint: str) -> None:
        """Take the application, and the endpoint's name in the metrics."""
        self._app = app
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tally_of(Request(scope)).endpoint = self._endpoint
        service = scope["app"].state.service
        admission: Admission = service.admission
        place = scope[PLACE] = admission.enter(service.model)
        asks_first = "expect" in Headers(scope=scope)  # and sends nothing until the body is received
        messages = [] if asks_first else [asyncio.ensure_future(receive())]
        try:
            await admission.turn()
            if not messages or not messages[0].done() or messages[0].result().get("more_body"):
                place.leave()  # a body that is still to come keeps nobody out
            await self._app(scope, lambda: messages.pop() if messages else receive(), send)
        finally:
            for message in messages:
                message.cancel()
            place.leave()


def admitted(endpoint: str) -> list[Middleware]:
    """Return what stands before an endpoint that runs the model."""
    return [Middleware(Entrance, endpoint=endpoint)]
