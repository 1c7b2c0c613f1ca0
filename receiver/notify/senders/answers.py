"""What one send hears in the answers that Apprise hides from us: how long to wait, and an error behind a 200.

A send does not wait for long: it ends, and says for how long it should rest. Some plugins sleep as long as a service
asks, however long that is: the send would end as a timeout, and count as one that may have arrived.
"""

import email.utils
import math
import time
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC

import msgspec

WAIT_MOST_S = 2.0  # a send waits so long by itself
BODY_MOST = 16 * 1024  # bytes of an answer that are looked at
_BUSY = {429, 503}
_NOT_BY_HTTP = {"Nostr"}  # it asks by HTTP who somebody is, and delivers otherwise
# Services that answer 200 to what they refuse, by Apprise's `service_name`: the field that says so, and what it holds
# otherwise. Apprise looks only at the status.
_REFUSALS: dict[str, tuple[tuple[str, tuple[object, ...]], ...]] = {
    "DingTalk": (("errcode", (0,)),),
    "WeCom Bot": (("errcode", (0,)),),
    "Feishu": (("code", (0,)), ("StatusCode", (0,))),
    "Lark (Feishu)": (("code", (0,)), ("StatusCode", (0,))),
    "ServerChan": (("code", (0,)), ("errno", (0,))),
    "PushDeer": (("code", (0,)),),
    "Join": (("success", (True,)),),
}


class AskedToWait(Exception):
    """The service wants us to wait for longer than a send may take."""


class HeardAnswers:
    """What the answers to one send said. Of several pauses that they ask for, the longest counts."""

    def __init__(self) -> None:
        self.answered = False  # whether any answer came
        self.accepted = False  # whether any was not an error
        self.last_status: int | None = None
        self.last_body = b""
        self.gave_up = False  # whether the send ended for the pause's sake
        self.seconds: float | None = None

    def hear_answer(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        """An answer came."""
        self.answered = True
        self.accepted |= status < 400
        self.last_status, self.last_body = status, body[:BODY_MOST]
        if status in _BUSY:
            pauses = [self.seconds, parse_retry_after(headers, time.time())]
            self.seconds = max((it for it in pauses if it is not None), default=None)

    def allow_wait(self, seconds: float | None) -> float | None:
        """How long the send waits itself when a plugin wants to. Raises AskedToWait if that is too long.

        Before the first answer it never waits for long: the plugin goes by an earlier send and by this machine's clock,
        and the service may no longer want it.
        """
        if seconds is None or seconds <= WAIT_MOST_S:
            return seconds
        if not self.answered:
            return None
        self.gave_up = True
        self.seconds = self.seconds or seconds
        raise AskedToWait

    def find_refusal(self, service_name: str) -> str | None:
        """What is wrong though Apprise takes the message for sent, as it would log it; None if nothing is."""
        if self.answered and not self.accepted and service_name not in _NOT_BY_HTTP:
            return f"{service_name} refused it"
        return find_refusal(service_name, self.last_body)


def find_refusal(service_name: str, body: bytes) -> str | None:
    """The error in a body that came with a 200; None if there is none, or it cannot be read."""
    if service_name not in _REFUSALS:
        return None
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    if isinstance(said, dict):
        for field, good in _REFUSALS[service_name]:
            if field in said and said[field] not in good:
                return f"{service_name} refused it, {field} {said[field]!s:.20}"
    return None


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds in an answer's Retry-After, whose date counts from the answer's own; else in Discord's header."""
    for name in ("Retry-After", "X-RateLimit-Reset-After"):
        text = headers.get(name, "").strip()
        try:
            seconds = float(text)
        except ValueError:
            until, sent = _parse_date(text), _parse_date(headers.get("Date", ""))
            seconds = math.nan if until is None else until - (now if sent is None else sent)
        if math.isfinite(seconds) and seconds > 0:
            return seconds
    return None


def _parse_date(text: str) -> float | None:
    try:
        found = email.utils.parsedate_to_datetime(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


ANSWERS: ContextVar[HeardAnswers | None] = ContextVar("answers", default=None)  # of this thread's send
