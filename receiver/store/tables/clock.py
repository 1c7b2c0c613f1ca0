"""What is known of the wall clock, kept across restarts."""

from receiver.core.clock_check import ClockCheck, ClockReading
from receiver.store.tables.connection import TableConnection


class ClockTable:
    """The one row of the table `clock`, on one connection."""

    def __init__(self, connection: TableConnection) -> None:
        self._db = connection

    async def load(self) -> ClockCheck | None:
        """What an earlier process stored; None if the database is new."""
        rows = await self._db.fetch_rows("SELECT boot_id, boot_ms, wall_ms, held_until, leap_ms FROM clock")
        if not rows:
            return None
        [(*reading, held_until, leap_ms)] = rows
        return ClockCheck(ClockReading(*reading), held_until, leap_ms)

    async def save(self, check: ClockCheck) -> None:
        """Store what is known now."""
        anchor = check.anchor
        self._db.defer(
            "INSERT INTO clock (id, boot_id, boot_ms, wall_ms, held_until, leap_ms) VALUES (1, ?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET boot_id = excluded.boot_id, boot_ms = excluded.boot_ms,"
            " wall_ms = excluded.wall_ms, held_until = excluded.held_until, leap_ms = excluded.leap_ms",
            [(anchor.boot_id, anchor.boot_ms, anchor.wall_ms, check.held_until, check.leap_ms)],
        )
