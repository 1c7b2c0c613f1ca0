"""uvicorn as we run it: on a socket of ours, without signals, with the bounds of `bounds`.

A stop loses no request that came: see `retire`. It leaves what is answered to the application.
"""

import asyncio
import contextlib
import errno
import resource
import socket
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network, IPv6Network

import uvicorn
from starlette.types import ASGIApp

from receiver.core.errors import SettingsError
from receiver.web.http.connection_limits import ConnectionLimiter
from receiver.web.http.fast_path import FastRoute
from receiver.web.http.graceful_close import WARM_S, GracefulProtocol

BACKLOG = 384  # asyncio takes so many at once, before one can be refused: with CONNECTIONS_MOST they are under 1,024
LISTEN_QUEUE = (
    4096  # who waits in the kernel for us: while nobody takes them, in a restart, at 50 a second for over a minute
)
DESCRIPTORS = 1024  # what these connections need, together with the files and the sends
STOP_MOST_S = 5
WARM_CHECKS = 20  # at whether somebody is still warm
_NO_SOCKET = "--fd {} is no open stream socket that listens; give the number of one, 3 from systemd"


async def run_uvicorn(
    app: ASGIApp,
    listener: socket.socket,
    *,
    whole: FastRoute,
    timeout_s: float,
    proxies: tuple[IPv4Network | IPv6Network, ...],
    draining: asyncio.Event,
    stop: asyncio.Event,
    ready: Callable[[int], None],
) -> None:
    """Serve `app` on `listener` until `stop`, then let requests in flight finish for `STOP_MOST_S`.

    From `draining` on, answers say that their connection ends.
    A head, and then a body, has `timeout_s` to arrive; connections from `proxies` are not bounded per address.
    `ready` is told the port (0 for a socket that has none) once connections are taken. A cancellation ends it at once.
    """

    class ServingProtocol(GracefulProtocol):
        patience_s = timeout_s
        crowd = ConnectionLimiter(proxies)
        leaving = draining

    ServingProtocol.whole = staticmethod(whole)
    config = uvicorn.Config(
        app,
        http=ServingProtocol,
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
    server = _UvicornServer(config, ServingProtocol, stop, ready)
    try:
        await server.serve(sockets=[listener])
    except asyncio.CancelledError:
        for listening in server.servers:
            listening.close()
        raise


def raise_file_limit() -> None:
    """Let this process have `DESCRIPTORS` open; with fewer, asyncio would try to take connections again and again.

    Raises SettingsError where it may not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < DESCRIPTORS:
        if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
            raise SettingsError(f"this process may have {hard} files open and needs {DESCRIPTORS}: ulimit -n 1024")
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))


def bind_socket(host: str, port: int) -> socket.socket:
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
        raise SettingsError(_bind_error(error, host, port)) from None
    return listener


def inherit_socket(fd: int) -> socket.socket:
    """The listening socket that systemd, or whoever started us, left at `fd`. Raises SettingsError."""
    try:
        listener = socket.socket(fileno=fd)  # asks the kernel for its protocol, which TCP_NODELAY needs
    except (OSError, ValueError):
        raise SettingsError(_NO_SOCKET.format(fd)) from None
    try:
        listening = listener.type is socket.SOCK_STREAM and listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        listening = False
    if not listening:
        listener.detach()  # not ours to close
        raise SettingsError(_NO_SOCKET.format(fd))
    listener.set_inheritable(False)
    return listener


def _bind_error(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"RECEIVER_PORT: {port} is in use on {host}; stop what listens there, or choose another"
    if error.errno == errno.EACCES:
        return f"RECEIVER_PORT: {port} needs a privilege to listen on; choose one above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"RECEIVER_HOST: {host} is no address of this machine"
    return f"RECEIVER_HOST, RECEIVER_PORT: cannot listen on {host} port {port}: {error.strerror}"


class _UvicornServer(uvicorn.Server):
    """uvicorn, saying when it is up, woken by an event instead of ten times a second.

    A stop is in three steps: who is warm is told with the next answer that it is the last, while new ones are still
    taken; the listener closes; who is left gets what he is owed.
    """

    def __init__(
        self, config: uvicorn.Config, kind: type[GracefulProtocol], stop: asyncio.Event, ready: Callable[[int], None]
    ) -> None:
        super().__init__(config)
        self.servers = []
        self._kind = kind
        self._stop = stop
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        [listener] = sockets or []
        listener.listen(LISTEN_QUEUE)  # asyncio has set it to the number that it takes at once
        address = listener.getsockname()
        self._ready(address[1] if isinstance(address, tuple) else 0)

    async def main_loop(self) -> None:
        await self._stop.wait()
        self._kind.leaving.set()
        for _ in range(WARM_CHECKS):
            if not any(it.is_warm for it in self.server_state.connections if isinstance(it, GracefulProtocol)):
                break
            await asyncio.sleep(WARM_S / WARM_CHECKS)
        self._kind.last_call = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # they are the caller's
