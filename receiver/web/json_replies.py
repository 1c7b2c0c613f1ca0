"""How our HTTP speaks: every error in one shape, `{"error": {"code", "message", "field"?}}`, and small answers as they
go over ASGI. What goes through Starlette has its answers from `responses`.
"""

import msgspec
from starlette.types import Send

from receiver.client.schemas import Problem, ProblemView
from receiver.core.errors import RequestRefused, StoreError, StoreUnavailable

JSON = "application/json"
NEVER_CACHED = "no-store"  # each answer is the state of a moment, and most are behind a login
INTERNAL = RequestRefused(500, "internal_error", "this is a fault of ours; the service's log has the details")


def problem_view(error: RequestRefused) -> ProblemView:
    """A refusal as every error's body. It may quote what was sent, which need not be encodable."""
    return ProblemView(Problem(error.code, _encodable_text(str(error)), error.field and _encodable_text(error.field)))


def as_refusal(error: StoreError) -> RequestRefused:
    """The store's "not now" in the words of the API."""
    return RequestRefused(503, "unavailable", f"{error}; nothing was stored, try again later")


def retry_after(error: StoreError) -> str:
    """The seconds that its sender should wait, as the header's value."""
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
