"""What is answered while the database is not there yet: /healthz as ever, all else with 503 and why.

It has no parts to answer with. Each answer is its connection's last, so that nothing holds up the real application,
which then listens on the same socket: whoever connects in between waits in the kernel.
"""

import asyncio
import socket
from collections.abc import Callable

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from receiver.core.errors import RequestRefused
from receiver.web.callbacks import end_after_reading
from receiver.web.health import LIVE_PATH, READY_PATH, HealthReport
from receiver.web.http.fast_path import decline_whole
from receiver.web.http.server import raise_file_limit, run_uvicorn
from receiver.web.json_replies import JSON, problem_view

AGAIN_S = 2  # when a sender may try again


def create_waiting_app(why: Callable[[], str]) -> ASGIApp:
    """The application that says `why` there is no other yet."""

    async def answer_request(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == LIVE_PATH:
            status, view = 200, HealthReport("ok")
        elif scope["path"] == READY_PATH:
            status, view = 503, HealthReport("unready", why())
        else:
            refused = RequestRefused(503, "unavailable", f"nothing was stored: {why()}", remedy="try again later")
            await _answer(receive, send, 503, msgspec.json.encode(problem_view(refused)))
            return
        await _answer(receive, send, status, msgspec.json.encode(view))

    return answer_request


async def _answer(receive: Receive, send: Send, status: int, body: bytes) -> None:
    """Answer at once, then read some of what is still coming: else the connection is reset, and the answer lost."""
    headers = [
        (b"content-type", JSON.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
        *([(b"retry-after", b"%d" % AGAIN_S)] if status != 200 else []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await end_after_reading(receive, send)


async def serve_waiting(listener: socket.socket, stop: asyncio.Event, why: Callable[[], str], timeout_s: float) -> None:
    """Answer on `listener`, which stays open, until `stop`; a head has `timeout_s` to arrive."""
    raise_file_limit()
    await run_uvicorn(
        create_waiting_app(why),
        listener.dup(),
        whole=decline_whole,
        timeout_s=timeout_s,
        proxies=(),
        draining=asyncio.Event(),
        stop=stop,
        ready=lambda port: None,
    )
