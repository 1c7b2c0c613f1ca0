"""A connection for a command, which does one thing and ends; and errors of the server in the words of a person.

Neither shows anything of the URL: it may hold a password. `place` says where the database is.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Iterator

import asyncpg

from receiver.core.errors import StoreError, StoreUnavailable

CONNECT_MOST_S = 10.0
TRIED_MOST_S = 8.0  # for a server that starts, or has no connection left
CALL_MOST_S = 120.0
_AGAIN_S = 0.5

_NOT_YET = (asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError)
_BUSY = (
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.QueryCanceledError,
)
_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # while idle it was told that it is being ended
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)


async def connect(url: str, place: str) -> asyncpg.Connection:
    """Connect to the database at `url`. It is not known whether a pooler stands before it, so nothing is prepared.

    Raises StoreUnavailable where time may mend it, and StoreError.
    """
    end = time.monotonic() + TRIED_MOST_S
    with plain_errors(place):
        while True:
            try:
                return await asyncpg.connect(
                    url, timeout=CONNECT_MOST_S, command_timeout=CALL_MOST_S, statement_cache_size=0
                )
            except _NOT_YET:
                if time.monotonic() > end:
                    raise
            await asyncio.sleep(_AGAIN_S)


@contextlib.contextmanager
def plain_errors(place: str, table: str = "a table") -> Iterator[None]:
    """Translate what the server and its driver raise; a row that cannot be stored is one of `table`. Bugs pass."""
    try:
        yield
    except Exception as error:
        if (ours := _explain(error, place, table)) is None:
            raise
        raise ours from None


def _explain(error: Exception, place: str, table: str) -> StoreError | None:
    said = str(error.args[0]) if error.args else ""
    match error:
        case asyncpg.InvalidAuthorizationSpecificationError():  # a wrong password is one
            return StoreError(
                f"{place} refuses this user or its password",
                remedy="check both in the URL, and the server's pg_hba.conf",
            )
        case asyncpg.InvalidCatalogNameError():
            return StoreError(
                f"there is no such database at {place}",
                remedy="make it: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
            )
        case asyncpg.InsufficientPrivilegeError():
            return StoreError(
                f"this user may not do that at {place} ({said})", remedy="make it the owner of the database"
            )
        case asyncpg.ReadOnlySQLTransactionError() | asyncpg.exceptions.TargetServerAttributeNotMatched():
            return StoreUnavailable(
                f"{place} cannot be written: it is a replica or in recovery", remedy="name the primary in the URL"
            )
        case asyncpg.CannotConnectNowError():
            return StoreUnavailable(f"{place} is starting up or in recovery", remedy="try again in a moment")
        case asyncpg.TooManyConnectionsError():
            return StoreUnavailable(
                f"{place} has no connection left ({said})", remedy="end some, or raise its max_connections"
            )
        case asyncpg.DiskFullError():
            return StoreUnavailable(f"the disk of {place} is full", remedy="free some space on it")
    return _explain_rest(error, place, table, said)


def _explain_rest(error: Exception, place: str, table: str, said: str) -> StoreError | None:
    if isinstance(error, _BUSY):
        return StoreUnavailable(
            f"{place} is busy ({said})", remedy="see who holds what in pg_stat_activity, and run this again"
        )
    if isinstance(error, asyncpg.DataError | asyncpg.ProgramLimitExceededError):
        return StoreError(f"{place} cannot store a row of {table} ({said})")
    if isinstance(error, TimeoutError):
        return StoreUnavailable(f"{place} did not answer in time", remedy="check the network and the server")
    if isinstance(error, OSError):
        number = 0 if isinstance(error, socket.gaierror) else error.errno or 0
        why = os.strerror(number) if number else error.strerror or type(error).__name__
        return StoreUnavailable(f"cannot reach {place}: {why}", remedy="check that the server is up, and the URL")
    if isinstance(error, _LOST):
        return StoreUnavailable(f"the connection to {place} was lost", remedy="check the server, and run this again")
    return None
