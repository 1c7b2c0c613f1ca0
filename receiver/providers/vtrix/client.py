"""The HTTP client for Vtrix: one submission, one poll, and what each answer means.

No call raises, whatever the network or the provider does. NOT_SENT means that not one byte of the request left. Neither
the key nor the callback URL appears in a result. Retries, rates and pauses are left to the callers.
"""

import asyncio
import re
from contextlib import aclosing
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import msgspec
from msgspec import Struct

from receiver import __version__
from receiver.core.errors import SettingsError
from receiver.core.schedule import RETRY_AFTER_MOST
from receiver.core.types import (
    Clock,
    Outcome,
    PollReply,
    PollResult,
    SubmitAnswer,
    SubmitResult,
    TaskError,
)
from receiver.providers.address import check_url_and_key
from receiver.providers.content_coding import unpack
from receiver.providers.echoes import REDACTED, EchoRedactor
from receiver.providers.vtrix import bodies
from receiver.providers.vtrix.answers import judge_reply, judge_submission

CONNECT_S = 10.0
SUBMIT_S = 30.0  # in total; the official clients wait as long
POLL_S = 10.0
BODY_MOST = 1 << 20  # bytes of an answer
TEXT_MOST = 300  # characters of `SubmitAnswer.text` and `PollReply.text`

_TASK_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")  # it goes into a path, and may come from a foreign body
_ANY_URL = re.compile(r"https?:\S+", re.IGNORECASE)
_SECRET_LEAST = 16  # characters; a shorter last path segment is not a token, and would match everywhere


class _HttpExchange(Struct, frozen=True):
    """One request and its answer. `status` 0: there was none. `body`: unpacked, as far as it came; empty if it is too
    large. `fault`: why not all of it came."""

    sent: bool
    status: int = 0
    body: bytes = b""
    retry_after: str | None = None
    fault: str = ""


class Vtrix:
    """A client of Vtrix's generation API at `url`, over a shared `client`.

    `clock` is for a Retry-After that is a date; timeouts are in seconds. Raises SettingsError if `url` is not an http
    or https URL, or if `key` cannot go into a header.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        key: str,
        *,
        clock: Clock,
        connect_s: float = CONNECT_S,
        submit_s: float = SUBMIT_S,
        poll_s: float = POLL_S,
    ) -> None:
        check_url_and_key(url, key)
        try:
            self._host = httpx.URL(url).host
        except httpx.InvalidURL:
            raise SettingsError("PROVIDER_URL is not a valid URL") from None
        self._client = client
        self._url = url.rstrip("/")
        self._key = key
        self._echoes = EchoRedactor(key)
        self._clock = clock
        self._connect_s = connect_s
        self._submit_s = submit_s
        self._poll_s = poll_s

    def __repr__(self) -> str:
        return f"Vtrix({self._host!r})"

    async def submit(self, model: str, params: bytes, callback: str | None) -> SubmitAnswer:
        """Send one task. `params` is a JSON object, sent as it is except that `callback` is added."""
        fields = msgspec.json.decode(params, type=dict[str, msgspec.Raw])  # Raw keeps the spelling of numbers
        if callback is not None:
            fields["callback"] = msgspec.Raw(msgspec.json.encode(callback))
        content = msgspec.json.encode({"model": model, "input": [{"params": fields}]})
        secrets = _callback_secrets(callback) if callback else ()
        return _to_answer(await self._send_request("POST", self._url, content, self._submit_s, secrets), self._clock())

    async def poll(self, task_id: str) -> PollReply:
        """Ask about one task. An id that cannot be one of Vtrix's is unknown without a request."""
        if not _TASK_ID.fullmatch(task_id):
            return PollReply(PollResult.UNKNOWN, "not asked: this cannot be an id of this provider")
        url = f"{self._url}/task/{task_id}"
        return _to_reply(await self._send_request("GET", url, None, self._poll_s, ()), task_id, self._clock())

    async def _send_request(
        self, method: str, url: str, content: bytes | None, deadline_s: float, secrets: tuple[str, ...]
    ) -> _HttpExchange:
        sent = False

        async def note_sent(step: str, _: Any) -> None:
            nonlocal sent
            sent = sent or step.endswith("send_request_headers.started")

        request = self._client.build_request(
            method,
            url,
            content=content,
            headers={
                "Authorization": f"Bearer {self._key}",
                "User-Agent": f"receiver/{__version__}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",  # an answer that is packed all the same is unpacked within bounds
                **({"Content-Type": "application/json"} if content is not None else {}),
            },
            # `connect` applies twice, to TCP and to TLS. Both together end before the deadline, because a cancelled TLS
            # handshake leaks its socket (httpcore 1.0).
            timeout=httpx.Timeout(deadline_s, connect=min(self._connect_s, deadline_s / 3), pool=deadline_s / 6),
            extensions={"trace": note_sent},
        )
        status, retry_after, coding, arrived, fault = 0, None, "", bytearray(), ""
        try:
            async with asyncio.timeout(deadline_s):
                response = await self._client.send(request, stream=True, follow_redirects=False)
                async with aclosing(response):
                    status, retry_after = response.status_code, response.headers.get("retry-after")
                    coding = response.headers.get("content-encoding", "")
                    await _read_bounded(response, arrived)
        except (httpx.HTTPError, OSError) as error:  # OSError: timeouts, and TLS errors that httpx does not wrap
            fault = f"{type(error).__name__}: {error}".rstrip(": ")
        body = unpack(bytes(arrived), BODY_MOST, coding) or b""
        return _HttpExchange(sent, status, self._echoes.redact(_redact_secrets(body, secrets)), retry_after, fault)


async def _read_bounded(response: httpx.Response, arrived: bytearray) -> None:
    """Add the body to `arrived`, so that what came before a fault is kept: it may have the id of what was paid for. One
    byte beyond `BODY_MOST` is enough to know that it is too large."""
    async with aclosing(response.aiter_raw()) as chunks:  # type: ignore[type-var]  # httpx says iterator, it is a generator
        async for chunk in chunks:
            arrived += chunk[: BODY_MOST + 1 - len(arrived)]
            if len(arrived) > BODY_MOST:
                return


def _to_answer(got: _HttpExchange, now: int) -> SubmitAnswer:
    """What the answer to a submission means."""
    if not got.sent:
        return SubmitAnswer(SubmitResult.NOT_SENT, _log_line(got, None))
    meant = judge_submission(got.status, got.body)
    error = meant.error
    if error is None and meant.result in (SubmitResult.REFUSED, SubmitResult.UNAUTHORIZED):
        error = TaskError(None, _describe_refusal(got.status, got.body))
    return SubmitAnswer(
        meant.result,
        _log_line(got, meant.error, meant.outcome),
        outcome=meant.outcome,
        error=error,
        retry_after_ms=retry_after_ms(got.retry_after, now) if meant.result is SubmitResult.BUSY else None,
        too_many=got.status == httpx.codes.TOO_MANY_REQUESTS,
        cause=meant.cause,
        may_be_own=meant.may_be_own,
    )


def _describe_refusal(status: int, body: bytes) -> str:
    """A message for a refusal without the provider's own error: it may come from another server altogether."""
    prose = _plain_text(body)
    said = f"HTTP {status}: {prose}" if prose else f"the provider answered HTTP {status}"
    return f"{said} (is PROVIDER_URL right?)" if status == httpx.codes.NOT_FOUND else said


def _to_reply(got: _HttpExchange, task_id: str, now: int) -> PollReply:
    """What the reply to a poll means. A task object with another id means nothing."""
    heard, outcome = judge_reply(got.status, got.body, task_id, whole=not got.fault)
    error = outcome.error if outcome else bodies.parse_refusal(got.body)
    wait = retry_after_ms(got.retry_after, now) if heard is PollResult.BUSY else None
    return PollReply(heard, _log_line(got, error, outcome), outcome, got.body, wait)


def retry_after_ms(value: str | None, now: int) -> int | None:
    """A Retry-After header (seconds or an HTTP date, RFC 9110 §10.2.3) as a wait of 0 to `RETRY_AFTER_MOST` ms from
    `now`; None if there is none, or none that can be read."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return min(int(text[-18:]) * 1000 if len(text) <= 18 else RETRY_AFTER_MOST, RETRY_AFTER_MOST)
    try:
        when = parsedate_to_datetime(text)
        wait = int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000) - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(wait, 0), RETRY_AFTER_MOST)


def _callback_secrets(callback: str) -> tuple[str, ...]:
    """The callback URL, and its token by itself, which looks the same however the URL is escaped."""
    token = callback.rstrip("/").rpartition("/")[2]
    return (callback, token) if len(token) >= _SECRET_LEAST else (callback,)


def _redact_secrets(body: bytes, secrets: tuple[str, ...]) -> bytes:
    """Remove our secrets before anything is parsed, so that no later step can pass on an echo."""
    for secret in secrets:
        body = body.replace(secret.encode(), REDACTED)
    return body


def _plain_text(body: bytes) -> str:
    """A body that is plain text, as one line; "" for JSON and HTML."""
    text = " ".join(body[:4096].decode("utf-8", "replace").replace("\x00", "\ufffd").split())
    return "" if text.startswith(("<", "{", "[")) else text[:TEXT_MOST]


def _log_line(got: _HttpExchange, error: TaskError | None, outcome: Outcome | None = None) -> str:
    """One line for the log, without URLs, since one could be our callback URL."""
    parts = [f"HTTP {got.status}" if got.status else "no answer"]
    if outcome:
        done = f" {outcome.progress:.0%}" if outcome.progress is not None else ""
        parts.append(f"task {outcome.task_id} {outcome.status}{done}")
    if error:
        parts.append(f"{error.code} {error.message}" if error.code else error.message)
    if got.fault:
        parts.append(got.fault)
    return _ANY_URL.sub("[url]", " ".join(": ".join(parts).split()))[:TEXT_MOST]
