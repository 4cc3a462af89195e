"""Runs the application with uvicorn: one process, one socket, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette

from santacoder.errors import SantaCoderError
from santacoder.server.protocol import Connections, LimitedProtocol
from santacoder.server.service import Service

KEEP_ALIVE: Final = 30  # seconds that an idle connection stays open
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Server(uvicorn.Server):
    """uvicorn's server, which takes no signals of its own and tells the application at once that it is to stop.

    Attributes:
        caught: the first signal, or None.
    """

    def __init__(self, app: Starlette) -> None:
        self.connections = Connections()
        self.service: Service = app.state.service
        self.service.connections = self.connections.__len__
        self.service.on_failure = self.stop
        self.caught: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        protocol: Any = partial(LimitedProtocol, connections=self.connections)
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                loop="asyncio",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=None,
            )
        )

    def stop(self) -> None:
        """Stop, from any thread: take no more connections, and let requests that are at work end."""
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._begin_to_stop)

    def _begin_to_stop(self) -> None:
        self._told_to_stop.set()
        self.service.stop()
        assert self._loop is not None
        self._loop.call_later(self.service.settings.drain, self.service.interrupt)

    async def main_loop(self) -> None:
        """Wait until the server is told to stop; once a second, where uvicorn does ten times, look at the clock."""
        while not await self.on_tick(0):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._told_to_stop.wait(), 1.0)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until it is told to stop."""
        self._loop = asyncio.get_running_loop()
        self._told_to_stop = asyncio.Event()
        try:
            await super().serve(sockets)
        finally:
            self._loop = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals, where the process lets this thread; a second one ends the process at once."""
        try:
            before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        except ValueError:  # only the main thread may
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.caught is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.caught = number
        self.stop()


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address; port 0 takes a free one.

    Raises:
        SantaCoderError: the address is not this machine's, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(1024)
    except OSError as error:
        bound.close()
        raise SantaCoderError(f"cannot listen at {host}, port {port}: {error.strerror}") from error
    except BaseException:
        bound.close()
        raise
    return bound


def run(app: Starlette, listener: socket.socket, ready: Callable[[], object]) -> Server:
    """Serve on a socket until a signal comes or the model cannot be loaded; `ready` is called when it is loaded.

    Returns:
        The server, which says why it stopped.
    """
    for name in ("uvicorn.error", "asyncio"):  # the application logs its own errors, and clients may leave
        logging.getLogger(name).setLevel(logging.CRITICAL)
    server = Server(app)
    server.service.on_ready = ready
    asyncio.run(server.serve([listener]))
    return server
