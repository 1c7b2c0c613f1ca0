"""What goes through Starlette: the API, /metrics, pictures, what the doctor asks, and a refusal for all other paths."""

import asyncio
import re

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp

from receiver.core.errors import Refused, StoreError
from receiver.service.wiring import Parts
from receiver.telemetry.metrics import MEDIA_TYPE
from receiver.tokens import Purpose
from receiver.web.access import Guard, Tokens
from receiver.web.api import operations
from receiver.web.api.handlers import OPERATIONS, Api
from receiver.web.api.openapi import BASE
from receiver.web.api.stream import Streams
from receiver.web.health import LIVE, READY, Checks, gauges
from receiver.web.images import Images
from receiver.web.responses import answer, translate

_NONCE = re.compile(r"[0-9a-f]{16,64}")


def application(parts: Parts, checks: Checks, stop: asyncio.Event) -> ASGIApp:
    """The application over `parts`. Once `stop` is set its streams end; `checks` is here for what is no GET: 405."""
    api = Api(parts, Streams(parts.store, stop))
    calls = Router(operations.routes(OPERATIONS, api, parts.body_timeout_s), redirect_slashes=False)

    async def root(request: Request) -> Response:
        return answer({"service": "receiver", "api": BASE, "openapi": f"{BASE}/openapi.json"})

    async def metrics(request: Request) -> Response:
        return Response(parts.metrics.text(await gauges(parts, checks)), media_type=MEDIA_TYPE)

    async def doctor(request: Request) -> Response:
        nonce = request.path_params["nonce"]
        if not _NONCE.fullmatch(nonce):
            raise Refused(404, "not_found", "the doctor asks with 16 to 64 hex digits")
        return answer({"nonce": nonce, "mac": parts.ring.sign(Purpose.DOCTOR, nonce)})

    guarded = Route("/metrics", metrics)
    guarded.app = Guard(guarded.app, parts.api_tokens)
    images = Images(parts.files, parts.links, Tokens(parts.api_tokens), parts.clock)
    app = Starlette(
        routes=[
            Mount(BASE, Guard(calls, parts.api_tokens)),
            Route("/", root),
            *(Route(path, checks, methods=["GET"]) for path in (LIVE, READY)),
            Route("/doctor/{nonce}", doctor),
            guarded,
            images.route(),
        ],
        exception_handlers=dict.fromkeys((Refused, StoreError, HTTPException, Exception), translate),
    )
    app.router.redirect_slashes = False  # a redirect would be built from whatever Host the request names
    return app
