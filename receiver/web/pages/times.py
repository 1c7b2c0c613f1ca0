"""How pages write moments and spans. The server says UTC; the script turns it to the reader's own zone."""

from datetime import UTC, datetime

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400  # seconds
_AGE_MOST_S = 7 * _DAY


def iso_time(at: int) -> str:
    """`at` (milliseconds) for a `datetime` attribute."""
    return _utc(at).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_age(at: int, now: int) -> str:
    """How long ago `at` was: `41 s ago`, `2 min ago`, `3 h ago`, `1 d ago`; after a week the day."""
    span_s = max(0, now - at) // 1000
    if span_s < _MINUTE:
        return f"{span_s} s ago"
    if span_s < _HOUR:
        return f"{span_s // _MINUTE} min ago"
    if span_s < _DAY:
        return f"{span_s // _HOUR} h ago"
    return f"{span_s // _DAY} d ago" if span_s < _AGE_MOST_S else format_day(at, now)


def format_clock(at: int) -> str:
    """The time of day: `21:12:04`."""
    return _utc(at).strftime("%H:%M:%S")


def format_day(at: int, now: int | None = None) -> str:
    """The day: `24 November`; with the year where that is not the year of `now`, or no `now` is given."""
    day = _utc(at)
    year = "" if now is not None and _utc(now).year == day.year else f" {day.year}"
    return f"{day.day} {day:%B}{year}"


def _utc(at: int) -> datetime:
    return datetime.fromtimestamp(at / 1000, UTC)
