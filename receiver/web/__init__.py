"""The way in: callbacks, the HTTP API, health. `create_app` makes the application of connected parts, `serve` runs it.

Nothing runs at import and the application owns nothing: whoever opened the parts closes them, and the signals belong to
whoever calls `serve`.
"""

import asyncio
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Mount, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from receiver.errors import Refused, StoreError
from receiver.web import health, operations
from receiver.web.answers import translate
from receiver.web.api import OPERATIONS, Api
from receiver.web.auth import Guard
from receiver.web.callbacks import PATH, Callbacks
from receiver.web.openapi import BASE
from receiver.web.server import inherit, listen, run
from receiver.web.stream import Streams
from receiver.wiring import Parts

__all__ = ["create_app", "serve"]


def create_app(parts: Parts, *, stop: asyncio.Event | None = None, draining: asyncio.Event | None = None) -> ASGIApp:
    """The application over `parts`. Once `stop` is set its streams end; once either is, /readyz says so.

    Callbacks go past Starlette, which has nothing to add to their one route and costs a tenth of it.
    """
    stop, draining = stop or asyncio.Event(), draining or asyncio.Event()
    api = Api(parts, Streams(parts.store, stop))
    calls = Router(operations.routes(OPERATIONS, api, parts.body_timeout_s), redirect_slashes=False)
    app = Starlette(
        routes=[
            Mount(BASE, Guard(calls, parts.api_tokens)),
            *health.routes(parts, (stop, draining)),
        ],
        exception_handlers=dict.fromkeys((Refused, StoreError, HTTPException, Exception), translate),
    )
    app.router.redirect_slashes = False  # a redirect would be built from whatever Host the request names
    callbacks = Callbacks(parts)

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        callback = scope["type"] == "http" and scope["path"].startswith(PATH)
        await (callbacks if callback else app)(scope, receive, send)

    return front


async def serve(
    parts: Parts,
    *,
    host: str,
    port: int,
    fd: int | None = None,
    stop: asyncio.Event,
    ready: Callable[[int], None],
    draining: asyncio.Event | None = None,
) -> None:
    """Answer on `host` and `port` (0: any free one), or on the inherited socket `fd`, until `stop`.

    `ready` is told the port once connections are taken. `draining` is set while callbacks are still answered but the
    rest is stopping. At the end the listener closes, streams end at once and requests in flight have 5 s to finish.
    Raises SettingsError where it cannot listen.
    """
    with listen(host, port) if fd is None else inherit(fd) as listener:
        app = create_app(parts, stop=stop, draining=draining)
        await run(app, listener, timeout_s=parts.body_timeout_s, proxies=parts.trusted_proxies, stop=stop, ready=ready)
