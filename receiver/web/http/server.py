"""uvicorn as we run it: on our own socket, without signals, with the limits of `connection_limits`.

A stop loses no request that has arrived: see `graceful_close`. What is answered is left to the application.
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

BACKLOG = 384  # asyncio accepts so many at once, before one can be refused; with CONNECTIONS_MOST, under 1,024
LISTEN_QUEUE = 4096  # connections that wait in the kernel: during a restart, at 50 a second, over a minute's worth
DESCRIPTORS = 1024  # open files that the connections, the database and the sends need
STOP_MOST_S = 5
WARM_CHECKS = 20  # of whether a connection is still warm
_NO_SOCKET = "--fd {} is not a listening stream socket"
_NO_SOCKET_REMEDY = "give the number of one; systemd passes it as 3"


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

    Once `draining` is set, answers say that their connection ends.
    A head, and then a body, has `timeout_s` to arrive; connections from `proxies` are not limited per address.
    `ready` is called with the port (0 if it has none) once connections are accepted. A cancellation ends it at once.
    """

    class ServingProtocol(GracefulProtocol):
        patience_s = timeout_s
        limiter = ConnectionLimiter(proxies)
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
        date_header=False,  # it would need a timer
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
    """Let this process have `DESCRIPTORS` files open; with fewer, asyncio would fail to accept again and again.

    Raises SettingsError if the limit cannot be raised.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < DESCRIPTORS:
        if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
            raise SettingsError(
                f"this process may open only {hard} files and needs {DESCRIPTORS}", remedy=f"ulimit -n {DESCRIPTORS}"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))


def bind_socket(host: str, port: int) -> socket.socket:
    """A listening socket on `host` and `port` (0: any free one). Raises SettingsError."""
    # For a text, Python would load its tables of international names first.
    name = host.encode() if host.isascii() else host
    try:
        [found, *_] = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise SettingsError(f"RECEIVER_HOST: {host} is not an address of this machine") from None
    # IPPROTO_TCP is explicit, or asyncio does not set TCP_NODELAY on connections and each answer takes 40 ms longer.
    listener = socket.socket(found[0], socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(found[4])
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _bind_error(error, host, port) from None
    return listener


def inherit_socket(fd: int) -> socket.socket:
    """The listening socket that systemd, or another parent, passed as `fd`. Raises SettingsError."""
    try:
        listener = socket.socket(fileno=fd)  # asks the kernel for its protocol, which TCP_NODELAY needs
    except (OSError, ValueError):
        raise SettingsError(_NO_SOCKET.format(fd), remedy=_NO_SOCKET_REMEDY) from None
    try:
        listening = listener.type is socket.SOCK_STREAM and listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        listening = False
    if not listening:
        listener.detach()  # not ours to close
        raise SettingsError(_NO_SOCKET.format(fd), remedy=_NO_SOCKET_REMEDY)
    listener.set_inheritable(False)
    return listener


def _bind_error(error: OSError, host: str, port: int) -> SettingsError:
    if error.errno == errno.EADDRINUSE:
        text = f"RECEIVER_PORT: {port} is already in use on {host}"
        return SettingsError(text, remedy="stop what listens there, or choose another port")
    if error.errno == errno.EACCES:
        return SettingsError(f"RECEIVER_PORT: only root may listen on {port}", remedy="choose a port above 1023")
    if error.errno == errno.EADDRNOTAVAIL:
        return SettingsError(f"RECEIVER_HOST: {host} is not an address of this machine")
    return SettingsError(f"RECEIVER_HOST, RECEIVER_PORT: cannot listen on {host} port {port}: {error.strerror}")


class _UvicornServer(uvicorn.Server):
    """uvicorn that says when it is up, and waits for an event instead of waking ten times a second.

    It stops in three steps. While new connections are still accepted, warm ones get `Connection: close` with their next
    answer. Then the listener closes. The connections that are left get the answers they are owed.
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
        listener.listen(LISTEN_QUEUE)  # asyncio has set it to BACKLOG
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
        yield  # the caller handles them
