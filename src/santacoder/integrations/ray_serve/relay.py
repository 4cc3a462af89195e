"""Passes an answer on to its client, also one that begins again: each part of it once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import Message, Send

from santacoder.server.strict_json import write_json

_DATA: Final = b"data: "
_NAMES: Final = frozenset({"id", "created"})  # of a stream: those of its first events hold to the end


class RefusedAgainError(Exception):
    """A replica has no room for a request that another one had taken."""


class Relay:
    """Passes on the messages of one answer.

    A stream is passed on as it comes. When it begins again, as many events of each sample are left out as were passed
    on: an answer that is made twice is cut into the same events. Any other answer is passed on when it is complete.

    Attributes:
        started: whether the client has got anything.
    """

    def __init__(self, send: Send) -> None:
        self.started = False
        self._send = send
        self._is_stream = False
        self._is_again = False
        self._held: list[Message] = []
        self._passed: Counter[Any] = Counter()  # events of each sample
        self._left_out: Counter[Any] = Counter()  # that are to be left out yet
        self._names: dict[str, Any] = {}

    def begin_again(self) -> None:
        """Forget what was not passed on; the same answer will come again from its beginning."""
        self._is_again = True
        self._held.clear()
        self._left_out = self._passed.copy()

    async def take(self, message: Message) -> None:
        """Take the next message.

        Raises:
            RefusedAgainError: it is a refusal of a request that had been let in before.
        """
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif self._is_stream:
            new = b"".join(event + b"\n\n" for event in self._new_events(message.get("body", b"")))
            if new or not message.get("more_body"):
                await self._send({**message, "body": new})
        else:
            self._held.append(message)
            if not message.get("more_body"):
                self.started = True
                for held in self._held:
                    await self._send(held)

    async def _begin(self, message: Message) -> None:
        kind = Headers(raw=message["headers"]).get("content-type", "")
        self._is_stream = kind.startswith("text/event-stream")
        if self._is_again and (message["status"] in (429, 503) or (self.started and not self._is_stream)):
            raise RefusedAgainError
        if not self._is_stream:
            self._held.append(message)
        elif not self.started:
            self.started = True
            await self._send(message)

    def _new_events(self, body: bytes) -> Iterator[bytes]:
        for event in filter(None, body.split(b"\n\n")):
            value = json.loads(event[len(_DATA) :]) if event.startswith(_DATA + b"{") else {}
            if event.startswith(_DATA) and "error" not in value:
                sample = _sample(value) if value else event  # [DONE]
                if self._left_out[sample]:
                    self._left_out[sample] -= 1
                    continue
                self._passed[sample] += 1
            for name in _NAMES & value.keys():
                self._names.setdefault(name, value[name])
            if self._is_again and value:
                value |= {name: known for name, known in self._names.items() if name in value}
                event = _DATA + write_json(value)
            yield event


def _sample(value: dict[str, Any]) -> Any:
    """Return the index of the sample that an event is about, or None."""
    choices = value.get("choices")
    return choices[0].get("index") if choices else value.get("index")
