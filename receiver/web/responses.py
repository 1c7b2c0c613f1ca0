"""JSON answers through Starlette: views, and a refusal for every error.

`error_response` is the one map from exceptions to answers. What it does not know is a plain 500, whose traceback the
server logs.
"""

import asyncio
from collections.abc import Mapping

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from receiver.core.errors import RequestRefused, StoreError
from receiver.web.json_replies import INTERNAL, JSON, NEVER_CACHED, as_refusal, problem_view, retry_after

PIECE = 64 * 1024  # bytes
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


class PiecewiseResponse(Response):
    """An answer that is sent in pieces, with backpressure: the next one only once the transport has room for it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send_in_pieces(send, bytes(self.body), more=False)


async def send_in_pieces(send: Send, body: bytes, *, more: bool) -> None:
    """Send a part of an answer's body, `PIECE` bytes at a time; `more` parts follow."""
    for at in range(0, max(1, len(body)), PIECE):
        if at:
            await asyncio.sleep(0)  # what was written goes to the transport at the end of this turn of the loop
        left = at + PIECE < len(body)
        await send({"type": "http.response.body", "body": body[at : at + PIECE], "more_body": more or left})


def json_response(view: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`view` as JSON."""
    return PiecewiseResponse(
        msgspec.json.encode(view), status, {"Cache-Control": NEVER_CACHED, **(headers or {})}, JSON
    )


def problem_response(error: RequestRefused, headers: Mapping[str, str] | None = None) -> Response:
    """A refusal as JSON."""
    return json_response(problem_view(error), error.status, headers)


async def error_response(request: Request, error: Exception) -> Response:
    """The answer to an error of any kind."""
    match error:
        case RequestRefused():
            return problem_response(error)
        case StoreError():
            return problem_response(as_refusal(error), {"Retry-After": retry_after(error)})
        case HTTPException():
            code = _CODES.get(error.status_code, "http_error")
            return problem_response(RequestRefused(error.status_code, code, error.detail), error.headers)
        case _:
            return problem_response(INTERNAL)
