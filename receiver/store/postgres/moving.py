"""A PostgreSQL database that is moved, or moved into. No live process may work on it meanwhile."""

import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from receiver.core.errors import StoreError, StoreUnavailable
from receiver.store.moving.tables import MOVED, TASKS, Key, MovedTable, Row, delete_sql, select_sql, work_sql
from receiver.store.postgres.connect import CALL_MOST_S, connect, plain_errors
from receiver.store.postgres.migrate import apply_migrations, read_schema, refuse_moving
from receiver.store.tables.search_words import indexed_words

LIVE_MS = 30_000  # a process that was seen within that time may still be at work
WHOLE_MOST_S = 3600.0  # a statement over a whole table
_SETTINGS = (
    "SET LOCAL lock_timeout = '5s'; SET LOCAL synchronous_commit = on;"
    " SET LOCAL idle_in_transaction_session_timeout = '60s'"
)
_NOW = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"


class PostgresEnd:
    """A `MovingSource` and a `MovingTarget`. Made by `open_end`."""

    def __init__(self, place: str, connection: asyncpg.Connection) -> None:
        self.place = place
        self._db = connection
        self._owner = secrets.token_hex(8)

    async def columns(self, table: str) -> tuple[str, ...]:
        rows = await self._fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped"
            " ORDER BY attnum",
            table,
        )
        return tuple(name for (name,) in rows)

    async def count(self, table: str) -> int:
        [(count,)] = await self._fetch(f"SELECT count(*) FROM {table}", most_s=WHOLE_MOST_S)
        return int(count)

    async def read(self, table: MovedTable, columns: tuple[str, ...], after: Key, limit: int) -> list[Row]:
        places = tuple(f"${place}" for place in range(1, len(after) + 1))
        return list(map(tuple, await self._fetch(select_sql(table, columns, places, limit), *after)))

    async def refuse_in_use(self) -> None:
        rows = await self._fetch(
            f"SELECT role, host, {_NOW} - seen_at FROM processes WHERE seen_at > {_NOW} - $1 ORDER BY seen_at DESC",
            LIVE_MS,
        )
        if rows:
            role, host, ago = rows[0]
            more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
            raise StoreError(
                f"a receiver (role {role}, on {host}){more} works on {self.place}, and was seen"
                f" {max(0, ago) // 1000} seconds ago",
                remedy=f"stop all of them; one that was killed counts as gone after {LIVE_MS // 1000} seconds",
            )

    async def refuse_unfit(self) -> None:
        """SQLite stores all that PostgreSQL does."""
        with plain_errors(self.place):
            await refuse_moving(self._db)

    async def leave(self, where: str) -> None:
        await self._fetch(
            "INSERT INTO served (id, machine) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET machine = excluded.machine",
            f"moved to {where}",
        )

    async def begin(self) -> None:
        await self.refuse_in_use()
        with plain_errors(self.place):
            async with self._db.transaction(isolation="read_committed"):
                await self._db.execute(f"{_SETTINGS}; LOCK TABLE moving IN EXCLUSIVE MODE")
                is_new = not await self._db.fetchval("SELECT count(*) FROM moving")
                if is_new and await self._db.fetchval(work_sql()):
                    raise StoreError(
                        f"the database {self.place} has tasks of its own",
                        remedy="name an empty one: make it with CREATE DATABASE",
                    )
                await self._db.execute(
                    f"INSERT INTO moving (id, owner, started_at) VALUES (1, $1, {_NOW})"
                    " ON CONFLICT (id) DO UPDATE SET owner = excluded.owner",
                    self._owner,
                )
                for table in MOVED if is_new else ():
                    await self.remove(table, ())

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        with plain_errors(self.place):
            async with self._db.transaction(isolation="read_committed"):
                await self._db.execute(_SETTINGS)
                if await self._db.fetchval("SELECT owner FROM moving FOR UPDATE") != self._owner:
                    raise StoreError(
                        f"another run has taken over moving a database into {self.place}",
                        remedy="let that one end",
                    )
                yield

    async def remove(self, table: MovedTable, after: Key) -> None:
        places = tuple(f"${place}" for place in range(1, len(after) + 1))
        await self._fetch(delete_sql(table, places), *after, most_s=WHOLE_MOST_S)

    async def insert(self, table: MovedTable, columns: tuple[str, ...], rows: list[Row]) -> None:
        with plain_errors(self.place, table.name):
            await self._db.copy_records_to_table(table.name, records=rows, columns=columns, timeout=CALL_MOST_S)
            if table is TASKS:
                await self._index_words(columns, rows)

    async def finish(self) -> None:
        for table in MOVED:
            await self._fetch(f"ANALYZE {table.name}", most_s=WHOLE_MOST_S)
        async with self.writing():
            for table in MOVED:
                if table.numbered:
                    await self._fetch(
                        f"SELECT setval(pg_get_serial_sequence($1, 'id'), greatest(max(id) + 1, $2), false)"
                        f" FROM {table.name}",
                        table.name,
                        table.first,
                    )
            await self._fetch("DELETE FROM moving")

    async def close(self) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await self._db.close(timeout=CALL_MOST_S)

    async def _index_words(self, columns: tuple[str, ...], rows: list[Row]) -> None:
        """The refs go up, and so do the numbers."""
        at = [columns.index(it) for it in ("ref", "label", "prompt")]
        texts = [tuple(row[place] for place in at) for row in rows]
        found = [(ref, " ".join(indexed_words(label, prompt))) for ref, label, prompt in texts if label or prompt]
        await self._db.execute(
            "INSERT INTO searched (ref, words) SELECT ref, array_to_tsvector(string_to_array(words, ' '))"
            ' FROM unnest($1::text[], $2::text[]) AS v (ref, words) ORDER BY ref COLLATE "C"',
            [ref for ref, _ in found],
            [words for _, words in found],
            timeout=CALL_MOST_S,
        )

    async def _fetch(self, sql: str, *params: object, most_s: float = CALL_MOST_S) -> list[Any]:
        with plain_errors(self.place):
            return await self._db.fetch(sql, *params, timeout=most_s)  # type: ignore[no-any-return]


async def open_end(url: str, place: str) -> PostgresEnd:
    """Open the database at `url`, with the schema of this version; `place` names it for people.

    Raises a kind of StoreError.
    """
    connection = await connect(url, place)
    end = PostgresEnd(place, connection)
    try:
        with plain_errors(place):
            if await connection.fetchval(
                "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool"
            ):
                raise StoreUnavailable(
                    f"{place} cannot be written: it is a replica or in recovery", remedy="name the primary in the URL"
                )
            await apply_migrations(connection)
    except BaseException:
        await end.close()
        raise
    return end


async def migrate_database(url: str, place: str) -> tuple[list[str], int]:
    """Bring the database to this version's schema: the names of the migrations that were applied, and its number.

    Raises a kind of StoreError.
    """
    connection = await connect(url, place)
    try:
        with plain_errors(place):
            return await apply_migrations(connection), await read_schema(connection)
    finally:
        await PostgresEnd(place, connection).close()
