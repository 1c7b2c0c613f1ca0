"""How long a service asks us to wait. A send does not wait for long: it ends, and says for how long it should rest.

Apprise hides the headers of an answer, and some of its plugins sleep as long as the service asks, however long that is:
the send would end as a timeout, and count as one that may have arrived.
"""

import email.utils
import math
import time
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC

WAIT_MOST_S = 2.0  # a send waits so long by itself
_BUSY = {429, 503}


class AskedToWait(Exception):
    """The service wants us to wait for longer than a send may take."""


class RequestedPause:
    """What one send heard about waiting. Of several requests the longest counts."""

    def __init__(self) -> None:
        self.answered = False  # whether any answer came
        self.gave_up = False  # whether the send ended for the pause's sake
        self.seconds: float | None = None

    def hear_answer(self, status: int, headers: Mapping[str, str]) -> None:
        """An answer came."""
        self.answered = True
        if status in _BUSY and (asked := parse_retry_after(headers, time.time())) is not None:
            self.seconds = max(asked, self.seconds or 0.0)

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


PAUSE: ContextVar[RequestedPause | None] = ContextVar("pause", default=None)  # of this thread's send
