"""The one route that the provider calls: `/callbacks/{token}`. It is plain ASGI, because everything depends on it.

The token is checked before a byte of the body is read, without the database. The body is read under a size and a time
limit, and 200 goes out only after `tasks.ingest` has it on disk. What the body means is left to `tasks.ingest`. The
token is never logged or put into an answer.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from functools import lru_cache, partial

import msgspec
from starlette.types import Receive, Scope, Send

from receiver.client.schemas import VerdictView
from receiver.core.errors import RequestRefused, StoreUnavailable
from receiver.core.types import Verdict
from receiver.service.wiring import ServiceParts
from receiver.telemetry import logs
from receiver.web.http.client_address import peer_address
from receiver.web.json_replies import JSON, as_refusal, problem_view, retry_after

CALLBACK_PATH = "/callbacks/"
HEADERS_MOST = 4096  # bytes of JSON kept of a callback's headers
READING_MOST = 16 * 1024 * 1024  # bytes of all bodies that are still arriving
LINGER_S = 1.0  # how long the rest of a refused body is still read, and
LINGER_MOST = 5 << 20  # at most how many bytes of it: as many as a proxy may send
_PATH_BYTES = CALLBACK_PATH.encode()
_STATUS_LINES = {200: b"HTTP/1.1 200 OK", 503: b"HTTP/1.1 503 Service Unavailable"}
_CONTENT_TYPE = (b"content-type", JSON.encode())
_ALLOW = ((b"allow", b"GET, HEAD, POST"),)
_KEPT_HEADERS = frozenset(
    {
        *(b"content-type", b"content-encoding", b"user-agent", b"date"),
        *(b"signature", b"signature-input", b"content-digest", b"digest", b"repr-digest"),
        *(b"idempotency-key", b"ce-id", b"ce-source", b"ce-type", b"ce-time", b"traceparent"),
    }
)
_KEPT_PREFIXES = (b"x-", b"webhook-", b"svix-")
_KEPT_ENDINGS = (b"-signature", b"-signature-256")  # stripe-signature, and its like
_SECRET_PARTS = (
    *(b"auth", b"cookie", b"cred", b"key", b"pass", b"secret", b"session", b"token"),
    *(b"path", b"uri", b"url", b"x-forwarded", b"x-real-ip"),  # set by a proxy, with our token in them
)

log = logging.getLogger(__name__)


class CallbackEndpoint:
    """The ASGI application behind `/callbacks`."""

    def __init__(self, parts: ServiceParts) -> None:
        self._ring = parts.ring
        self._ingest = parts.ingest
        self._metrics = parts.metrics
        self._most = parts.max_body
        self._timeout_s = parts.body_timeout_s
        self._proxies = parts.trusted_proxies
        self._reading = 0

    def take_whole(
        self, target: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes, answer: Callable[[bytes], None]
    ) -> bool:
        """The `FastRoute` of callbacks: store a good one and give `answer` the response later; False for any other."""
        received = time.perf_counter()
        if not target.startswith(_PATH_BYTES) or len(body) > self._most:
            return False
        ref = self._ring.open(target[len(_PATH_BYTES) :].decode("latin-1"))
        if ref is None:
            return False
        try:
            self._ingest.receive_nowait(
                ref, body, kept_headers(headers), partial(self._answer_whole, ref, received, answer)
            )
        except StoreUnavailable:
            return False
        return True

    def _answer_whole(
        self, ref: str, received: float, answer: Callable[[bytes], None], result: Verdict | StoreUnavailable
    ) -> None:
        answer(_raw_response(*_callback_answer(ref, result)))
        self._metrics.callback_seconds.observe(time.perf_counter() - received)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            ref = self._verify_token(scope)
            logs.bind_ref(ref)
            if scope["method"] == "POST":
                body = await self._read_body(scope, receive)
                if body is not None:  # else its sender is gone
                    await self._store_and_answer(ref, body, scope["headers"], send)
            elif scope["method"] in ("GET", "HEAD"):  # people and the doctor test the URL
                await _send_response(send, 200, msgspec.json.encode({"ref": ref}))
            else:
                raise RequestRefused(405, "method_not_allowed", "this is a callback URL, which takes POST")
        except RequestRefused as refused:
            await _send_refusal(receive, send, refused, *(_ALLOW if refused.status == 405 else ()))
        except StoreUnavailable as error:
            await _send_refusal(receive, send, as_refusal(error), _retry_after_header(error))

    def _verify_token(self, scope: Scope) -> str:
        ref = self._ring.open(scope["path"].removeprefix(CALLBACK_PATH).removesuffix("/"))
        if ref is None:
            self._metrics.count_callbacks(["foreign"])
            address = peer_address(scope, self._proxies)
            extra = {"action": "callback.foreign", "peer": address}
            tests = " (`receiver doctor` tests that it is)" if _is_doctor(scope["headers"]) else ""
            log.info("refused a callback with an unknown token from %s%s", address, tests, extra=extra)
            raise RequestRefused(404, "not_found", "unknown callback URL")
        return ref

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body, or None if its sender is gone. Raises RequestRefused (413, 408) and StoreUnavailable."""
        too_large = RequestRefused(413, "too_large", f"the callback is larger than {self._most} bytes (MAX_BODY)")
        if _content_length(scope["headers"]) > self._most:
            raise too_large
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self._timeout_s):
                while (message := await receive())["type"] == "http.request":
                    chunk = message.get("body", b"")
                    chunks.append(chunk)
                    size += len(chunk)
                    self._reading += len(chunk)
                    if size > self._most:
                        raise too_large
                    if not message.get("more_body", False):
                        return b"".join(chunks)
                    if self._reading > READING_MOST:
                        raise StoreUnavailable("too many callbacks are arriving at once", retry_after_s=2)
        except TimeoutError:
            raise RequestRefused(408, "too_slow", f"the body did not arrive within {self._timeout_s:g} s") from None
        finally:
            self._reading -= size
        return None

    async def _store_and_answer(
        self, ref: str, body: bytes, headers: Iterable[tuple[bytes, bytes]], send: Send
    ) -> None:
        received = time.perf_counter()
        try:
            status, said, more = _callback_answer(
                ref, await self._ingest.receive_callback(ref, body, kept_headers(headers))
            )
        except StoreUnavailable as error:  # as a local it would keep this frame, and the body, until garbage collection
            status, said, more = _callback_answer(ref, error)
        await _send_response(send, status, said, *more)
        self._metrics.callback_seconds.observe(time.perf_counter() - received)


def is_callback_page(path: str) -> bool:
    """Whether a path below `CALLBACK_PATH` is that of a page for people: it begins with the number of a callback, or
    with a name. No token does."""
    first = path.removeprefix(CALLBACK_PATH).partition("/")[0]
    return first.isdigit() or first in ("rows", "replay")


async def send_stopping(send: Send) -> None:
    """Answer a request for which a stop waits no longer."""
    error = StoreUnavailable("the service is stopping", retry_after_s=5)
    await _send_response(send, 503, msgspec.json.encode(problem_view(as_refusal(error))), _retry_after_header(error))


def kept_headers(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The headers worth keeping, as a JSON object of at most `HEADERS_MOST` bytes: the content type, the sender, and
    what a provider may sign or number its callbacks with. None that could be a secret or that a proxy added.

    The known ones go first, so that none of them is left out for want of room; one that was sent twice is joined by a
    comma.
    """
    kept = [pair for pair in headers if _worth_keeping(pair[0])]
    return _encode_headers(tuple(sorted(kept, key=_is_other)))


@lru_cache(maxsize=64)  # a sender's headers are much the same each time
def _encode_headers(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    kept: dict[str, str] = {}
    room = HEADERS_MOST - 2
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        size = len(msgspec.json.encode(name)) + len(msgspec.json.encode(value)) + 2
        if size <= room:
            kept[name] = f"{kept[name]}, {value}" if name in kept else value
            room -= size
    return msgspec.json.encode(kept)


def _is_other(header: tuple[bytes, bytes]) -> bool:
    return header[0].startswith(b"x-")


@lru_cache(maxsize=256)
def _worth_keeping(name: bytes) -> bool:
    if name in _KEPT_HEADERS:
        return True
    if any(part in name for part in _SECRET_PARTS):
        return False
    return name.startswith(_KEPT_PREFIXES) or name.endswith(_KEPT_ENDINGS)


def _callback_answer(
    ref: str, result: Verdict | StoreUnavailable
) -> tuple[int, bytes, tuple[tuple[bytes, bytes], ...]]:
    """The status, body and further headers of the answer to a callback."""
    if isinstance(result, Verdict):
        return 200, msgspec.json.encode(VerdictView(result.value, ref)), ()
    log.warning("a callback could not be stored: %s", result, extra={"action": "callback.refuse", "ref": ref})
    return 503, msgspec.json.encode(problem_view(as_refusal(result))), (_retry_after_header(result),)


def _raw_response(status: int, body: bytes, more: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """The answer as bytes of HTTP/1.1."""
    headers = (_CONTENT_TYPE, (b"content-length", b"%d" % len(body)), *more)
    return b"%b\r\n%b\r\n%b" % (_STATUS_LINES[status], b"".join([b"%b: %b\r\n" % header for header in headers]), body)


def _is_doctor(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the sender calls itself the doctor; anybody can."""
    return any(name == b"user-agent" and value.startswith(b"receiver-doctor/") for name, value in headers)


def _content_length(headers: Iterable[tuple[bytes, bytes]]) -> int:
    given = next((value for name, value in headers if name == b"content-length"), b"")
    return int(given.lstrip(b"0")[:20] or b"0") if given.isdigit() else 0  # 20 digits are enough to be too large


def _retry_after_header(error: StoreUnavailable) -> tuple[bytes, bytes]:
    return b"retry-after", retry_after(error).encode()


async def _send_response(
    send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes], more: bool = False
) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [_CONTENT_TYPE, length, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _send_refusal(receive: Receive, send: Send, refused: RequestRefused, *headers: tuple[bytes, bytes]) -> None:
    """Answer at once, then read some of what is still coming: closing a connection with unread bytes resets it, and the
    answer may be lost."""
    body = msgspec.json.encode(problem_view(refused))
    await _send_response(send, refused.status, body, (b"connection", b"close"), *headers, more=True)
    await end_after_reading(receive, send)


async def end_after_reading(receive: Receive, send: Send) -> None:
    """End an answer that was sent before its request was read, once some of what is still coming has been."""
    left = LINGER_MOST
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while left > 0 and (message := await receive()).get("more_body", False):
                left -= len(message["body"])
    await send({"type": "http.response.body", "body": b"", "more_body": False})
