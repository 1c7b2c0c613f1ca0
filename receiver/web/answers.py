"""How our HTTP speaks: JSON of the views, and every error in one shape, `{"error": {"code", "message", "field"?}}`.

`translate` is the one map from what the rooms raise to what is answered; what it does not know is a plain 500 whose
traceback the server logs.
"""

from collections.abc import Mapping

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from receiver.errors import Refused, StoreError, Unavailable
from receiver.views import Problem, ProblemView

JSON = "application/json"
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


def answer(view: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`view` as JSON. Never cached: it is the state of a moment, and behind a login."""
    return Response(msgspec.json.encode(view), status, {"Cache-Control": "no-store", **(headers or {})}, JSON)


def problem(error: Refused, headers: Mapping[str, str] | None = None) -> Response:
    """A refusal as JSON."""
    return answer(problem_view(error), error.status, headers)


def problem_view(error: Refused) -> ProblemView:
    """A refusal as every error's body. It may quote what was sent, which need not be encodable."""
    return ProblemView(Problem(error.code, _encodable(error.message), error.field and _encodable(error.field)))


def unavailable(error: StoreError) -> Refused:
    """The store's "not now" in the words of the API."""
    return Refused(503, "unavailable", f"{error}; nothing was stored, try again later")


def retry_after(error: StoreError) -> str:
    """The seconds that its sender should wait, as the header's value."""
    return str(error.retry_after_s if isinstance(error, Unavailable) else 1)


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
            return problem(Refused(500, "internal_error", "this is a fault of ours; the service's log has the details"))


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
