"""The generation of the pages' sessions, on one connection. The sessions themselves are in their cookies alone."""

from receiver.store.tables.connection import TableConnection

_FIRST = "first"


class SessionTable:
    """The one row of the table `sessions`."""

    def __init__(self, connection: TableConnection) -> None:
        self._db = connection

    async def generation(self) -> str:
        """The generation that all open sessions belong to."""
        rows = await self._db.fetch_rows("SELECT generation FROM sessions")
        return str(rows[0][0]) if rows else _FIRST

    async def begin_generation(self, generation: str, now: int) -> None:
        """End all sessions: those to come belong to this generation."""
        self._db.defer(
            "INSERT INTO sessions (id, generation, since) VALUES (1, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET generation = excluded.generation, since = excluded.since",
            [(generation, now)],
        )
