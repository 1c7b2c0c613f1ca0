"""The store over SQLite: one writing connection, one reading one, a lock beside the file.

WAL with synchronous=FULL: a commit that returned is on disk. Every transaction is BEGIN IMMEDIATE, is rolled back on
any exit but its commit, and its end is shielded from cancellation, so that a turn never leaks a half-done transaction.
"""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

from receiver.core.errors import CorruptDatabase, StoreError, StoreUnavailable
from receiver.store.migrations.steps import missing_migrations
from receiver.store.signals import ChangeListener, ChangeListeners, TopicWakeups
from receiver.store.sqlite.batching import BatchingConnection, DeferredChange
from receiver.store.sqlite.files import chown_if_root, database_owner, disk_full_reason, take_lock
from receiver.store.tables.callbacks import CallbackTable
from receiver.store.tables.connection import Row, Topic
from receiver.store.tables.notices import NoticeTable
from receiver.store.tables.picture_copies import PictureCopyTable
from receiver.store.tables.retention import RetentionQueries
from receiver.store.tables.sends import SendTable
from receiver.store.tables.tasks import TaskTable
from receiver.store.writer_turns import Lane, WriterLock

READ_MOST_S = 1.0
PROBE_BYTES = 1024 * 1024
LOG_MOST = 64 * 1024 * 1024  # bytes of the write-ahead log, beyond which it has to start again

_PRAGMAS = (
    "PRAGMA busy_timeout = 1000",
    "PRAGMA cache_size = -1000",
    "PRAGMA temp_store = MEMORY",
)
_WRITING = (
    "PRAGMA auto_vacuum = INCREMENTAL",  # before the first table, or never
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    f"PRAGMA journal_size_limit = {LOG_MOST}",
)
_PASSING_ERRORS = {
    sqlite3.SQLITE_BUSY: "another process holds the database",
    sqlite3.SQLITE_LOCKED: "another connection holds the database",
    sqlite3.SQLITE_READONLY: "the database cannot be written",
    sqlite3.SQLITE_IOERR: "the disk reports an error",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_PERM: "the database may not be accessed",
    sqlite3.SQLITE_PROTOCOL: "too many processes contend for the database's lock",
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
    sqlite3.SQLITE_INTERRUPT: "the query took longer than it may",
}

_RowsAndCount = tuple[list[Any], int]


class SqliteConnection:
    """`Connection` over one connection to SQLite: for reading, each query on its own; for writing, one transaction."""

    def __init__(
        self, raw: BatchingConnection, read_most_s: float | None = None, turn: asyncio.Lock | None = None
    ) -> None:
        self._raw = raw
        self._read_most_s = read_most_s
        self._turn = turn
        self._deferred = [] if read_most_s is not None else [DeferredChange("BEGIN IMMEDIATE", [()])]
        self._began = False
        self._changed = raw.changed
        self.touched: set[str] = set()
        self.woken: set[Topic] = set()

    async def fetch_rows(self, sql: str, params: Row = ()) -> list[Any]:
        return (await self._flush_and_run(sql, params))[0]

    async def run_statement(self, sql: str, params: Row = ()) -> int:
        return (await self._flush_and_run(sql, params))[1]

    def defer(self, sql: str, rows: Sequence[Row], *, expect: int | None = None) -> None:
        if self._read_most_s is not None:
            raise StoreError("this connection only reads; change the store in `write()`")
        self._deferred.append(DeferredChange(sql, rows, expect))

    async def commit(self) -> bool:
        """End the transaction, if it ever began: one that changed and read nothing has not. Whether it wrote."""
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
            reading.add_done_callback(lambda it: it.cancelled() or it.exception())  # nobody may be left to hear it
            return await asyncio.shield(reading)

    async def _run_bounded(self, sql: str, params: Row, most_s: float) -> _RowsAndCount:
        """A read that is interrupted when it takes too long, so that it cannot hold back a checkpoint for ever; nor
        when whoever asked has gone: hence the shield. One at a time: what waits for its turn takes no time of its own,
        and an interruption meets whom it is meant for."""
        async with self._turn or asyncio.Lock():
            query = asyncio.ensure_future(self._raw.flush((), sql, params))
            while not (await asyncio.wait({query}, timeout=most_s))[0]:
                await self._raw.interrupt()  # again and again: the first may have come before the query began
            return await query


class SqliteTx:
    """One transaction: the tables over the writing connection."""

    def __init__(self, connection: SqliteConnection) -> None:
        self.connection = connection
        self.tasks = TaskTable(connection)
        self.callbacks = CallbackTable(connection)
        self.copies = PictureCopyTable(connection)
        self.notices = NoticeTable(connection)
        self.sends = SendTable(connection)
        self.pruning = RetentionQueries(connection)


class SqliteStore:
    """The `Store` of one process over one SQLite file. Made by `open_sqlite`."""

    def __init__(self, path: Path, writing: BatchingConnection, reading: BatchingConnection, lock: int) -> None:
        self.path = path
        self.fault: str | None = None
        self._damage: str | None = None  # does not mend itself, though commits that do not touch it may go well
        self._writing = writing
        self._reading = reading
        self._lock = lock
        self._writer_lock = WriterLock()
        self._wakeups = TopicWakeups()
        self._listeners = ChangeListeners()
        self._may_read = asyncio.Lock()
        self._identity: list[tuple[int, int]] | None = None  # of database, log and lock, once all are there
        self._log_bytes, self._log_bound = 0, LOG_MOST
        self._shortening: asyncio.Task[None] | None = None
        on = SqliteConnection(reading, READ_MOST_S, self._may_read)
        self.tasks = TaskTable(on)
        self.callbacks = CallbackTable(on)
        self.copies = PictureCopyTable(on)
        self.notices = NoticeTable(on)
        self.sends = SendTable(on)
        self.pruning = RetentionQueries(on)

    @contextlib.asynccontextmanager
    async def write(self, lane: Lane = Lane.OTHER) -> AsyncIterator[SqliteTx]:
        """A transaction: committed when the block ends, rolled back when it raises. Raises Unavailable, Stale."""
        if lane is Lane.INGEST and (why := self.disk_full_reason()) is not None:
            self.fault = why
            raise StoreUnavailable(why)
        await self._writer_lock.acquire(lane)
        try:
            tx = SqliteTx(SqliteConnection(self._writing))
            try:
                yield tx
                await _to_the_end(self._commit_and_publish(tx.connection))
            except BaseException as error:
                await _to_the_end(self._roll_back())
                if isinstance(error, StoreUnavailable | CorruptDatabase):
                    self.fault = str(error)
                if isinstance(error, CorruptDatabase):
                    self._damage = self.fault
                raise
        finally:
            self._writer_lock.release()

    async def _commit_and_publish(self, connection: SqliteConnection) -> None:
        """Commit, and tell of it. One that wrote nothing says nothing of the disk."""
        if await connection.commit():
            self._watch_files()
            self.fault = self._damage or self.disk_full_reason()
        for topic in connection.woken:
            self._wakeups.wake(topic)
        if connection.touched:
            self._listeners.publish_refs(connection.touched)

    def _watch_files(self) -> None:
        """Raise Corrupt if the database's files are no longer there: what is written would be gone with this process.

        SQLite starts its log again only when nobody reads; readers that follow one upon the other never let it.
        """
        try:
            log = os.stat(f"{self.path}-wal")
            identity = [_file_identity(it) for it in (os.stat(self.path), log, os.stat(f"{self.path}.lock"))]
        except FileNotFoundError:
            identity = None
        except OSError:  # what is committed is committed
            return
        if identity is None or identity != (self._identity or identity):
            raise CorruptDatabase(
                f"{self.path}, its -wal or its .lock was removed or replaced while the service runs: restart it"
            )
        self._identity = identity
        self._log_bytes = log.st_size
        if self._log_bytes <= LOG_MOST:
            self._log_bound = LOG_MOST
        elif self._log_bytes > self._log_bound and self._shortening is None:
            # not at every commit, though: a reader of another process may hold it all the same
            self._log_bound = self._log_bytes + LOG_MOST
            self._shortening = asyncio.create_task(self._shorten_log(), name="shorten the log")

    async def _shorten_log(self) -> None:
        """Hold new reads back until those under way have ended, which is bounded, and two commits were made: the first
        copies what is left of the log, the second starts it again."""
        try:
            async with self._may_read:
                await self.probe()
                await self.probe()
        finally:
            self._shortening = None

    async def _roll_back(self) -> None:
        """Leave no transaction open, whatever it died of; an error that ends it by itself is no second error.

        Without asking whether one is open: a BEGIN whose caller was cancelled may still wait for its thread.
        """
        with contextlib.suppress(sqlite3.Error, ValueError):
            await self._writing.rollback()

    async def probe(self) -> str | None:
        """Whether a commit goes through now: None, or why not.

        While one has failed, it is tried with as much as a batch may write: a full disk has room for a little in the
        log, which transactions that failed leave behind.
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
        """Why no more callbacks are stored, though other changes still are; None while there is room on the disk."""
        return disk_full_reason(self.path)

    def file_sizes(self) -> tuple[int, int]:
        """How many bytes the database has, and how many its write-ahead log; 0 where it cannot be told."""
        found = []
        for path in (str(self.path), f"{self.path}-wal"):
            try:
                found.append(os.stat(path).st_size)
            except OSError:
                found.append(0)
        return found[0], found[1]

    def wake(self, topic: Topic) -> None:
        """Tell the loop of `topic` to look."""
        self._wakeups.wake(topic)

    def wake_count(self, topic: Topic) -> int:
        """The count to hand to `wait`; take it before looking for work."""
        return self._wakeups.wake_count(topic)

    async def wait_for_wake(self, topic: Topic, seen: int, timeout_s: float) -> None:
        """Return once `topic` was woken after `seen`, or after `timeout_s`."""
        await self._wakeups.wait_for_wake(topic, seen, timeout_s)

    def open_listener(self) -> ChangeListener:
        """Follow the changes of tasks."""
        return self._listeners.open_listener()

    async def close(self) -> None:
        """Close both connections and give the lock back; who still wants to write is told Unavailable."""
        await self._writer_lock.acquire(Lane.OTHER)
        try:
            await self._writing.close()
            await self._reading.close()
        finally:
            self._writer_lock.release()
            os.close(self._lock)


async def open_sqlite(path: Path) -> SqliteStore:
    """Open or make the database at `path`, migrated, with every lease of an earlier process void.

    Raises Locked when another process has it, Newer, Corrupt, Unavailable.
    """
    path = path.resolve()  # noqa: ASYNC240 - once, and its other files are beside the file, not beside a link to it
    lock = take_lock(path)
    opened: list[BatchingConnection] = []
    try:
        # for its owner only, prompts and bodies being nobody else's affair; -wal and -shm take after it
        whose = database_owner(path)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        chown_if_root(path, whose)
        with translate_errors():
            for pragmas in ((*_PRAGMAS, *_WRITING), (*_PRAGMAS, "PRAGMA query_only = ON")):
                raw = BatchingConnection(str(path))
                await raw
                opened.append(raw)
                await raw.flush([DeferredChange(pragma, [()]) for pragma in pragmas[:-1]], pragmas[-1])
                if len(opened) == 1:
                    await _apply_migrations(raw)
        writing, reading = opened
        store = SqliteStore(path, writing, reading, lock)
        async with store.write() as tx:
            await tx.tasks.void_leases()
            await tx.sends.void_leases()
    except BaseException:
        for raw in opened:
            await raw.close()
        os.close(lock)
        raise
    return store


def _file_identity(file: os.stat_result) -> tuple[int, int]:
    return file.st_dev, file.st_ino


async def _apply_migrations(raw: BatchingConnection) -> None:
    """All that is missing, and the record of it, in one transaction: each would be a wait for the disk."""
    applied, script = (
        0,
        "CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL,"
        + (" probed_at INTEGER NOT NULL DEFAULT 0) STRICT;"),
    )
    if list(await raw.execute_fetchall("SELECT 1 FROM sqlite_schema WHERE name = 'migrations'")):
        [(applied,)] = await raw.execute_fetchall("SELECT coalesce(max(number), 0) FROM migrations")
        script = ""
    steps = missing_migrations("sqlite", applied)
    for step in steps:
        script += f"\n{step.sql}\nINSERT INTO migrations (number, name) VALUES ({step.number}, '{step.name}');"
    if steps:
        # executescript would commit what is open, so the script carries its own transaction
        await raw.executescript(f"BEGIN IMMEDIATE;\n{script}\nCOMMIT;")


async def _to_the_end(work: Coroutine[Any, Any, Any]) -> None:
    """Run `work` to its end even if the caller is cancelled meanwhile; the cancellation is raised afterwards."""
    running = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception:  # noqa: S110 - raised by result() below
            pass
    running.result()
    if cancelled is not None:
        raise cancelled


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """SQLite's errors in our words: those that pass become Unavailable, a damaged file Corrupt; others are bugs."""
    try:
        yield
    except sqlite3.ProgrammingError as error:
        if "closed" in str(error):
            raise StoreUnavailable("the store is closing") from error
        raise
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _PASSING_ERRORS:
            raise StoreUnavailable(f"{_PASSING_ERRORS[code]} ({error})") from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise CorruptDatabase(
                f"the database is damaged ({error}): stop the service, keep a copy of the file, and restore a backup"
            ) from error
        raise
    except ValueError as error:
        if str(error) in ("no active connection", "Connection closed"):
            raise StoreUnavailable("the store is closing") from error
        raise
