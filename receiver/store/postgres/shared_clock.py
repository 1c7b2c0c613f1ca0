"""The clock that all processes over one database go by."""

import asyncpg

from receiver.core.types import Clock
from receiver.store.postgres.pool import CALL_MOST_S


class SharedClock:
    """The database's clock as this process knows it: a clock that cannot leap, and how far apart the two are."""

    def __init__(self, boot: Clock) -> None:
        self._boot = boot
        self._offset_ms = 0

    def __call__(self) -> int:
        return self._boot() + self._offset_ms

    async def compare(self, raw: asyncpg.Connection, *, times: int = 3) -> None:
        """Ask the database for its time; of so many answers the one that came fastest counts.

        What lies within the doubt that its trip leaves changes nothing, so that the clock does not jump to and fro.
        """
        found: list[tuple[int, int]] = []
        for _ in range(times):
            before = self._boot()
            theirs = await raw.fetchval(
                "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint", timeout=CALL_MOST_S
            )
            after = self._boot()
            found.append((after - before, theirs - (before + after) // 2))
        trip_ms, offset_ms = min(found)
        if abs(offset_ms - self._offset_ms) * 2 > trip_ms:
            self._offset_ms = offset_ms
