"""Locks of targets: while a transaction has a target's row, no other one records or claims a send to it."""

from collections.abc import Iterable

from receiver.store.tables.connection import TableConnection


async def lock_targets(connection: TableConnection, names: Iterable[str], *, wait: bool) -> list[str]:
    """Lock the rows of these targets until the transaction ends; the names of those that it has now.

    Those that another transaction has are left out, or with `wait` waited for, in the order of their names. A database
    that only one transaction writes to has nothing to lock, and gives them all.
    """
    dialect, names = connection.dialect, sorted(names)
    if not names or not dialect.lock:
        return names
    which = dialect.among("name", names)
    order = dialect.lock_by("name") if wait else f" ORDER BY name{dialect.skip}"
    rows = await connection.fetch_rows(f"SELECT name FROM targets WHERE {which.sql}{order}", which.params)
    return [name for (name,) in rows]
