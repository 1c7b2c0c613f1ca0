"""What stops all submissions to a provider until a person lets them go on, and where the database was last served, on
one connection."""

from receiver.store.tables.connection import TableConnection, Topic

_PERSON = "person"


class GateTable:
    """The table of gates."""

    def __init__(self, connection: TableConnection) -> None:
        self._db = connection

    async def paused(self, provider: str) -> tuple[int, str] | None:
        """Since when all submissions are paused, and why if a person did not do it; None: they are not."""
        rows = await self._db.fetch_rows(
            "SELECT since, text FROM gates WHERE provider = ? AND cause = ?", (provider, _PERSON)
        )
        return (rows[0][0], rows[0][1]) if rows else None

    async def pause(self, provider: str, now: int, why: str = "") -> None:
        """Pause all submissions, over restarts; those that are paused already stay so since then."""
        self._db.defer(
            "INSERT INTO gates (provider, cause, since, text) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [(provider, _PERSON, now, why)],
        )

    async def resume(self, provider: str) -> None:
        """Let submissions go on."""
        self._db.defer("DELETE FROM gates WHERE provider = ? AND cause = ?", [(provider, _PERSON)])
        self._db.woken.add(Topic.SUBMIT)

    async def served_on(self) -> str | None:
        """The machine on which the database was last served; None if that is not known."""
        rows = await self._db.fetch_rows("SELECT machine FROM served WHERE id = 1")
        return rows[0][0] if rows else None

    async def serve_on(self, machine: str) -> None:
        """Remember the machine on which the database is served now."""
        self._db.defer(
            "INSERT INTO served (id, machine) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET machine = excluded.machine",
            [(machine,)],
        )
