"""aiosqlite's connection with one call more: several statements in one trip to its thread.

A trip costs two switches of threads, some 50 µs that no statement of ours comes near. A transaction therefore puts its
changes off, and they travel with its next read or its commit.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

import aiosqlite

from receiver.errors import Stale
from receiver.store.connection import Row


class Change(NamedTuple):
    """One statement, run for each of `rows`; `expect` is how many rows it has to change in all, if that matters."""

    sql: str
    rows: Sequence[Row]
    expect: int | None = None


class Trips(aiosqlite.Connection):
    """A connection to the database at `path`, in autocommit: transactions are said in SQL."""

    def __init__(self, path: str) -> None:
        super().__init__(lambda: sqlite3.connect(path, isolation_level=None), iter_chunk_size=64)

    async def trip(self, changes: Sequence[Change], sql: str, params: Row = ()) -> tuple[list[Any], int]:
        """Run `changes`, then `sql`: its rows, and how many it changed. Raises Stale before `sql` is run."""
        told: tuple[list[Any], int] = await self._execute(self._run, changes, sql, params)  # type: ignore[no-untyped-call]
        return told

    def _run(self, changes: Sequence[Change], sql: str, params: Row) -> tuple[list[Any], int]:
        for change in changes:
            met = self._conn.executemany(change.sql, change.rows).rowcount
            if change.expect is not None and met != change.expect:
                raise Stale(f"{change.expect - met} of {change.expect} rows had moved on")
        cursor = self._conn.execute(sql, params)
        return cursor.fetchall(), cursor.rowcount
