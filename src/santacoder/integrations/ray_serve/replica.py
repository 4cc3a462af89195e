"""A replica: a model, and the application that answers for it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator
from dataclasses import replace
from functools import partial
from typing import Final

from starlette.types import Message

from santacoder.conversion.find_model import ModelOptions
from santacoder.harness.ray_cluster import same_file
from santacoder.integrations.ray_serve.call import Call
from santacoder.model import SantaCoder
from santacoder.requests import draw_seed
from santacoder.server import Settings, create_app
from santacoder.server.log import write_log
from santacoder.sources.model_name import ModelName
from santacoder.sources.packed import can_pack

PAUSE: Final = 0.02  # seconds between two portions of an answer: each costs Ray about a millisecond of CPU time


class Replica:
    """One of several that answer the same requests with the same bytes."""

    def __init__(
        self,
        name: ModelName,
        options: ModelOptions,
        sha256: str,
        threads: int,
        context: int | None,
        packed: bool,
        settings: Settings,
        quiet: bool,
    ) -> None:
        """Load the model that the name means on this machine.

        Raises:
            InvalidRequestError: its file differs from that of the machine that started the replicas.
        """
        write_log(quiet)
        path = same_file(name, options, sha256)
        model = SantaCoder.load(path, threads, context, packed=packed and can_pack())
        self._app = create_app(model, replace(settings, model_file=str(path)))

    def check_health(self) -> None:
        """Raise ApiError if no step of the model runs although work is waiting: Ray then starts another replica."""
        self._app.state.service.check_health()

    async def answer(self, call: Call) -> AsyncGenerator[list[Message], None]:
        """Yield the messages of the answer, as many at a time as are there; first none, when work begins."""
        yield []
        answer = _Answer(call)
        task = asyncio.ensure_future(self._run(call, answer))
        task.add_done_callback(answer.end)
        try:
            while messages := await answer.take():
                yield messages
                await asyncio.wait([task], timeout=PAUSE)
            await task  # for its error
        finally:
            answer.gone.set()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])

    async def _run(self, call: Call, answer: _Answer) -> None:
        draw_seed.set(partial(random.Random(call.seed).getrandbits, 64))
        await self._app(call.scope, answer.receive, answer.send)


class _Answer:
    """What the application sends, until it is taken.

    Attributes:
        gone: set when nobody waits for the answer any more.
    """

    def __init__(self, call: Call) -> None:
        self.gone = asyncio.Event()
        self._request: Message | None = {"type": "http.request", "body": call.body, "more_body": False}
        self._sent: list[Message] = []
        self._changed = asyncio.Event()
        self._ended = False

    async def receive(self) -> Message:
        """Return the request, and after it wait for the client to leave."""
        message, self._request = self._request, None
        if message is None:
            await self.gone.wait()
            message = {"type": "http.disconnect"}
        return message

    async def send(self, message: Message) -> None:
        """Take a message of the answer."""
        self._sent.append(message)
        self._changed.set()

    def end(self, _: object) -> None:
        """Note that there will be no more."""
        self._ended = True
        self._changed.set()

    async def take(self) -> list[Message]:
        """Wait for messages and return all that are there; none at the end."""
        while not self._sent and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        sent, self._sent = self._sent, []
        return sent
