"""Moves between an SQLite file and a PostgreSQL database, in either direction."""

from contextlib import AsyncExitStack
from pathlib import Path

from msgspec import Struct

from receiver.core.errors import StoreError
from receiver.store.moving.move import MoveReport, MoveResult, move_database
from receiver.store.sqlite.moving import open_source, open_target


class DatabaseAt(Struct, frozen=True):
    """A database: an SQLite file, or the URL of one on a server. `place` says where, without a password."""

    where: Path | str
    place: str

    def __repr__(self) -> str:
        return f"DatabaseAt({self.place!r})"


async def move_between(source: DatabaseAt, target: DatabaseAt, report: MoveReport) -> MoveResult:
    """Move everything from one kind of database to the other; both are brought to this version's schema before.

    Raises a kind of StoreError. If it was begun, the same call goes on where it was.
    """
    async with AsyncExitStack() as stack:
        match source.where, target.where:
            case Path() as file, str() as url:
                from receiver.store.postgres.moving import open_end  # brings asyncpg

                old = await open_source(file)
                stack.push_async_callback(old.close)
                there = await open_end(url, target.place)
                stack.push_async_callback(there.close)
                return await move_database(old, there, report)
            case str() as url, Path() as file:
                from receiver.store.postgres.moving import open_end

                there = await open_end(url, source.place)
                stack.push_async_callback(there.close)
                await there.refuse_in_use()  # before a file is made
                new = await open_target(file)
                stack.push_async_callback(new.close)
                return await move_database(there, new, report)
    raise StoreError("both databases are of the same kind", remedy="copy it with the database's own tools")
