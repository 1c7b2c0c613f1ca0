"""What goes through Starlette: the API, /metrics, pictures, the doctor's question, and all other paths: the pages."""

import asyncio
import re

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from receiver.core.errors import RequestRefused, StoreError
from receiver.lazy import LazyValue
from receiver.service.wiring import ServiceParts
from receiver.telemetry.metrics import MEDIA_TYPE
from receiver.tokens import MacPurpose
from receiver.web.access import ApiTokens, AuthMiddleware
from receiver.web.api import operations
from receiver.web.api.handlers import OPERATIONS, ApiCalls
from receiver.web.api.openapi import BASE
from receiver.web.api.stream import EventStreams
from receiver.web.health import LIVE_PATH, READY_PATH, GaugeReader, HealthEndpoints
from receiver.web.images import ImageEndpoint
from receiver.web.pages.access.sessions import Sessions
from receiver.web.responses import error_response, json_response

_NONCE = re.compile(r"[0-9a-f]{16,64}")
_ERRORS = (RequestRefused, StoreError, HTTPException, Exception)


def create_starlette(parts: ServiceParts, checks: HealthEndpoints, stop: asyncio.Event) -> ASGIApp:
    """The application over `parts`. Once `stop` is set its streams end. `checks` is routed for its 405s."""
    api = ApiCalls(parts, EventStreams(parts.store, parts.submit.queue.find_waits, stop))
    calls = Router(operations.build_routes(OPERATIONS, api, parts.body_timeout_s), redirect_slashes=False)

    sessions = Sessions(parts)

    def make_site() -> ASGIApp:
        from receiver.web.pages.site import create_site  # only for a page: the API does without templates

        return create_site(parts, sessions, stop)

    site = LazyValue(make_site)

    async def answer_page(scope: Scope, receive: Receive, send: Send) -> None:
        at_root = scope["path"] == "/" and scope["method"] in ("GET", "HEAD")
        if at_root and "text/html" not in Request(scope).headers.get("accept", ""):
            app: ASGIApp = json_response({"service": "receiver", "api": BASE, "openapi": f"{BASE}/openapi.json"})
        else:
            app = await site.get()
        await app(scope, receive, send)

    async def answer_doctor(request: Request) -> Response:
        nonce = request.path_params["nonce"]
        if not _NONCE.fullmatch(nonce):
            raise RequestRefused(404, "not_found", "the nonce must have 16 to 64 hex digits")
        return json_response({"nonce": nonce, "mac": parts.ring.sign(MacPurpose.DOCTOR, nonce)})

    async def is_logged_in(request: Request) -> bool:
        return await sessions.open(request) is not None

    images = ImageEndpoint(parts.files, parts.links, ApiTokens(parts.api_tokens), parts.clock, is_logged_in)
    app = Starlette(
        routes=[
            Mount(BASE, AuthMiddleware(calls, parts.api_tokens)),
            *_check_routes(checks),
            Route("/doctor/{nonce}", answer_doctor),
            _metrics_route(parts, checks),
            images.route(),
        ],
        exception_handlers=dict.fromkeys(_ERRORS, error_response),
    )
    app.router.default = answer_page  # not a route: a path above that is asked in another way has to be a 405
    app.router.redirect_slashes = False  # a redirect would contain whatever Host the request names
    return app


def create_worker_starlette(parts: ServiceParts, checks: HealthEndpoints) -> ASGIApp:
    """The application of a process that only works: metrics, and 404 for all that others answer."""
    app = Starlette(
        routes=[*_check_routes(checks), _metrics_route(parts, checks)],
        exception_handlers=dict.fromkeys(_ERRORS, error_response),
    )
    app.router.redirect_slashes = False
    return app


def _check_routes(checks: HealthEndpoints) -> list[Route]:
    return [Route(path, checks, methods=["GET"]) for path in (LIVE_PATH, READY_PATH)]


def _metrics_route(parts: ServiceParts, checks: HealthEndpoints) -> Route:
    gauges = GaugeReader(parts, checks)

    async def show_metrics(request: Request) -> Response:
        return Response(parts.metrics.render_text(await gauges.read()), media_type=MEDIA_TYPE)

    route = Route("/metrics", show_metrics)
    route.app = AuthMiddleware(route.app, parts.api_tokens)
    return route
