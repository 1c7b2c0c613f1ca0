"""The store on PostgreSQL: a pool of connections, and one of their own for callbacks.

Every transaction is READ COMMITTED with locks, and ends with its commit or with a rollback; both are shielded from
cancellation. Other processes work over the same database at the same time, so nothing here may be kept in memory that
must be true.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from random import uniform

import asyncpg

from receiver.clocks import boot_clock
from receiver.core.errors import NewerSchema, SettingsError, StoreError, StoreUnavailable
from receiver.core.types import Clock
from receiver.store.migrations.steps import load_migrations
from receiver.store.postgres.connection import ReadingConnection, WritingConnection
from receiver.store.postgres.dialect import PostgresDialect
from receiver.store.postgres.errors import (
    RETRY_SHORTLY_S,
    OutcomeUnknown,
    ends_connections,
    is_of_row,
    may_not_answer,
    translate_errors,
)
from receiver.store.postgres.migrate import apply_migrations, refuse_moving
from receiver.store.postgres.place import PostgresPlace
from receiver.store.postgres.pool import (
    CALL_MOST_S,
    ConnectionPool,
    connect,
    is_direct,
    open_pool,
)
from receiver.store.postgres.presence import LIVE_MS, Presence, process_from_row
from receiver.store.postgres.shared_clock import SharedClock
from receiver.store.process_row import ProcessRow
from receiver.store.signals import ChangeListener, ChangeListeners, TopicWakeups
from receiver.store.tables.all_tables import AllTables
from receiver.store.tables.connection import Topic
from receiver.store.to_the_end import to_the_end
from receiver.store.writer_turns import Lane

DEAF_INTERVAL_S = 2.0  # between two looks for work of a process that does not hear the others
KEPT_FOR_READS = 2  # connections of the pool that transactions do not take
INGEST_CONNECTIONS = 2  # one that may not answer is given up while the other is used
TURN_MOST_S = 5.0

log = logging.getLogger(__name__)


class PostgresStore(AllTables):
    """The `Store` of one of several processes over one PostgreSQL database. Made by `open_postgres`."""

    shared = True

    def __init__(
        self,
        place: PostgresPlace,
        pool: ConnectionPool,
        ingest_pool: ConnectionPool,
        types: dict[tuple[str, str], str],
        clock: SharedClock,
        schema: int,
    ) -> None:
        super().__init__(ReadingConnection(pool, PostgresDialect(types, locks=False)))
        self.fault: str | None = None
        self.clock: Clock | None = clock
        self._shared_clock = clock
        self._pool = pool
        self._ingest_pool = ingest_pool
        self._writing = PostgresDialect(types, locks=True)
        self._may_write = asyncio.Semaphore(max(1, place.pool - KEPT_FOR_READS))
        self._wakeups = TopicWakeups()
        self._listeners = ChangeListeners()
        self._presence = Presence(place, schema, clock, wake=self._wakeups.wake, publish=self._listeners.publish_refs)
        self._is_closed = False

    @contextlib.asynccontextmanager
    async def write(self, lane: Lane = Lane.OTHER) -> AsyncIterator[AllTables]:
        """A transaction: committed when the block ends, rolled back when it raises.

        Raises StoreUnavailable, StaleUpdate. Of callbacks, nothing else is raised by the database unless a value cannot
        be stored: what this program gets wrong must not be taken for a wrong callback.
        """
        if self._is_closed:
            raise StoreUnavailable("the store is closing")
        try:
            async with self._take_turn(lane) as pool:
                raw = await pool.acquire()
                connection = WritingConnection(raw, self._writing)
                try:
                    yield AllTables(connection)
                    await to_the_end(self._commit_and_publish(connection))
                except BaseException as error:
                    await pool.give_back(raw, error, connection.roll_back)
                    raise
                await pool.give_back(raw, None)
        except Exception as error:
            if isinstance(error, StoreUnavailable):
                self.fault = str(error)
            if ends_connections(error) or may_not_answer(error):
                for pool in (self._pool, self._ingest_pool):
                    await pool.expire()
            driver = isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError) and not is_of_row(error)
            if lane is Lane.INGEST and driver:
                log.exception("callbacks cannot be stored", extra={"action": "store.bug"})
                raise StoreUnavailable(f"the database refuses what we ask: {type(error).__name__}") from error
            raise

    @contextlib.asynccontextmanager
    async def _take_turn(self, lane: Lane) -> AsyncIterator[ConnectionPool]:
        """The pool for a transaction: callbacks have their own, and others leave some of theirs to those who read."""
        if lane is Lane.INGEST:
            yield self._ingest_pool
            return
        try:
            async with asyncio.timeout(TURN_MOST_S):
                await self._may_write.acquire()
        except TimeoutError:
            raise StoreUnavailable("too many changes wait for the database", retry_after_s=RETRY_SHORTLY_S) from None
        try:
            yield self._pool
        finally:
            self._may_write.release()

    async def _commit_and_publish(self, connection: WritingConnection) -> None:
        try:
            await connection.commit()
        except OutcomeUnknown:  # it may be there
            for topic in Topic:
                self._wakeups.wake(topic)
            raise
        if connection.has_written:
            self.fault = None
        for topic in connection.woken:
            self._wakeups.wake(topic)
        if connection.touched:
            self._listeners.publish_refs(connection.touched)
        self._presence.announce(connection.woken, connection.touched)

    async def probe(self) -> str | None:
        """Try a commit now: None if it succeeds, otherwise why it failed."""
        try:
            async with asyncio.timeout(CALL_MOST_S), self.write(Lane.INGEST) as tx:
                # a row of its own: whoever holds a common one would make all processes unready
                await tx.connection.run_statement(
                    "UPDATE processes SET seen_at = seen_at WHERE id = ?", (self._presence.id,)
                )
        except StoreError as error:
            return str(error)
        except TimeoutError:
            self.fault = "the database does not answer in time"
            return self.fault
        return None

    def disk_full_reason(self) -> str | None:
        """None: only the database's server knows its disk."""
        return None

    def file_sizes(self) -> tuple[int, int]:
        """The bytes of the database, as last asked; 0 for its log, which is the server's."""
        return self._presence.database_bytes, 0

    @property
    def listening(self) -> bool | None:
        """Whether wake-ups of other processes are heard."""
        return self._presence.listening

    @property
    def timeline(self) -> str | None:
        """Which of its histories the database is at, as last asked."""
        return self._presence.timeline

    async def known_targets(self) -> frozenset[str]:
        """The targets that any live process over this database has in its settings."""
        return frozenset(name for process in await self.processes() for name in process.targets)

    async def processes(self) -> list[ProcessRow]:
        """The processes over this database that were seen within a quarter of an hour, those that began first first."""
        rows = await self.connection.fetch_rows(
            "SELECT id, role, host, version, schema, targets, started_at, seen_at FROM processes WHERE seen_at > ?"
            " ORDER BY started_at, id",
            (self._shared_clock() - LIVE_MS,),
        )
        return [process_from_row(row) for row in rows]

    async def identity(self) -> str | None:
        """Names the database itself: its server's number, which replicas share and a restored dump does not."""
        try:
            rows = await self.connection.fetch_rows(
                "SELECT system_identifier::text, (SELECT oid::text FROM pg_database WHERE datname = current_database())"
                " FROM pg_control_system()"
            )
        except (asyncpg.PostgresError, StoreError):  # not every server lets everyone ask
            return None
        return "-".join(rows[0])

    def wake(self, topic: Topic) -> None:
        """Make the loop of `topic` look for work, here and in the other processes."""
        self._wakeups.wake(topic)
        self._presence.announce((topic,), ())

    def wake_count(self, topic: Topic) -> int:
        """The count to pass to `wait_for_wake`; read it before looking for work."""
        return self._wakeups.wake_count(topic)

    async def wait_for_wake(self, topic: Topic, seen: int, timeout_s: float) -> None:
        """Return once `topic` was woken after `seen` was read, or after `timeout_s` seconds; sooner if other processes
        cannot be heard."""
        most_s = timeout_s if self._presence.listening else min(timeout_s, DEAF_INTERVAL_S * uniform(0.8, 1.2))  # noqa: S311
        await self._wakeups.wait_for_wake(topic, seen, most_s)

    def open_listener(self) -> ChangeListener:
        """A listener that collects the refs of changed tasks; close it afterwards."""
        return self._listeners.open_listener()

    async def close(self) -> None:
        """Close all connections; later writes raise StoreUnavailable."""
        self._is_closed = True
        await self._presence.close()
        await asyncio.gather(self._ingest_pool.close(), self._pool.close())


async def open_postgres(place: PostgresPlace, boot: Clock = boot_clock) -> PostgresStore:
    """Connect to the database at `place` and migrate it. `boot` is a clock that cannot leap.

    Raises StoreUnavailable for what time may mend; NewerSchema, another StoreError or SettingsError for what it cannot.
    """
    pools: list[ConnectionPool] = []
    try:
        setting = "DATABASE_LISTEN_URL" if place.listen_url is not None else "DATABASE_URL"
        with _explain_refusals(setting), translate_errors():
            clock = SharedClock(boot)
            direct = await connect(place.listen_url or place.url)
            try:
                types = await _prepare_database(direct)
                await clock.compare(direct)
                prepares = place.listen_url is None and await is_direct(direct)
            finally:
                direct.terminate()
        with _explain_refusals("DATABASE_URL"), translate_errors():
            pools.append(ingest_pool := await open_pool(place, INGEST_CONNECTIONS, prepares=prepares, keeps=True))
            pools.append(pool := await open_pool(place, place.pool, prepares=prepares))
        schema = load_migrations("postgres")[-1].number
        return PostgresStore(place, pool, ingest_pool, types, clock, schema)
    except BaseException:
        for opened in pools:
            await opened.close()
        raise


async def _prepare_database(raw: asyncpg.Connection) -> dict[tuple[str, str], str]:
    """Migrate it; the types of its columns."""
    if await raw.fetchval("SELECT pg_is_in_recovery()", timeout=CALL_MOST_S):
        raise StoreUnavailable(
            "the database is a replica, which cannot be written",
            remedy="name the primary, or several hosts and target_session_attrs=read-write",
        )
    await apply_migrations(raw)
    await refuse_moving(raw)
    await _warn_of_risks(raw)
    return await _read_types(raw)


async def _warn_of_risks(raw: asyncpg.Connection) -> None:
    for name in ("fsync", "full_page_writes"):
        if await raw.fetchval("SELECT current_setting($1)", name, timeout=CALL_MOST_S) == "off":
            log.warning(
                "the database's server has %s=off, so what was answered may be lost when its machine fails",
                name,
                extra={"action": "store.risk"},
            )


async def _read_types(raw: asyncpg.Connection) -> dict[tuple[str, str], str]:
    """The types of the columns of all tables, by (table, column)."""
    rows = await raw.fetch(
        "SELECT c.relname, a.attname, format_type(a.atttypid, NULL) FROM pg_attribute AS a"
        " JOIN pg_class AS c ON c.oid = a.attrelid WHERE pg_table_is_visible(c.oid)"
        " AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped",
        timeout=CALL_MOST_S,
    )
    return {(table, column): kind for table, column, kind in rows}


@contextlib.contextmanager
def _explain_refusals(setting: str) -> Iterator[None]:
    """Raise SettingsError, naming the setting, for what the server will refuse again however often it is asked."""
    try:
        yield
    except (NewerSchema, SettingsError):
        raise
    except StoreError as error:
        cause = error.__cause__
        state = getattr(cause, "sqlstate", None)
        if state in _REFUSALS:
            problem, remedy = _REFUSALS[state]
            raise SettingsError(f"RECEIVER_{setting}: {problem}", remedy=remedy) from None
        raise
    except asyncpg.PostgresError as error:
        if error.sqlstate == "42501":
            problem = f"the user may not do what is needed there ({error.args[0]})"
            raise SettingsError(f"RECEIVER_{setting}: {problem}", remedy="make it the owner of the database") from None
        if error.sqlstate == "42704":  # what the URL adds after `?`
            raise SettingsError(f"RECEIVER_{setting}: the server does not take it ({error.args[0]})") from None
        raise
    except (asyncpg.ClientConfigurationError, ValueError) as error:
        raise SettingsError(f"RECEIVER_{setting}: this is not a URL that can be used: {type(error).__name__}") from None


_REFUSALS = {
    "28P01": ("the server refuses the user's password", "check both"),
    "28000": ("the server refuses the user", "see pg_hba.conf and the server's log"),
    "3D000": ("the server has no database of this name", "create it: `createdb`, with encoding UTF8"),
}
