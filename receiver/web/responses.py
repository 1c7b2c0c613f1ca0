"""Starlette's answers: JSON of the views, and a refusal for every error.

`translate` is the one map from what the rooms raise to what is answered; what it does not know is a plain 500 whose
traceback the server logs.
"""

from collections.abc import Mapping

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from receiver.core.errors import Refused, StoreError
from receiver.web.json_replies import INTERNAL, JSON, NEVER_CACHED, problem_view, retry_after, unavailable

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


def answer(view: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`view` as JSON."""
    return Response(msgspec.json.encode(view), status, {"Cache-Control": NEVER_CACHED, **(headers or {})}, JSON)


def problem(error: Refused, headers: Mapping[str, str] | None = None) -> Response:
    """A refusal as JSON."""
    return answer(problem_view(error), error.status, headers)


async def translate(request: Request, error: Exception) -> Response:
    """The answer to an error of any kind."""
    match error:
        case Refused():
            return problem(error)
        case StoreError():
            return problem(unavailable(error), {"Retry-After": retry_after(error)})
        case HTTPException():
            code = _CODES.get(error.status_code, "http_error")
            return problem(Refused(error.status_code, code, error.detail), error.headers)
        case _:
            return problem(INTERNAL)
