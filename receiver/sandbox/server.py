"""Runs the sandbox as an HTTP server: inside a test or the demo, or until a signal comes.

The provider's own CLI cannot tell it from the provider.
"""

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator

import uvicorn

from receiver.sandbox.app import Sandbox, create_app
from receiver.sandbox.fates import SandboxOptions

_STOP_MOST_S = 2  # how long requests under way may take at the end


@contextlib.asynccontextmanager
async def open_sandbox(
    options: SandboxOptions | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    clock: Callable[[], float] = time.time,
    report: Callable[[str], None] = lambda line: None,
) -> AsyncIterator[Sandbox]:
    """A sandbox that answers at its `url` until the context ends. Port 0 takes a free one. Signals are not handled.

    `clock` gives seconds since 1970; `report` takes a line for each submission and each callback. Raises OSError if the
    address is taken.
    """
    sandbox = Sandbox(options or SandboxOptions(), clock, report)
    with _bind_socket(host, port) as listener:
        config = uvicorn.Config(
            create_app(sandbox),
            http="httptools",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=_STOP_MOST_S,
        )
        server = _SandboxServer(config)
        shown = f"[{host}]" if ":" in host else host
        sandbox.url = f"http://{shown}:{listener.getsockname()[1]}"
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await server.up.wait()
            yield sandbox
        finally:
            sandbox.stopping.set()
            server.should_exit = True
            await serving


async def serve_sandbox(
    options: SandboxOptions,
    host: str = "127.0.0.1",
    port: int = 9100,
    *,
    ready: Callable[[str], None] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Run a sandbox until SIGINT or SIGTERM. Calls `ready` with its URL once it answers; `report` as `open_sandbox`.

    Raises OSError if the address is taken.
    """
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    try:
        async with open_sandbox(options, host, port, report=report) as sandbox:
            if ready is not None:
                ready(sandbox.url)
            await stop.wait()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


class _SandboxServer(uvicorn.Server):
    """uvicorn with an event for when it is up, and without signal handlers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bind_socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY on the connections; without, each answer takes 40 ms longer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener
