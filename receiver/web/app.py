"""`create_app` makes the web application over open parts, `serve` runs it.

Nothing runs at import, and the application owns nothing: the caller closes the parts and handles the signals.
"""

import asyncio
import socket
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from receiver.lazy import LazyValue
from receiver.service.wiring import ServiceParts
from receiver.web.callbacks import CALLBACK_PATH, CallbackEndpoint, is_callback_page, send_stopping
from receiver.web.health import LIVE_PATH, READY_PATH, HealthEndpoints
from receiver.web.http.fast_path import decline_whole
from receiver.web.http.server import bind_socket, raise_file_limit, run_uvicorn


def create_app(
    parts: ServiceParts, *, stop: asyncio.Event | None = None, draining: asyncio.Event | None = None
) -> ASGIApp:
    """The application over `parts`. Once `stop` is set its streams end; once either event is, /readyz says so.

    In the role of a worker it has nothing but the health checks and the metrics.

    Callbacks and health checks bypass Starlette, which would add a tenth to a callback's time. It would add a fifth to
    a start too, so it and the API are made on the first request for them.
    """
    stop, draining = stop or asyncio.Event(), draining or asyncio.Event()
    callbacks, checks = CallbackEndpoint(parts), HealthEndpoints(parts, (stop, draining))

    def make_starlette() -> ASGIApp:
        from receiver.web.routes import create_starlette, create_worker_starlette

        return create_starlette(parts, checks, stop) if parts.role.answers else create_worker_starlette(parts, checks)

    later = LazyValue(make_starlette)

    async def answer_request(scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def watched_send(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await route_request(scope, receive, watched_send)
        except asyncio.CancelledError:  # a stop waits no longer
            if begun:
                raise
            await send_stopping(send)

    async def route_request(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if parts.role.answers and path.startswith(CALLBACK_PATH) and not is_callback_page(path):
            app: ASGIApp = callbacks
        elif path in (LIVE_PATH, READY_PATH) and scope["method"] in ("GET", "HEAD"):
            app = checks
        else:
            app = await later.get()
        await app(scope, receive, send)

    return answer_request


async def serve(
    parts: ServiceParts,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    listener: socket.socket | None = None,
    stop: asyncio.Event,
    ready: Callable[[int], None],
    draining: asyncio.Event | None = None,
) -> None:
    """Answer on `listener`, or else on `host` and `port` (0: any free one), until `stop`.

    `ready` is called with the port once connections are accepted. `draining` is set while callbacks are still answered
    but the rest is stopping: each answer is then its connection's last. At the end the listener closes, streams end at
    once and requests in flight have 5 s to finish.
    Raises SettingsError if it cannot listen.
    """
    raise_file_limit()
    draining = draining or stop
    with listener or bind_socket(host, port) as listener:
        app = create_app(parts, stop=stop, draining=draining)
        await run_uvicorn(
            app,
            listener,
            whole=CallbackEndpoint(parts).take_whole if parts.role.answers else decline_whole,
            timeout_s=parts.body_timeout_s,
            proxies=parts.trusted_proxies,
            draining=draining,
            stop=stop,
            ready=ready,
        )
