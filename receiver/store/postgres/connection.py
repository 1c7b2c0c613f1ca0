"""asyncpg's connections as the tables use them: for reading, each query by itself; for writing, one transaction.

A transaction begins with its first statement. The settings that it needs travel with its BEGIN, since a pooler may lend
any connection. Each call has a limit of its own here, because the server's does not end every wait: a commit that waits
for a replica, a network that swallows packets.
"""

import contextlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import asyncpg

from receiver.core.errors import StaleUpdate, StoreError
from receiver.store.postgres.dialect import ColumnwiseSql, PostgresDialect, translate
from receiver.store.postgres.errors import OutcomeUnknown, translate_errors
from receiver.store.postgres.pool import CALL_MOST_S, ConnectionPool
from receiver.store.tables.connection import DeferredChange, Row, Topic
from receiver.store.tables.dialect import Dialect

READ_MOST_S = 1.0
COMMIT_MOST_S = 10.0
ROLL_BACK_MOST_S = 2.0
COPY_FROM = 8  # rows from which COPY costs less than sending each
BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = '5s'; SET LOCAL lock_timeout = '2s';"
    " SET LOCAL idle_in_transaction_session_timeout = '10s'; SET LOCAL synchronous_commit = on;"
    " SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL client_min_messages = warning"
)
_PLAIN_INSERT = re.compile(r"INSERT INTO (\w+) \(([\w, ]+)\) VALUES \([?, ]+\)$")


class ReadingConnection:
    """A `TableConnection` that reads: each query on a connection of the pool, for `READ_MOST_S` at most."""

    def __init__(self, pool: ConnectionPool, dialect: PostgresDialect) -> None:
        self._pool = pool
        self.dialect: Dialect = dialect
        self.touched: set[str] = set()
        self.woken: set[Topic] = set()

    async def fetch_rows(self, sql: str, params: Row = ()) -> list[Any]:
        raw = await self._pool.acquire()
        try:
            with translate_errors():
                rows = await raw.fetch(translate(sql), *_findable(params), timeout=READ_MOST_S)
        except BaseException as error:
            await self._pool.give_back(raw, error)
            raise
        await self._pool.give_back(raw, None)
        return [tuple(row) for row in rows]

    async def run_statement(self, sql: str, params: Row = ()) -> int:
        raise _read_only()

    def defer(self, sql: str, rows: Sequence[Row], *, expect: int | None = None) -> None:
        raise _read_only()


class WritingConnection:
    """A `TableConnection` inside one transaction on `raw`, which begins with the first statement."""

    def __init__(self, raw: asyncpg.Connection, dialect: PostgresDialect) -> None:
        self._raw = raw
        self._deferred: list[DeferredChange] = []
        self._began = False
        self.has_written = False
        self.dialect: Dialect = dialect
        self.touched: set[str] = set()
        self.woken: set[Topic] = set()

    async def fetch_rows(self, sql: str, params: Row = ()) -> list[Any]:
        with translate_errors():
            await self._flush()
            rows = await self._raw.fetch(translate(sql), *_findable(params), timeout=CALL_MOST_S)
            self.has_written |= not sql.startswith(("SELECT", "WITH"))
            return [tuple(row) for row in rows]

    async def run_statement(self, sql: str, params: Row = ()) -> int:
        with translate_errors():
            await self._flush()
            return await self._run(sql, params)

    def defer(self, sql: str, rows: Sequence[Row], *, expect: int | None = None) -> None:
        self._deferred.append(DeferredChange(sql, rows, expect))

    async def commit(self) -> None:
        """Run what is deferred and commit. Raises OutcomeUnknown if nobody can say whether it was."""
        warnings: list[str] = []

        def note(_: asyncpg.Connection, message: asyncpg.PostgresLogMessage) -> None:
            if message.severity_en == "WARNING":  # a role may also ask for the duration of each statement, and more
                warnings.append(message.message or "")

        with translate_errors():
            if self._deferred:
                await self._flush()
            if not self._began:
                return
            self._raw.add_log_listener(note)
        try:
            tag = await self._raw.execute("COMMIT", timeout=COMMIT_MOST_S)
        except Exception as error:  # whatever it is: the server's last words may come in place of its answer
            raise OutcomeUnknown("the database did not say whether it committed") from error
        finally:
            with contextlib.suppress(asyncpg.InterfaceError):  # it was lost, and given back by that
                self._raw.remove_log_listener(note)
        if tag != "COMMIT":
            raise StoreError("the transaction had failed before")
        if warnings:  # the wait for a replica was cancelled: it is committed here and perhaps not there
            raise OutcomeUnknown(f"the database committed with a warning ({warnings[0][:200]})")

    async def roll_back(self) -> None:
        """Leave no transaction open; a connection that cannot say so is closed."""
        if not self._began:
            return
        try:
            await self._raw.execute("ROLLBACK", timeout=ROLL_BACK_MOST_S)
        except Exception:  # whatever it is, the server ends the transaction with the connection
            with contextlib.suppress(asyncpg.InterfaceError):  # it was lost, and given back by that
                self._raw.terminate()

    async def _flush(self) -> None:
        if not self._began:
            self._began = True
            await self._raw.execute(BEGIN, timeout=CALL_MOST_S)
        changes, self._deferred = self._deferred, []
        for change in changes:
            met = await self._run_change(change)
            if change.expect is not None and met != change.expect:
                raise StaleUpdate(f"{change.expect - met} of {change.expect} rows were no longer in the expected state")

    async def _run_change(self, change: DeferredChange) -> int:
        sql, rows, expect = change
        if not rows:
            return 0
        if isinstance(sql, ColumnwiseSql):
            return await self._run(sql, [list(column) for column in zip(*rows, strict=True)])
        if len(rows) == 1 or expect is not None:
            return sum([await self._run(sql, row) for row in rows])
        self.has_written = True
        if len(rows) >= COPY_FROM and (plain := _plain_insert(sql)) is not None:
            table, columns = plain
            await self._raw.copy_records_to_table(table, records=rows, columns=columns, timeout=CALL_MOST_S)
        else:
            await self._raw.executemany(translate(sql), rows, timeout=CALL_MOST_S)
        return len(rows)

    async def _run(self, sql: str, params: Row) -> int:
        """How many rows a statement changed."""
        self.has_written = True
        tag: str = await self._raw.execute(translate(sql), *params, timeout=CALL_MOST_S)
        count = tag.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0


def _findable(params: Row) -> Row:
    """What is looked for, with U+FFFD for a NUL: no text here has one, and asking for it would be an error."""
    if not any(map(_has_nul, params)):
        return params
    return [list(map(_without_nul, it)) if isinstance(it, list) else _without_nul(it) for it in params]


def _has_nul(param: object) -> bool:
    texts = (param,) if isinstance(param, str) else param if isinstance(param, list) else ()
    return any(isinstance(it, str) and "\0" in it for it in texts)


def _without_nul(param: Any) -> Any:
    return param.replace("\0", "\ufffd") if isinstance(param, str) else param


def _read_only() -> StoreError:
    return StoreError("this connection is read-only", remedy="make changes inside `store.write()`")


@lru_cache(maxsize=128)
def _plain_insert(sql: str) -> tuple[str, list[str]] | None:
    """The table and the columns of an INSERT that COPY can replace."""
    found = _PLAIN_INSERT.match(sql)
    return None if found is None else (found[1], found[2].split(", "))
