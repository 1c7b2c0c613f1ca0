"""What stops all submissions to a provider until a person lets them go on, on one connection."""

from receiver.store.tables.connection import TableConnection, Topic

_PERSON = "person"


class GateTable:
    """The table of gates."""

    def __init__(self, connection: TableConnection) -> None:
        self._db = connection

    async def paused_at(self, provider: str) -> int | None:
        """Since when a person has paused all submissions; None: they have not."""
        rows = await self._db.fetch_rows(
            "SELECT since FROM gates WHERE provider = ? AND cause = ?", (provider, _PERSON)
        )
        return rows[0][0] if rows else None

    async def pause(self, provider: str, now: int) -> None:
        """Pause all submissions, over restarts; those that are paused already stay so since then."""
        self._db.defer(
            "INSERT INTO gates (provider, cause, since, text) VALUES (?, ?, ?, '') ON CONFLICT DO NOTHING",
            [(provider, _PERSON, now)],
        )

    async def resume(self, provider: str) -> None:
        """Let submissions go on."""
        self._db.defer("DELETE FROM gates WHERE provider = ? AND cause = ?", [(provider, _PERSON)])
        self._db.woken.add(Topic.SUBMIT)
