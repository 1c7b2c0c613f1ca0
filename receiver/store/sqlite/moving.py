"""An SQLite database that is moved, or moved into. It is locked for as long, as by a service."""

import asyncio
import contextlib
import json
import os
import shlex
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from receiver.core.errors import StoreError, StoreUnavailable
from receiver.store.migrations.steps import load_migrations
from receiver.store.moving.tables import (
    MOVED,
    Key,
    MovedTable,
    Row,
    delete_sql,
    half_moved,
    insert_sql,
    select_sql,
    work_sql,
)
from receiver.store.sqlite.engine import open_sqlite
from receiver.store.sqlite.errors import translate_errors
from receiver.store.sqlite.files import OpeningGuard, resolve_database, take_lock
from receiver.store.sqlite.inspect import inspect_database

# The mark, and what is to be put back at the end: words are indexed at once then, which takes a third of the time.
_MARK = "CREATE TABLE moving (name TEXT PRIMARY KEY, sql TEXT NOT NULL) STRICT, WITHOUT ROWID"
_KEEP_TRIGGERS = "INSERT INTO moving SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
_INDEX_WORDS = (
    "INSERT INTO searched (ref) SELECT ref FROM tasks WHERE label IS NOT NULL OR prompt IS NOT NULL ORDER BY ref",
    "INSERT INTO search (search) VALUES ('rebuild')",
)
_T = TypeVar("_T")


class SqliteEnd:
    """A `MovingSource` and a `MovingTarget`. Made by `open_source` and `open_target`."""

    def __init__(self, path: Path, raw: sqlite3.Connection, lock: int) -> None:
        self.place = str(path)
        self._raw = raw
        self._lock = lock
        self._thread = ThreadPoolExecutor(1, "moving")  # one after the other, whatever is cancelled

    async def columns(self, table: str) -> tuple[str, ...]:
        rows = await self._fetch("SELECT name FROM pragma_table_info(?)", (table,))
        return tuple(name for (name,) in rows)

    async def count(self, table: str) -> int:
        [(count,)] = await self._fetch(f"SELECT count(*) FROM {table}")
        return int(count)

    async def read(self, table: MovedTable, columns: tuple[str, ...], after: Key, limit: int) -> list[Row]:
        try:
            return await self._fetch(select_sql(table, columns, ("?",) * len(after), limit), after)
        except sqlite3.OperationalError as error:  # its text would show the value
            if "UTF-8" not in str(error):
                raise
            raise StoreError(
                f"the table {table.name} holds text that is not UTF-8", remedy="restore a backup that has not"
            ) from None

    async def refuse_in_use(self) -> None:
        """We have its lock."""

    async def refuse_unfit(self) -> None:
        """PostgreSQL cannot store the character NUL."""
        if await self.is_marked():
            raise half_moved()
        found: dict[str, int] = {}
        for table in MOVED:
            texts = await self._fetch("SELECT name FROM pragma_table_info(?) WHERE type = 'TEXT'", (table.name,))
            for (column,) in texts:
                sql = f"SELECT count(*) FROM {table.name} WHERE instr({column}, char(0)) > 0"
                [(count,)] = await self._fetch(sql)
                found |= {f"{table.name}.{column}": count} if count else {}
        if found:
            raise StoreError(
                f"PostgreSQL cannot store the character NUL, and {self.place} has texts with it: "
                + ", ".join(f"{count:,} in {where}" for where, count in found.items()),
                remedy=f"take it out with: python3 -c {shlex.quote(_removal(self.place, found))}",
            )

    async def leave(self, where: str) -> None:
        sql = "INSERT INTO served (id, machine) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET machine = excluded.machine"
        async with self.writing():
            await self._fetch(sql, (f"moved to {where}",))

    async def begin(self) -> None:
        if await self.is_marked():
            return
        [(has_work,)] = await self._fetch(work_sql())
        if has_work:
            raise StoreError(
                f"the database {self.place} has tasks of its own", remedy="name a file that does not exist yet"
            )
        async with self.writing():
            await self._fetch(_MARK)
            await self._fetch(_KEEP_TRIGGERS)
            for (trigger,) in await self._fetch("SELECT name FROM moving"):
                await self._fetch(f"DROP TRIGGER {trigger}")
            for table in MOVED:
                await self.remove(table, ())

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        try:
            await self._fetch("BEGIN IMMEDIATE")
            yield
            await self._fetch("COMMIT")
        except BaseException:
            self._thread.submit(self._raw.rollback)
            raise

    async def remove(self, table: MovedTable, after: Key) -> None:
        await self._fetch(delete_sql(table, ("?",) * len(after)), after)

    async def insert(self, table: MovedTable, columns: tuple[str, ...], rows: list[Row]) -> None:
        """The words follow at the end."""
        await self._run(self._raw.executemany, insert_sql(table, columns), rows)

    async def finish(self) -> None:
        async with self.writing():
            for sql in _INDEX_WORDS:
                await self._fetch(sql)
            for (trigger,) in await self._fetch("SELECT sql FROM moving"):
                await self._fetch(trigger)
            await self._fetch("DROP TABLE moving")

    async def close(self) -> None:
        try:
            await self._run(self._raw.close)
        finally:
            self._thread.shutdown()
            os.close(self._lock)

    async def is_marked(self) -> bool:
        """Whether a move into it was begun."""
        return bool(await self._fetch("SELECT 1 FROM sqlite_schema WHERE name = 'moving'"))

    async def refuse_other_schema(self) -> None:
        """Raise StoreError if it has not this version's schema."""
        newest = load_migrations("sqlite")[-1].number
        if await self._fetch("SELECT max(number) FROM migrations") != [(newest,)]:
            raise StoreError(
                f"another version of this program began to move a database into {self.place}",
                remedy="remove that file, and run this again",
            )

    async def _fetch(self, sql: str, params: tuple[object, ...] = ()) -> list[Any]:
        return await self._run(lambda: self._raw.execute(sql, params).fetchall())

    async def _run(self, call: Callable[..., _T], *args: Any) -> _T:
        with translate_errors():
            return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)


async def open_source(path: Path) -> SqliteEnd:
    """Open the database to move it away, with the schema of this version. Raises a kind of StoreError."""
    if not _has_file(path):
        raise StoreUnavailable(
            f"there is no database {path}", remedy="say where it is with --config or RECEIVER_DATABASE_URL"
        )
    if inspect_database(path).missing:
        await (await open_sqlite(path)).close()
    return _lock_and_open(path)


async def open_target(path: Path) -> SqliteEnd:
    """Open the database to move into it; it is made if it is not there. Raises a kind of StoreError.

    One into which a former run moved has to have this version's schema.
    """
    if _has_file(path):
        end = _lock_and_open(path)
        try:
            if await end.is_marked():
                await end.refuse_other_schema()
                return end
        except BaseException:
            await end.close()
            raise
        await end.close()
    await (await open_sqlite(path)).close()
    return _lock_and_open(path)


def _removal(path: str, found: Iterable[str]) -> str:
    """A program that takes out the NULs: SQLite's own `replace` does not see them."""
    clean = 'db.create_function("clean", 1, lambda it: it.replace(chr(0), ""))'
    updates = "; ".join(
        f'db.execute("UPDATE {table} SET {column} = clean({column}) WHERE instr({column}, char(0))")'
        for table, _, column in (it.partition(".") for it in found)
    )
    return f"import sqlite3; db = sqlite3.connect({json.dumps(path)}); {clean}; {updates}; db.commit()"


def _has_file(path: Path) -> bool:
    return path.is_file()


def _lock_and_open(path: Path) -> SqliteEnd:
    path = resolve_database(path)
    lock = take_lock(path)
    try:
        guard = OpeningGuard(path)
        with translate_errors():
            raw = sqlite3.connect(path, timeout=1, isolation_level=None, check_same_thread=False)
            guard.check()
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "cache_size = -20000", "temp_store = MEMORY"):
                raw.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:
        os.close(lock)
        raise
    return SqliteEnd(path, raw, lock)
