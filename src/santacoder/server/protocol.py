"""uvicorn's protocol for h11, with what it lacks: limits of heads, slow senders and readers, and of connections.

Its parser bounds only heads that arrive in pieces, and its one timer runs between requests. Here a head is measured
after it was parsed too; a request must be complete in time; a reader must go on reading; and what is refused before the
application sees it has an error of the same shape as the application's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from http import HTTPStatus
from time import monotonic
from typing import Any, Final, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from santacoder.server.errors import ApiError
from santacoder.server.events import CLOSES
from santacoder.server.exchange import COMMON_HEADERS, new_id
from santacoder.server.log import log
from santacoder.server.strict_json import write_json

HEAD_BYTES: Final = 32 << 10
HEADERS: Final = 100
TARGET_BYTES: Final = 8 << 10
UNSENT_BYTES: Final = 256 << 10
CONNECTIONS: Final = 512
SECONDS: Final = 10.0  # for a head, and for the beginning of a body
BYTES_PER_SECOND: Final = 1024  # of a body after that
READER_SECONDS: Final = 30.0  # in which a slow reader must take something
LINGER_SECONDS: Final = 2.0  # to let a client read why it was refused, while it still sends


@dataclass(slots=True)
class Connections:
    """The open connections of a server, the oldest first."""

    open: dict[LimitedProtocol, None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.open)

    def add(self, new: LimitedProtocol) -> None:
        """Note a new one; where there are too many, the oldest idle one ends, or else the new one."""
        self.open[new] = None
        if len(self.open) > CONNECTIONS:
            idle = next((each for each in self.open if each.is_idle), new)
            del self.open[idle]
            idle.transport.abort()


class Connection(h11.Connection):
    """h11's, with limits for heads that arrive at once, and without two ways to tell a body's length."""

    refusal: ApiError | None = None

    def next_event(self) -> Any:
        """Return the next event; of a head that is too large or ambiguous, raise an error in its place."""
        event = super().next_event()
        if isinstance(event, h11.Request) and (error := check_head(event)) is not None:
            self.refusal = error
            raise h11.RemoteProtocolError(error.message, error_status_hint=error.status)
        return event


def check_head(event: h11.Request) -> ApiError | None:
    """Return what is wrong with the head of a request, or None."""
    if len(event.target) > TARGET_BYTES:
        return _closing(414, f"the URI has {len(event.target)} bytes, but {TARGET_BYTES} are the most", "uri_too_long")
    headers = list(event.headers)
    size = sum(len(name) + len(value) + 4 for name, value in headers)
    if len(headers) > HEADERS:
        return _closing(431, f"the request has {len(headers)} headers, but {HEADERS} are the most", "too_many_headers")
    if size > HEAD_BYTES:
        return _closing(431, f"the headers have {size} bytes, but {HEAD_BYTES} are the most", "headers_too_large")
    names = {name for name, _ in headers}
    if b"transfer-encoding" in names and b"content-length" in names:
        return _closing(400, "the request has both Content-Length and Transfer-Encoding", None)
    return None


def _closing(status: int, message: str, code: str | None) -> ApiError:
    return ApiError(status, message, code=code, closes=True)


class LimitedProtocol(H11Protocol):
    """One connection."""

    conn: Connection

    def __init__(self, *args: Any, connections: Connections, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = Connection(h11.SERVER, HEAD_BYTES)
        self._all = connections
        self._sender: asyncio.TimerHandle | None = None  # runs while a request is not complete
        self._began = 0.0  # when its first byte came
        self._received = 0  # bytes since then
        self._reader: asyncio.TimerHandle | None = None  # runs while the client does not read
        self._lingers = False

    @property
    def is_idle(self) -> bool:
        """Whether no request is at work, or on its way."""
        return self._received == 0 and (self.cycle is None or self.cycle.response_complete)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; the first request has to come soon."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=UNSENT_BYTES)
        self.transport = cast("asyncio.Transport", LingeringTransport(transport, self))
        self._expect(0)
        self._all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._all.open.pop(self, None)
        for timer in (self._sender, self._reader):
            if timer is not None:
                timer.cancel()
        self._sender = self._reader = None
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """Take bytes of requests."""
        if self._lingers:
            return
        if self._sender is None:
            self._expect(0)
        self._received += len(data)
        super().data_received(data)
        self._watch_sender()

    def on_response_complete(self) -> None:
        """Go on with the next request, of which a part may have come already."""
        if self.scope.get(CLOSES):
            self.transport.close()
        super().on_response_complete()
        self._watch_sender()

    def _expect(self, received: int) -> None:
        """Begin to wait for the rest of a request."""
        self._began, self._received = monotonic(), received
        self._sender = self.loop.call_later(SECONDS, self._check_sender)

    def _watch_sender(self) -> None:
        """Wait for the rest of a request if there is a part of it, and no more if it is there."""
        state, begun = self.conn.their_state, len(self.conn.trailing_data[0])
        if state is h11.SEND_BODY or (state is h11.IDLE and begun):
            if self._sender is None:
                self._unset_keepalive_if_required()
                self._expect(begun)
        elif self._sender is not None:
            self._sender.cancel()
            self._sender = None
            self._received = 0

    def _check_sender(self) -> None:
        """Refuse a request that is not complete: its time is up, or its body comes too slowly."""
        self._sender = None
        in_body = self.conn.their_state is h11.SEND_BODY
        end = self._began + SECONDS + (self._received / BYTES_PER_SECOND if in_body else 0.0)
        left = end - monotonic()
        if left > 0:
            self._sender = self.loop.call_later(left, self._check_sender)
        elif self._received:
            self.refuse(_closing(408, f"the request was not complete after {SECONDS:.0f} seconds", "request_timeout"))
        else:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not a request; uvicorn calls this for each error of the parser."""
        error = self.conn.refusal
        if error is None:
            head = self.conn.trailing_data[0]
            if len(head) > HEAD_BYTES:
                long_target = b"\n" not in head[:TARGET_BYTES]
                status, code = (414, "uri_too_long") if long_target else (431, "headers_too_large")
                error = _closing(status, f"the head has more than {HEAD_BYTES} bytes", code)
            else:
                error = _closing(400, "the request is not HTTP/1.1 as RFC 9112 has it", None)
        self.refuse(error)

    def refuse(self, error: ApiError) -> None:
        """Answer before the application can, or in its place, and close the connection."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body, id = write_json(error.body("")), new_id()
            headers = [
                *COMMON_HEADERS,
                ("x-request-id", id),
                ("content-type", "application/json"),
                *error.headers.items(),
            ]
            head = h11.Response(
                status_code=error.status,
                headers=[*headers, ("content-length", str(len(body)))],
                reason=HTTPStatus(error.status).phrase,
            )
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            log.info("%s - - %d %s", id, error.status, error.code or "malformed")
        self.transport.close()

    # Readers.

    def pause_writing(self) -> None:
        """Wait for a client that does not read, but not for ever."""
        super().pause_writing()
        size = self.transport.get_write_buffer_size()
        if self._reader is None:
            self._reader = self.loop.call_later(READER_SECONDS, self._check_reader, size)

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    def _check_reader(self, before: int) -> None:
        size = self.transport.get_write_buffer_size()
        self._reader = None
        if size >= before:
            self.transport.abort()
        else:
            self._reader = self.loop.call_later(READER_SECONDS, self._check_reader, size)

    def linger(self, transport: asyncio.Transport) -> None:
        """Close a connection on which bytes still come: read them for a while, or the answer might be lost."""
        self._lingers = True
        transport.write_eof()
        transport.resume_reading()
        self.loop.call_later(LINGER_SECONDS, transport.close)

    @property
    def is_sending(self) -> bool:
        """Whether more of a request is to come, or an unknown amount of something that is none."""
        return self.conn.their_state in (h11.SEND_BODY, h11.ERROR) or self.conn.refusal is not None


class LingeringTransport:
    """A transport that does not close while its client is still sending."""

    def __init__(self, transport: asyncio.Transport, protocol: LimitedProtocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self._closing = False

    def close(self) -> None:
        """Close, now or soon."""
        if self._closing:
            return
        self._closing = True
        if self._protocol.is_sending and not self._transport.is_closing():
            self._protocol.linger(self._transport)
        else:
            self._transport.close()

    def is_closing(self) -> bool:
        """Return whether it is closed, or will be."""
        return self._closing or self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
