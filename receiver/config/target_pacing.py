"""When a target is notified, as its table says it: digests, rates and quiet hours. Pure; raises BadValue."""

import re

from receiver.config.bad_value import BadValue
from receiver.config.spellings import find_unit, find_zone, parse_hours, parse_span
from receiver.core.types import MessageRate, QuietHours

UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DIGEST_LEAST_S, _DIGEST_MOST_S = 10, 86_400
_RATE_MOST = 10_000  # messages in one second, minute or hour
_RATE = re.compile(r"([0-9]{1,6})\s*(?:/|per|an?|each)\s*([A-Za-z]{1,7})", re.IGNORECASE)


def parse_digest(text: str) -> int:
    """The milliseconds of a digest's span."""
    expected = "expected a span from 10s to 1d, such as 90s, 5m or 1h"
    if re.fullmatch(r"[0-9]+", text.strip()):
        raise BadValue(f"{expected}, and this has no unit")
    if not _DIGEST_LEAST_S <= (span := parse_span(text) or 0) <= _DIGEST_MOST_S:
        raise BadValue(expected)
    return span * 1_000


def parse_rate(text: str) -> MessageRate:
    """How many messages in a second, minute or hour."""
    found = _RATE.fullmatch(text.strip())
    unit = find_unit(found[2]) if found else None
    if not found or unit not in ("s", "m", "h") or not 1 <= int(found[1]) <= _RATE_MOST:
        raise BadValue(f"expected 1 to {_RATE_MOST} messages in a second, minute or hour, such as 1/s, 10/m or 100/h")
    return MessageRate(int(found[1]), UNITS_MS[unit])


def parse_quiet_hours(text: str) -> QuietHours:
    """Two times of day and a zone."""
    start, end, zone = parse_hours(text)
    return QuietHours(start, end, find_zone(zone))
