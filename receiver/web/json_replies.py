"""JSON answers without Starlette: every error in one shape, `{"error": {"code", "message", "field"?}}`.

It is apart from `responses`, which imports Starlette, and a start does not wait for that.
"""

import msgspec
from starlette.types import Send

from receiver.client.schemas import Problem, ProblemView
from receiver.core.errors import RequestRefused, StoreError, StoreUnavailable, outage_refusal

JSON = "application/json"
NEVER_CACHED = "no-store"  # each answer is a state of the moment, and most need a token
INTERNAL = RequestRefused(500, "internal_error", "internal error", remedy="see the service's log")


def problem_view(error: RequestRefused) -> ProblemView:
    """A refusal as the body of an error. It may quote what was sent, which UTF-8 may not be able to encode."""
    return ProblemView(Problem(error.code, _encodable_text(str(error)), error.field and _encodable_text(error.field)))


def as_refusal(error: StoreError) -> RequestRefused:
    """The store's error as a 503 of the API."""
    return outage_refusal(error)


def retry_after(error: StoreError) -> str:
    """The seconds to wait, as the value of Retry-After."""
    return str(error.retry_after_s if isinstance(error, StoreUnavailable) else 1)


async def send_json(send: Send, view: object, status: int = 200) -> None:
    """Answer with `view` as JSON, without Starlette."""
    body = msgspec.json.encode(view)
    headers = [
        (b"cache-control", NEVER_CACHED.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"content-type", JSON.encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _encodable_text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
