"""aiosqlite's connection with one more call: several statements in one trip to its thread, many rows per statement.

A trip to the thread costs two thread switches, about 50 µs, which is far more than any of our statements. So a
transaction defers its changes, and they travel with its next read or its commit. Each step of a statement releases the
interpreter lock and has to win it back from a busy event loop. So rows are inserted by the dozen, not one by one.
"""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any
from urllib.parse import quote

import aiosqlite

from receiver.core.errors import StaleUpdate
from receiver.store.tables.connection import DeferredChange, Row

_SIZES = (64, 16, 4)  # rows per statement; few sizes, so that cached prepared statements are reused
_PARAMS_MOST = 30_000  # SQLite's limit is 32,766
_GROUP = re.compile(r"VALUES (\([?, ]+\))")


class BatchingConnection(aiosqlite.Connection):
    """A connection to the database at `path` in autocommit mode: transactions are opened and closed in SQL."""

    def __init__(self, path: str) -> None:
        uri = f"file:{quote(path)}?mode=rw"  # never a new file: through a link, it could be made anywhere
        super().__init__(lambda: sqlite3.connect(uri, uri=True, isolation_level=None), iter_chunk_size=64)
        self.changed = 0  # rows changed since it was opened, including rolled-back ones

    async def flush(self, changes: Sequence[DeferredChange], sql: str, params: Row = ()) -> tuple[list[Any], int]:
        """Run `changes`, then `sql`; its rows and how many it changed. Raises StaleUpdate, without running `sql`."""
        result: tuple[list[Any], int] = await self._execute(self._run_in_thread, changes, sql, params)  # type: ignore[no-untyped-call]
        return result

    def _run_in_thread(self, changes: Sequence[DeferredChange], sql: str, params: Row) -> tuple[list[Any], int]:
        for change in changes:
            met = sum(self._conn.execute(sql, row).rowcount for sql, row in _batched_statements(change))
            if change.expect is not None and met != change.expect:
                raise StaleUpdate(f"{change.expect - met} of {change.expect} rows were no longer in the expected state")
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
    """The statement for `size` rows at once; None if it only takes one."""
    found = _GROUP.search(sql)
    if found is None:
        return None
    return f"{sql[: found.start(1)]}{', '.join([found[1]] * size)}{sql[found.end(1) :]}"
