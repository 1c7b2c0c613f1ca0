"""The store on SQLite: one connection for writing, one for reading, and a lock file beside the database.

WAL with synchronous=FULL: a commit that returned is on disk. Every transaction is BEGIN IMMEDIATE and ends with its
commit or with a rollback. Both are shielded from cancellation, so that a turn never leaks a half-done transaction.
"""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from receiver.core.errors import CorruptDatabase, StoreError, StoreUnavailable
from receiver.core.types import Clock
from receiver.store.migrations.steps import CREATE_MIGRATIONS, missing_migrations
from receiver.store.moving.tables import half_moved
from receiver.store.process_row import ProcessRow
from receiver.store.signals import ChangeListener, ChangeListeners, TopicWakeups
from receiver.store.sqlite.batching import BatchingConnection
from receiver.store.sqlite.dialect import SqliteDialect
from receiver.store.sqlite.errors import translate_errors
from receiver.store.sqlite.files import (
    OpeningGuard,
    chown_if_ours,
    database_owner,
    disk_full_reason,
    resolve_database,
    take_lock,
)
from receiver.store.tables.all_tables import AllTables
from receiver.store.tables.connection import DeferredChange, Row, Topic
from receiver.store.tables.dialect import Dialect
from receiver.store.to_the_end import to_the_end
from receiver.store.writer_turns import Lane, WriterLock

READ_MOST_S = 1.0
PROBE_BYTES = 1024 * 1024
LOG_MOST = 64 * 1024 * 1024  # bytes: a longer write-ahead log is forced to start again

_PRAGMAS = (
    "PRAGMA busy_timeout = 1000",
    "PRAGMA cache_size = -1000",
    "PRAGMA temp_store = MEMORY",
)
_WRITING = (
    "PRAGMA auto_vacuum = INCREMENTAL",  # only has an effect before the first table exists
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    f"PRAGMA journal_size_limit = {LOG_MOST}",
)
_SEARCH_MODULE = "fts5"
_DIALECT: Dialect = SqliteDialect()
_RowsAndCount = tuple[list[Any], int]


class SqliteConnection:
    """A `TableConnection` over SQLite: for reading, where each query stands alone, or for one writing transaction."""

    def __init__(
        self, raw: BatchingConnection, read_most_s: float | None = None, turn: asyncio.Lock | None = None
    ) -> None:
        self._raw = raw
        self._read_most_s = read_most_s
        self._turn = turn
        self._deferred = [] if read_most_s is not None else [DeferredChange("BEGIN IMMEDIATE", [()])]
        self._began = False
        self._changed = raw.changed
        self.dialect: Dialect = _DIALECT
        self.touched: set[str] = set()
        self.woken: set[Topic] = set()

    async def fetch_rows(self, sql: str, params: Row = ()) -> list[Any]:
        return (await self._flush_and_run(sql, params))[0]

    async def run_statement(self, sql: str, params: Row = ()) -> int:
        return (await self._flush_and_run(sql, params))[1]

    def defer(self, sql: str, rows: Sequence[Row], *, expect: int | None = None) -> None:
        if self._read_most_s is not None:
            raise StoreError("this connection is read-only", remedy="make changes inside `store.write()`")
        self._deferred.append(DeferredChange(sql, rows, expect))

    async def commit(self) -> bool:
        """Commit the transaction, if it began: one that read and changed nothing did not. Whether it wrote."""
        if self._began or len(self._deferred) > 1:
            await self.run_statement("COMMIT")
        return self._raw.changed != self._changed

    async def _flush_and_run(self, sql: str, params: Row) -> tuple[list[Any], int]:
        changes, self._deferred = self._deferred, []
        self._began = True
        with translate_errors():
            if self._read_most_s is None:
                return await self._raw.flush(changes, sql, params)
            reading = asyncio.create_task(self._run_bounded(sql, params, self._read_most_s))
            reading.add_done_callback(lambda it: it.cancelled() or it.exception())  # the caller may be gone
            return await asyncio.shield(reading)

    async def _run_bounded(self, sql: str, params: Row, most_s: float) -> _RowsAndCount:
        """Run a read, and interrupt it when it takes too long, so that it cannot block checkpoints for ever.

        The caller shields it, so the limit holds even if the caller was cancelled. Only one read runs at a time:
        waiting for the turn does not count against the limit, and the interruption hits the right query.
        """
        async with self._turn or asyncio.Lock():
            query = asyncio.ensure_future(self._raw.flush((), sql, params))
            while not (await asyncio.wait({query}, timeout=most_s))[0]:
                await self._raw.interrupt()  # repeatedly: the first may come before the query begins
            return await query


class SqliteStore(AllTables):
    """The `Store` of one process over one SQLite file, and the only one over it. Made by `open_sqlite`."""

    shared = False
    clock: Clock | None = None
    listening: bool | None = None
    timeline: str | None = None

    def __init__(self, path: Path, writing: BatchingConnection, reading: BatchingConnection, lock: int) -> None:
        self.path = path
        self.fault: str | None = None
        self._damage: str | None = None  # stays: commits that do not touch the damage may succeed
        self._writing = writing
        self._reading = reading
        self._lock = lock
        self._writer_lock = WriterLock()
        self._wakeups = TopicWakeups()
        self._listeners = ChangeListeners()
        self._may_read = asyncio.Lock()
        self._identity: list[tuple[int, int]] | None = None  # of database, log and lock, once all exist
        self._log_bytes, self._log_bound = 0, LOG_MOST
        self._shortening: asyncio.Task[None] | None = None
        super().__init__(SqliteConnection(reading, READ_MOST_S, self._may_read))

    @contextlib.asynccontextmanager
    async def write(self, lane: Lane = Lane.OTHER) -> AsyncIterator[AllTables]:
        """A transaction: committed when the block ends, rolled back when it raises.

        Raises StoreUnavailable, StaleUpdate.
        """
        if lane is Lane.INGEST and (why := self.disk_full_reason()) is not None:
            self.fault = why
            raise StoreUnavailable(why)
        await self._writer_lock.acquire(lane)
        try:
            connection = SqliteConnection(self._writing)
            try:
                yield AllTables(connection)
                await to_the_end(self._commit_and_publish(connection))
            except BaseException as error:
                await to_the_end(self._roll_back())
                if isinstance(error, StoreUnavailable | CorruptDatabase):
                    self.fault = str(error)
                if isinstance(error, CorruptDatabase):
                    self._damage = self.fault
                raise
        finally:
            self._writer_lock.release()

    async def _commit_and_publish(self, connection: SqliteConnection) -> None:
        """Commit, then wake loops and listeners. A commit that wrote nothing proves nothing about the disk."""
        if await connection.commit():
            self._watch_files()
            self.fault = self._damage or self.disk_full_reason()
        for topic in connection.woken:
            self._wakeups.wake(topic)
        if connection.touched:
            self._listeners.publish_refs(connection.touched)

    def _watch_files(self) -> None:
        """Raise CorruptDatabase if the database's files were replaced: what is written now would vanish with us.

        Also start shortening a long log: SQLite resets it only while there are no readers, and a steady stream of
        readers never leaves a gap.
        """
        try:
            log = os.stat(f"{self.path}-wal")
            identity = [_file_identity(it) for it in (os.stat(self.path), log, os.stat(f"{self.path}.lock"))]
        except FileNotFoundError:
            identity = None
        except OSError:  # the commit itself succeeded
            return
        if identity is None or identity != (self._identity or identity):
            raise CorruptDatabase(
                f"{self.path}, its -wal or its .lock was removed or replaced while the service was running",
                remedy="restart the service",
            )
        self._identity = identity
        self._log_bytes = log.st_size
        if self._log_bytes <= LOG_MOST:
            self._log_bound = LOG_MOST
        elif self._log_bytes > self._log_bound and self._shortening is None:
            # not at every commit: a reader in another process may block it anyway
            self._log_bound = self._log_bytes + LOG_MOST
            self._shortening = asyncio.create_task(self._shorten_log(), name="shorten the log")

    async def _shorten_log(self) -> None:
        """Hold back new reads until the current one has ended, then commit twice: the first commit copies the rest of
        the log into the database, the second starts the log again."""
        try:
            async with self._may_read:
                await self.probe()
                await self.probe()
        finally:
            self._shortening = None

    async def _roll_back(self) -> None:
        """Leave no transaction open, whatever ended it. An error here means that SQLite has already rolled it back.

        It does not check first whether one is open: a BEGIN whose caller was cancelled may still wait for its thread.
        """
        with contextlib.suppress(sqlite3.Error, ValueError):
            await self._writing.rollback()

    async def probe(self) -> str | None:
        """Try a commit now: None if it succeeds, otherwise why it failed.

        After a failure it tries with as much data as a batch may write: even on a full disk, a small commit may fit
        into the space that failed transactions left in the log.
        """
        if (why := self.disk_full_reason()) is not None:
            self.fault = why
            return why
        try:
            if self.fault is not None:
                async with self.write() as tx:
                    tx.connection.defer("INSERT INTO probes (filler) VALUES (zeroblob(?))", [(PROBE_BYTES,)])
                async with self.write() as tx:
                    tx.connection.defer("DELETE FROM probes", [()])
            else:
                async with self.write() as tx:
                    await tx.connection.run_statement(
                        "UPDATE migrations SET probed_at = probed_at + 1 WHERE number = 1"
                    )
        except StoreError as error:
            return str(error)
        return None

    def disk_full_reason(self) -> str | None:
        """Why new callbacks are refused, though other changes are still stored; None while the disk has room."""
        return disk_full_reason(self.path)

    def file_sizes(self) -> tuple[int, int]:
        """The bytes of the database and of its write-ahead log; 0 for a file that cannot be read."""
        found = []
        for path in (str(self.path), f"{self.path}-wal"):
            try:
                found.append(os.stat(path).st_size)
            except OSError:
                found.append(0)
        return found[0], found[1]

    def wake(self, topic: Topic) -> None:
        """Make the loop of `topic` look for work."""
        self._wakeups.wake(topic)

    def wake_count(self, topic: Topic) -> int:
        """The count to pass to `wait_for_wake`; read it before looking for work."""
        return self._wakeups.wake_count(topic)

    async def wait_for_wake(self, topic: Topic, seen: int, timeout_s: float) -> None:
        """Return once `topic` was woken after `seen` was read, or after `timeout_s` seconds."""
        await self._wakeups.wait_for_wake(topic, seen, timeout_s)

    def open_listener(self) -> ChangeListener:
        """A listener that collects the refs of changed tasks; close it afterwards."""
        return self._listeners.open_listener()

    async def known_targets(self) -> frozenset[str]:
        """None: there is no other process."""
        return frozenset()

    async def processes(self) -> list[ProcessRow]:
        """None: there is no other process."""
        return []

    async def identity(self) -> str | None:
        """A file may be copied anywhere: it has none."""
        return None

    async def close(self) -> None:
        """Close both connections and release the lock; later writes raise StoreUnavailable."""
        await self._writer_lock.acquire(Lane.OTHER)
        try:
            await self._writing.close()
            await self._reading.close()
        finally:
            self._writer_lock.release()
            os.close(self._lock)


async def open_sqlite(path: Path) -> SqliteStore:
    """Open or create the database at `path`, migrate it, and void every lease of an earlier process.

    Raises DatabaseLocked if another process holds it, NewerSchema, CorruptDatabase, StoreUnavailable, or StoreError if
    this SQLite cannot search.
    """
    path = resolve_database(path)
    lock = take_lock(path)
    opened: list[BatchingConnection] = []
    try:
        # readable for its owner only: prompts and bodies are private; -wal and -shm get the same mode
        whose = database_owner(path)
        new = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        chown_if_ours(new, whose)
        os.close(new)
        guard = OpeningGuard(path)
        with translate_errors():
            for pragmas in ((*_PRAGMAS, *_WRITING), (*_PRAGMAS, "PRAGMA query_only = ON")):
                raw = BatchingConnection(str(path))
                await raw
                opened.append(raw)
                guard.check()
                await raw.flush([DeferredChange(pragma, [()]) for pragma in pragmas[:-1]], pragmas[-1])
                if len(opened) == 1:
                    await _require_search(raw)
                    await _apply_migrations(raw)
        writing, reading = opened
        store = SqliteStore(path, writing, reading, lock)
        async with store.write() as tx:
            await tx.tasks.void_leases()
            await tx.sends.void_leases()
            await tx.paces.forget_all()
    except BaseException:
        for raw in opened:
            await raw.close()
        os.close(lock)
        raise
    return store


def _file_identity(file: os.stat_result) -> tuple[int, int]:
    return file.st_dev, file.st_ino


async def _require_search(raw: BatchingConnection) -> None:
    """Raise StoreError if this SQLite lacks the module that indexes words: no task could be stored without it."""
    if not list(await raw.execute_fetchall("SELECT 1 FROM pragma_module_list WHERE name = ?", (_SEARCH_MODULE,))):
        raise StoreError(
            f"this Python's SQLite ({sqlite3.sqlite_version}) was built without {_SEARCH_MODULE.upper()}, its full-text"
            " search",
            remedy="run the receiver with another Python: those of Linux distributions and of python.org have it",
        )


async def _apply_migrations(raw: BatchingConnection) -> None:
    """Apply and record all missing migrations in one transaction, so that they wait for the disk only once."""
    if list(await raw.execute_fetchall("SELECT 1 FROM sqlite_schema WHERE name = 'moving'")):
        raise half_moved()
    applied, script = 0, f"{CREATE_MIGRATIONS};"
    if list(await raw.execute_fetchall("SELECT 1 FROM sqlite_schema WHERE name = 'migrations'")):
        [(applied,)] = await raw.execute_fetchall("SELECT coalesce(max(number), 0) FROM migrations")
        script = ""
    steps = missing_migrations("sqlite", applied)
    for step in steps:
        script += f"\n{step.sql}\nINSERT INTO migrations (number, name) VALUES ({step.number}, '{step.name}');"
    if steps:
        # executescript commits an open transaction, so the script brings its own
        await raw.executescript(f"BEGIN IMMEDIATE;\n{script}\nCOMMIT;")
