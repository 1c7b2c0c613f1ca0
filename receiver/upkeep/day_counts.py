"""Counts of hours as counts of days, in the zone in which costs are counted by the day. Pure.

An hour counts to the day in which it begins; in a zone that is half an hour off, that half may count to its neighbour.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime, timedelta, tzinfo

from receiver.core.budgets import local_day
from receiver.store.tables.hours import HourCount


def last_days(today: str, count: int) -> list[str]:
    """The last `count` days up to and with today, as dates, oldest first."""
    last = date.fromisoformat(today)
    return [(last - timedelta(days=before)).isoformat() for before in reversed(range(count))]


def day_start(day: str, zone: tzinfo) -> int:
    """When a day begins in `zone`, in milliseconds."""
    at = date.fromisoformat(day)
    return round(datetime(at.year, at.month, at.day, tzinfo=zone).timestamp() * 1000)


def sum_by_day(counts: Iterable[HourCount], zone: tzinfo) -> dict[str, Counter[str]]:
    """The counts of each day by name."""
    days: dict[str, Counter[str]] = {}
    at, day = -1, ""
    for it in counts:
        if it.at != at:
            at, day = it.at, local_day(it.at, zone)
        days.setdefault(day, Counter())[it.name] += it.count
    return days
