"""The paces of loops: what each has learnt of how fast it may go, which all processes over one database share. On one
connection."""

from receiver.store.tables.connection import TableConnection


class PaceTable:
    """The table of paces: JSON by name. Whoever changes one reads it with `lock` first, in the same transaction."""

    def __init__(self, connection: TableConnection) -> None:
        self._db = connection

    async def get(self, name: str) -> str | None:
        """What was last stored under this name."""
        rows = await self._db.fetch_rows("SELECT state FROM paces WHERE name = ?", (name,))
        return rows[0][0] if rows else None

    async def lock(self, name: str, first: str) -> str:
        """What is stored under this name, which until the end of the transaction nobody else changes; `first` if there
        is nothing yet."""
        which = f"SELECT state FROM paces WHERE name = ?{self._db.dialect.lock}"
        rows = await self._db.fetch_rows(which, (name,))
        if not rows:
            sql = "INSERT INTO paces (name, state) VALUES (?, ?) ON CONFLICT (name) DO NOTHING"
            await self._db.run_statement(sql, (name, first))
            rows = await self._db.fetch_rows(which, (name,))  # another process may have been first
        return str(rows[0][0])

    async def put(self, name: str, state: str) -> None:
        """Store a pace that was locked."""
        self._db.defer("UPDATE paces SET state = ? WHERE name = ?", [(state, name)])

    async def forget_all(self) -> None:
        """Begin anew, as the only process over this database."""
        self._db.defer("DELETE FROM paces", [()])
