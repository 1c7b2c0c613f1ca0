"""Knows when one transaction waits for another."""

import asyncio

from kit.live_service import PATIENCE_S
from receiver.store import Store
from receiver.store.postgres.engine import PostgresStore

_WAITS = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    " AND pid <> pg_backend_pid()"
)


async def somebody_waits(store: Store, count: int = 1) -> None:
    """Return once so many transactions over this database wait for what others hold. Over SQLite they take turns, so
    there is nothing to wait for."""
    async with asyncio.timeout(PATIENCE_S):
        while isinstance(store, PostgresStore):
            [(waiting,)] = await store.lanes._db.fetch_rows(_WAITS)
            if waiting >= count:
                return
            await asyncio.sleep(0.01)
