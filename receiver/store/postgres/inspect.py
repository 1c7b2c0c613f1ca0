"""Inspects a PostgreSQL database from outside, for the doctor; the service may be running. Changes nothing.

Every question is a statement by itself, so that it may go through a pooler. What a role may not see is None.
"""

import asyncio
import secrets
from typing import Any

import asyncpg
from msgspec import Struct

from receiver.core.errors import NewerSchema, StoreUnavailable
from receiver.store.migrations.steps import load_migrations
from receiver.store.postgres.connect import connect, plain_errors
from receiver.store.postgres.migrate import missing_after
from receiver.store.postgres.place import PostgresPlace
from receiver.store.postgres.presence import process_from_row
from receiver.store.process_row import ProcessRow

INSPECTED_MOST_S = 15.0
HEARD_WITHIN_S = 2.0
LIVE_MS = 60_000  # a process that was seen within this time lives: it says so every ten seconds

_SERVER = """
SELECT current_setting('server_version_num')::bigint, current_setting('server_encoding'), pg_is_in_recovery(),
    current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_standby_names'),
    current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint
        - coalesce(current_setting('reserved_connections', true), '0')::bigint,
    (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),
    (SELECT datconnlimit FROM pg_database WHERE datname = current_database()),
    pg_database_size(current_database()), (extract(epoch FROM clock_timestamp()) * 1000)::bigint
"""
# Who is not a monitor sees that another role's replicas and sessions are there, but not what they do.
_REPLICAS = """
SELECT count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')), count(*) FILTER (WHERE sync_state IS NULL)
FROM pg_stat_replication
"""
_SESSIONS = """
SELECT count(*), max(extract(epoch FROM clock_timestamp() - state_change)) FILTER
        (WHERE state LIKE 'idle in transaction%' AND datname = current_database()),
    max(extract(epoch FROM clock_timestamp() - xact_start)) FILTER (WHERE pid <> pg_backend_pid())
FROM pg_stat_activity WHERE backend_type = 'client backend'
"""
_PROCESSES = """
SELECT id, role, host, version, schema, targets, started_at, seen_at FROM processes
WHERE seen_at > $1 ORDER BY started_at, id LIMIT 200
"""


class PostgresInspection(Struct, frozen=True, kw_only=True):
    """What was found. `schema` is 0 in a new database, of which `missing` migrations are to come."""

    version: int  # 150018 is 15.18
    encoding: str
    in_recovery: bool
    fsync: bool
    full_page_writes: bool
    standby_names: str  # which replicas commits wait for; empty: for none
    synchronous_replicas: int | None  # that are connected
    connections_most: int  # for this role and database
    connections: int  # now, to all databases of the server
    size: int  # bytes
    idle_s: float | None  # how long a session has been idle in a transaction
    transaction_s: float | None  # how old the oldest transaction is
    schema: int = 0
    missing: int = 0
    newer: NewerSchema | None = None  # why this program may not use the database
    moving: bool = False  # another database is being moved into this one
    processes: tuple[ProcessRow, ...] = ()  # those that live
    heard: bool = False  # a wake-up came back


async def inspect_postgres(place: PostgresPlace, named: str) -> PostgresInspection:
    """Inspect the database at `place`; errors call it `named`. Takes `INSPECTED_MOST_S` at most.

    Raises StoreError, or StoreUnavailable where time may mend it.
    """
    try:
        async with asyncio.timeout(INSPECTED_MOST_S):
            connection = await connect(place.url, named)
            try:
                with plain_errors(named):
                    found = await _ask(connection)
                    return PostgresInspection(**found, heard=await _is_heard(place, connection, named))
            finally:
                connection.terminate()
    except TimeoutError:
        raise StoreUnavailable(
            f"{named} did not answer within {INSPECTED_MOST_S:g} s", remedy="check the network and the server"
        ) from None


async def _ask(connection: asyncpg.Connection) -> dict[str, Any]:
    server = await connection.fetchrow(_SERVER)
    version, encoding, in_recovery, fsync, pages, names, most, role_most, database_most, size, now = server
    synchronous, unseen = await connection.fetchrow(_REPLICAS)
    connections, idle_s, transaction_s = await connection.fetchrow(_SESSIONS)
    found = {
        "version": version,
        "encoding": encoding,
        "in_recovery": in_recovery,
        "fsync": fsync == "on",
        "full_page_writes": pages == "on",
        "standby_names": names,
        "synchronous_replicas": None if unseen and not synchronous else synchronous,
        "connections_most": min([most, *(it for it in (role_most, database_most) if it >= 0)]),
        "connections": connections,
        "size": size,
        "idle_s": None if idle_s is None else float(idle_s),
        "transaction_s": None if transaction_s is None else float(transaction_s),
    }
    return {**found, **await _ask_tables(connection, now)}


async def _ask_tables(connection: asyncpg.Connection, now: int) -> dict[str, Any]:
    """What our own tables say, as far as they are there."""
    steps = load_migrations("postgres")
    if not await connection.fetchval("SELECT to_regclass('migrations') IS NOT NULL"):
        return {"missing": len(steps)}
    try:
        schema, oldest = await connection.fetchrow(
            "SELECT coalesce(max(number), 0), coalesce(max(oldest), 0) FROM migrations"
        )
    except asyncpg.UndefinedColumnError:  # of another program; the start says so
        return {"missing": len(steps)}
    try:
        missing = len(missing_after(steps, schema, oldest))
    except NewerSchema as error:
        return {"schema": schema, "newer": error}
    return {
        "schema": schema,
        "missing": missing,
        "moving": bool(await connection.fetchval("SELECT count(*) FROM moving")),
        "processes": tuple(map(process_from_row, await connection.fetch(_PROCESSES, now - LIVE_MS))),
    }


async def _is_heard(place: PostgresPlace, sender: asyncpg.Connection, named: str) -> bool:
    """Whether what is sent by the one URL is heard by the other. A pooler accepts LISTEN, and passes nothing on."""
    heard = asyncio.Event()
    channel = f"receiver_doctor_{secrets.token_hex(8)}"
    listener = await connect(place.listen_url or place.url, named)
    try:
        await listener.add_listener(channel, lambda *_: heard.set())
        await sender.execute(f"SELECT pg_notify('{channel}', '')")
        async with asyncio.timeout(HEARD_WITHIN_S):
            await heard.wait()
    except TimeoutError:
        return False
    finally:
        listener.terminate()
    return True
