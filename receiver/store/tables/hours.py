"""Counts by the hour, written in the transactions that bring about what they count. So the status page never looks for
anything among the tasks, and a crash can lose nothing.
"""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from receiver.core.types import Task
from receiver.store.tables.connection import TableConnection, enum_text

HOUR_MS = 3_600_000
HOURS_KEPT_MS = 31 * 24 * HOUR_MS
_FORGOTTEN_AT_ONCE = 24  # hours

HourCounts = dict[tuple[int, str], int]
"""What a transaction adds to the counts of one kind, by hour and name."""


class HourKind(StrEnum):
    """What is counted."""

    SETTLED = "settled"  # tasks, by where their outcome came from
    SENT = "sent"  # notices, by target


class HourCount(Struct, frozen=True):
    """A count of the hour that began at `at`."""

    at: int
    name: str
    count: int


def add_settled(counts: HourCounts, old: Task | None, new: Task) -> None:
    """Add what the change of a task means for the settled ones; `old` None: it is new. One that is open again counts
    no longer."""
    if new.settled_by is not None and new.settled_at is not None:
        key = new.settled_at // HOUR_MS, enum_text(new.settled_by)
        counts[key] = counts.get(key, 0) + 1
    if old is not None and old.settled_by is not None and old.settled_at is not None:
        key = old.settled_at // HOUR_MS, enum_text(old.settled_by)
        counts[key] = counts.get(key, 0) - 1


def defer_hours(db: TableConnection, kind: HourKind, counts: Mapping[tuple[int, str], int]) -> None:
    """Write counts with the transaction that brings them about."""
    rows = [(enum_text(kind), hour, name, count) for (hour, name), count in sorted(counts.items()) if count]
    if rows:
        db.defer(
            "INSERT INTO hours (kind, hour, name, count) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (kind, hour, name) DO UPDATE SET count = hours.count + excluded.count",
            rows,
        )


class HourTable:
    """The table of hours."""

    def __init__(self, connection: TableConnection) -> None:
        self._db = connection

    async def counts_since(self, kind: HourKind, since: int) -> list[HourCount]:
        """The counts of all hours from that of `since` on, oldest first."""
        rows = await self._db.fetch_rows(
            "SELECT hour, name, count FROM hours WHERE kind = ? AND hour >= ? ORDER BY hour, name",
            (kind.value, since // HOUR_MS),
        )
        return [HourCount(hour * HOUR_MS, name, count) for hour, name, count in rows]

    async def forget(self, before: int) -> None:
        """Delete what was counted before this time, at most that of a day at once."""
        for kind in HourKind:
            await self._db.run_statement(
                "DELETE FROM hours WHERE kind = ?1 AND hour < ?2"
                " AND hour < (SELECT min(hour) FROM hours WHERE kind = ?1) + ?3",
                (kind.value, before // HOUR_MS, _FORGOTTEN_AT_ONCE),
            )
