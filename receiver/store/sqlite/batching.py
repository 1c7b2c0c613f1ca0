"""aiosqlite's connection with one call more: several statements in one trip to its thread, many rows a statement.

A trip costs two switches of threads, some 50 µs that no statement of ours comes near; so a transaction puts its changes
off, and they travel with its next read or its commit. Each step of a statement gives the interpreter's lock away and
has to win it back from a busy event loop; so rows go in by the dozen, not one by one.
"""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

import aiosqlite

from receiver.core.errors import StaleUpdate
from receiver.store.tables.connection import Row

_SIZES = (64, 16, 4)  # rows a statement; few sizes, so that SQLite's prepared statements are found again
_PARAMS_MOST = 30_000  # SQLite takes 32,766
_GROUP = re.compile(r"VALUES (\([?, ]+\))")


class DeferredChange(NamedTuple):
    """One statement, run for each of `rows`; `expect` is how many rows it has to change in all, if that matters.

    Where it says `VALUES (?, …)` it may be run for several rows at once.
    """

    sql: str
    rows: Sequence[Row]
    expect: int | None = None


class BatchingConnection(aiosqlite.Connection):
    """A connection to the database at `path`, in autocommit: transactions are said in SQL."""

    def __init__(self, path: str) -> None:
        super().__init__(lambda: sqlite3.connect(path, isolation_level=None), iter_chunk_size=64)
        self.changed = 0  # rows, since it was opened; those that were rolled back too

    async def flush(self, changes: Sequence[DeferredChange], sql: str, params: Row = ()) -> tuple[list[Any], int]:
        """Run `changes`, then `sql`: its rows, and how many it changed. Raises Stale before `sql` is run."""
        told: tuple[list[Any], int] = await self._execute(self._run_in_thread, changes, sql, params)  # type: ignore[no-untyped-call]
        return told

    def _run_in_thread(self, changes: Sequence[DeferredChange], sql: str, params: Row) -> tuple[list[Any], int]:
        for change in changes:
            met = sum(self._conn.execute(sql, row).rowcount for sql, row in _batched_statements(change))
            if change.expect is not None and met != change.expect:
                raise StaleUpdate(f"{change.expect - met} of {change.expect} rows had moved on")
        cursor = self._conn.execute(sql, params)
        found = cursor.fetchall()
        self.changed = self._conn.total_changes
        return found, cursor.rowcount


def _batched_statements(change: DeferredChange) -> Iterator[tuple[str, Row]]:
    at, left = 0, len(change.rows)
    for size in _SIZES:
        if left >= size and (many := _multi_row_sql(change.sql, size)) is not None:
            while left >= size and size * len(change.rows[at]) <= _PARAMS_MOST:
                yield many, tuple(chain.from_iterable(change.rows[at : at + size]))
                at, left = at + size, left - size
    for row in change.rows[at:]:
        yield change.sql, row


@lru_cache(maxsize=64)
def _multi_row_sql(sql: str, size: int) -> str | None:
    """The statement for `size` rows at once; None if it takes but one."""
    found = _GROUP.search(sql)
    if found is None:
        return None
    return f"{sql[: found.start(1)]}{', '.join([found[1]] * size)}{sql[found.end(1) :]}"
