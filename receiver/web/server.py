"""uvicorn as we run it: on a socket of ours, without signals, with two bounds that it does not have.

A request's head has a deadline and a size (httptools knows neither), and a stop lets what is in flight finish, for 5 s.
It leaves what is answered to the application.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from receiver.errors import SettingsError

BACKLOG = 2048
HEAD_MOST = 64 * 1024  # bytes of a head that has not ended yet; h11's limit too
STOP_MOST_S = 5
WHOLE = "receiver.whole"  # in a request's scope once its body is here to the end: nothing is to be waited for
_NO_SOCKET = "--fd {} is no open stream socket; give the number of one, 3 from systemd"


async def run(
    app: ASGIApp, listener: socket.socket, *, head_timeout_s: float, stop: asyncio.Event, ready: Callable[[int], None]
) -> None:
    """Serve `app` on `listener` until `stop`, then let requests in flight finish for `STOP_MOST_S`.

    `ready` is told the port (0 for a socket that has none) once connections are taken. A cancellation ends it at once.
    """

    class Bounded(_Bounded):
        head_s = head_timeout_s

    config = uvicorn.Config(
        app,
        http=Bounded,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,  # it would take a timer
        backlog=BACKLOG,
        timeout_graceful_shutdown=STOP_MOST_S,
    )
    server = _Server(config, stop, ready)
    try:
        await server.serve(sockets=[listener])
    except asyncio.CancelledError:
        for listening in server.servers:
            listening.close()
        raise


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to `host` and `port` (0: any free one). Raises SettingsError."""
    try:
        [found, *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise SettingsError(f"RECEIVER_HOST: {host} is no address of this machine") from None
    # Said to be TCP, or asyncio does not set TCP_NODELAY on its connections and each answer takes 40 ms longer.
    listener = socket.socket(found[0], socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(found[4])
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(_why_not(error, host, port)) from None
    return listener


def inherit(fd: int) -> socket.socket:
    """The listening socket that systemd, or whoever started us, left at `fd`. Raises SettingsError."""
    try:
        listener = socket.socket(fileno=fd)  # asks the kernel for its protocol, which TCP_NODELAY needs
    except (OSError, ValueError):
        raise SettingsError(_NO_SOCKET.format(fd)) from None
    if listener.type is not socket.SOCK_STREAM:
        listener.detach()  # not ours to close
        raise SettingsError(_NO_SOCKET.format(fd))
    return listener


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"RECEIVER_PORT: {port} is in use on {host}; stop what listens there, or choose another"
    if error.errno == errno.EACCES:
        return f"RECEIVER_PORT: {port} needs a privilege to listen on; choose one above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"RECEIVER_HOST: {host} is no address of this machine"
    return f"RECEIVER_HOST, RECEIVER_PORT: cannot listen on {host} port {port}: {error.strerror}"


class _Server(uvicorn.Server):
    """uvicorn, saying when it is up, woken by an event instead of ten times a second."""

    def __init__(self, config: uvicorn.Config, stop: asyncio.Event, ready: Callable[[int], None]) -> None:
        super().__init__(config)
        self.servers = []
        self._stop = stop
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        [listener] = sockets or []
        address = listener.getsockname()
        self._ready(address[1] if isinstance(address, tuple) else 0)

    async def main_loop(self) -> None:
        await self._stop.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # they are the caller's


class _Bounded(HttpToolsProtocol):
    """A connection whose next head has `head_s` seconds to arrive, from its first byte on (the first head: from the
    connection on), and `HEAD_MOST` bytes. A connection that breaks either is closed."""

    head_s: float

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.access_log = False  # it would print paths, hence tokens
        self._heading = True  # between two requests, or in a head
        self._moved_on = False
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        super().connection_made(transport)
        self._deadline = self.loop.call_later(self.head_s, self._too_late)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._heading, self._moved_on = False, True
        self._head_bytes = 0
        self._disarm()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._heading, self._moved_on = True, True
        self.scope[WHOLE] = True  # type: ignore[literal-required]  # ASGI lets a server add keys

    def data_received(self, data: bytes) -> None:
        self._moved_on = False
        super().data_received(data)
        if self._moved_on or not self._heading:
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_MOST:
            self._close()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.head_s, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def _too_late(self) -> None:
        self._deadline = None
        if self.cycle is None or self.cycle.response_complete:
            self._close()
        else:  # the head of a pipelined request: the one before is still being answered
            self._deadline = self.loop.call_later(self.head_s, self._too_late)

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
