"""Migrations of a PostgreSQL database, applied by whichever process comes first.

All of them run in one transaction, and an advisory lock of that transaction makes processes take turns; it works
through a pooler, too. Nothing waits longer than `LOCK_MOST` for a lock, because every statement of the service would
queue up behind it. Then it is tried again, for `TRIED_MOST_S`.

A program that is older than the schema may go on as long as it knows the schema's `oldest`, so that processes can be
replaced one by one. A migration raises it with a first line `-- oldest: N`; what only adds does not need to.
"""

import asyncio
import re
import time

import asyncpg

from receiver.core.errors import NewerSchema, StoreError, StoreUnavailable
from receiver.store.migrations.steps import Migration, load_migrations
from receiver.store.moving.tables import half_moved

LOCK_MOST = "2s"
STATEMENT_MOST_S = 3600.0  # a migration of a large table
TRIED_MOST_S = 60.0
_AGAIN_S = 0.2
_TURN = int.from_bytes(b"receiver")  # the key of the advisory lock
_CREATE_MIGRATIONS = """
CREATE TABLE migrations (
    number    bigint PRIMARY KEY,
    name      text COLLATE "C" NOT NULL,
    probed_at bigint NOT NULL DEFAULT 0,
    oldest    bigint NOT NULL DEFAULT 0
)
"""
_OLDEST = re.compile(r"-- oldest: (\d+)\n")
_BUSY = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_OWN_DATABASE = "give the receiver a database of its own"


async def apply_migrations(connection: asyncpg.Connection) -> list[str]:
    """Apply and record all missing migrations; their names. The connection must not be in a transaction.

    Raises NewerSchema; StoreUnavailable if others hold the tables for `TRIED_MOST_S`; StoreError if the database has
    another encoding, or tables of another program, or if its user may not create any. Other errors of asyncpg pass.
    """
    await _refuse_unsuitable(connection)
    end = time.monotonic() + TRIED_MOST_S
    while True:
        try:
            return await _apply_missing(connection)
        except _BUSY:
            if time.monotonic() > end:
                raise StoreUnavailable(
                    "the database cannot be migrated, because others have held its tables for"
                    f" {TRIED_MOST_S:.0f} seconds",
                    remedy="see who it is in pg_stat_activity, such as a long report or a dump, and start again",
                ) from None
        await asyncio.sleep(_AGAIN_S)


async def read_schema(connection: asyncpg.Connection) -> int:
    """The number of the last migration that was applied; 0: none was. Raises StoreError, NewerSchema."""
    return (await _read_applied(connection))[0]


async def refuse_moving(connection: asyncpg.Connection) -> None:
    """Raise StoreError if another database is being moved into this one: what is here is only a part."""
    if await connection.fetchval("SELECT count(*) FROM moving"):
        raise half_moved()


def missing_after(steps: list[Migration], applied: int, oldest: int) -> list[Migration]:
    """The migrations after number `applied`. Raises NewerSchema if this program knows none from `oldest` on."""
    if oldest > steps[-1].number:
        raise NewerSchema(
            f"the database has schema {applied}, for which a program has to know schema {oldest}, and this version only"
            f" knows schemas up to {steps[-1].number}",
            remedy="install the newer version again, as the other processes have it",
        )
    return [step for step in steps if step.number > applied]


async def _apply_missing(connection: asyncpg.Connection) -> list[str]:
    steps = load_migrations("postgres")
    if not missing_after(steps, *await _read_applied(connection)):
        return []
    try:
        async with connection.transaction(isolation="read_committed"):  # so that we see what was done in our turn
            await connection.execute(
                f"SET LOCAL lock_timeout = '{LOCK_MOST}'; SET LOCAL statement_timeout = '{STATEMENT_MOST_S:.0f}s';"
                f" SELECT pg_advisory_xact_lock({_TURN})"
            )
            applied, oldest = await _read_applied(connection)
            if not applied:
                await connection.execute(_CREATE_MIGRATIONS)
            missing = missing_after(steps, applied, oldest)
            for step in missing:
                await connection.execute(step.sql, timeout=STATEMENT_MOST_S)
                found = _OLDEST.match(step.sql)
                oldest = max(oldest, int(found[1])) if found else oldest
                await connection.execute(
                    "INSERT INTO migrations (number, name, oldest) VALUES ($1, $2, $3)", step.number, step.name, oldest
                )
    except (asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError) as error:
        raise StoreError(
            f"the database has something of another program in schema {await _schema_name(connection)}"
            f" ({error.args[0]})",
            remedy=_OWN_DATABASE,
        ) from None
    except asyncpg.InsufficientPrivilegeError as error:
        raise StoreError(
            f"this user of the database may not create the receiver's tables ({error.args[0]})",
            remedy=f"make it the database's owner, or GRANT CREATE ON SCHEMA {await _schema_name(connection)} to it",
        ) from None
    return [step.name for step in missing]


async def _read_applied(connection: asyncpg.Connection) -> tuple[int, int]:
    """The last migration that was applied, and the oldest that a program has to know; (0, 0) in a new database.

    `to_regclass` would not do: its answer may be from before we waited for our turn.
    """
    if not await connection.fetchval(
        "SELECT count(*) FROM pg_class WHERE relname = 'migrations' AND pg_table_is_visible(oid)"
    ):
        return 0, 0
    try:
        row = await connection.fetchrow("SELECT coalesce(max(number), 0), coalesce(max(oldest), 0) FROM migrations")
    except asyncpg.UndefinedColumnError:
        raise StoreError("the database has a table migrations of another program", remedy=_OWN_DATABASE) from None
    return row[0], row[1]


async def _refuse_unsuitable(connection: asyncpg.Connection) -> None:
    row = await connection.fetchrow(
        "SELECT current_setting('server_encoding'), current_schema(), current_setting('search_path')"
    )
    encoding, schema, path = row
    if encoding != "UTF8":
        raise StoreError(
            f"the database has the encoding {encoding}, which lacks characters that prompts may hold",
            remedy="make another one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
        )
    if schema is None:
        raise StoreError(
            f"the database has none of the schemas that this user's search_path names ({path})",
            remedy="create one of them",
        )


async def _schema_name(connection: asyncpg.Connection) -> str:
    return str(await connection.fetchval("SELECT current_schema()"))
