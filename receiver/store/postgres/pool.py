"""Pools of connections, and what becomes of one that may not answer any more.

A connection on which a call took too long is given back behind the borrower's back: to cancel what the server is at,
over a network that swallows packets, takes as long as we let it. Nobody waits for that, since the pool opens another.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from receiver.core.errors import StoreUnavailable
from receiver.store.postgres.errors import RETRY_SHORTLY_S, as_ours, ends_connections, may_not_answer
from receiver.store.postgres.place import PostgresPlace
from receiver.store.to_the_end import to_the_end

CALL_MOST_S = 5.0
ACQUIRE_MOST_S = 5.0  # connecting is part of it, which takes seven trips
IDLE_MOST_S = 60.0
STATEMENTS_MOST = 400  # prepared ones, a connection; none behind a pooler, which may lend another connection each time


class PooledConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """A connection that keeps no state between two borrowers, so there is nothing to reset."""

    def get_reset_query(self) -> str:
        """None of the queries that asyncpg would send."""
        return ""

    async def close(self, *, timeout: float | None = None) -> None:
        """Close it, without a word if the server does not answer. The pool does so, too, and nobody hears of it."""
        with contextlib.suppress(Exception):  # it is aborted then
            await super().close(timeout=timeout)


class ConnectionPool:
    """At most `size` connections to one database. Made by `open_pool`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._giving_back: set[asyncio.Task[None]] = set()

    async def acquire(self) -> Any:
        """A connection that nobody else uses, within `ACQUIRE_MOST_S`; give it back.

        Raises StoreUnavailable, whatever the error: no row can be at fault yet, and the next try may succeed.
        """
        try:
            return await self._pool.acquire(timeout=ACQUIRE_MOST_S)
        except TimeoutError:
            raise StoreUnavailable(
                "no connection to the database was free in time", retry_after_s=RETRY_SHORTLY_S
            ) from None
        except Exception as error:
            ours = as_ours(error)
            if isinstance(ours, StoreUnavailable):
                raise ours from error
            raise StoreUnavailable(f"no connection to the database can be made ({type(error).__name__})") from error

    async def give_back(
        self, raw: Any, error: BaseException | None, roll_back: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Give a connection back after `roll_back`; `error` is what its borrower met.

        If the server is gone, or does not even answer that it cancelled, all are replaced before they are used again.
        """
        if error is None:
            await self._give_back(raw, None)  # asyncpg carries it to the end
            return
        if ends_connections(error):
            await self.expire()
        if not may_not_answer(error):
            await to_the_end(self._give_back(raw, roll_back))
            return
        giving = asyncio.create_task(self._give_back(raw, roll_back), name="give back")
        self._giving_back.add(giving)
        giving.add_done_callback(self._giving_back.discard)

    async def _give_back(self, raw: Any, roll_back: Callable[[], Awaitable[None]] | None) -> None:
        if roll_back is not None:
            await roll_back()
        try:
            await self._pool.release(raw, timeout=CALL_MOST_S)
        except Exception:  # it is replaced; the server may not answer on the others either
            await self.expire()

    async def expire(self) -> None:
        """Use no connection again that is there now."""
        with contextlib.suppress(asyncpg.InterfaceError):  # the pool is closing
            await self._pool.expire_connections()

    async def close(self) -> None:
        """Close all connections, without a word if they do not answer."""
        for giving in self._giving_back:
            giving.cancel()
        try:
            async with asyncio.timeout(CALL_MOST_S):
                await self._pool.close()
        except Exception:  # it takes too long, or is broken
            with contextlib.suppress(Exception):
                self._pool.terminate()


async def open_pool(place: PostgresPlace, size: int, *, prepares: bool, keeps: bool = False) -> ConnectionPool:
    """A pool that connects when it is asked for a connection. `prepares`: statements stay with a connection; `keeps`:
    the first one is made now, and none is closed because it is not used, so that others cannot take its place."""
    pool = ConnectionPool(
        await asyncpg.create_pool(
            place.url,
            min_size=0,
            max_size=size,
            timeout=CALL_MOST_S,
            command_timeout=CALL_MOST_S,
            connection_class=PooledConnection,
            statement_cache_size=STATEMENTS_MOST if prepares else 0,
            init=_read_numbers_whole,
            max_inactive_connection_lifetime=0 if keeps else IDLE_MOST_S,
        )
    )
    if keeps:
        await pool.give_back(await pool.acquire(), None)
    return pool


async def connect(url: str) -> asyncpg.Connection:
    """A connection of one's own, without prepared statements, so that a pooler may be behind it."""
    return await asyncpg.connect(
        url, timeout=CALL_MOST_S, statement_cache_size=0, connection_class=PooledConnection, command_timeout=CALL_MOST_S
    )


async def is_direct(raw: asyncpg.Connection) -> bool:
    """Whether no pooler is between: it would not tell the number of the process that serves us."""
    return bool(raw.get_server_pid() == await raw.fetchval("SELECT pg_backend_pid()", timeout=CALL_MOST_S))


async def _read_numbers_whole(raw: asyncpg.Connection) -> None:
    """Sums of whole numbers come as `numeric`; we have no others."""
    await raw.set_type_codec("numeric", schema="pg_catalog", encoder=str, decoder=int, format="text")
