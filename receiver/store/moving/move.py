"""Moves everything from one database into another: chunk by chunk in the order of the keys, each one read back and
compared before it is committed, and all of it once more at the end.

It may be killed at any time and started again. Until it is done, the target is marked, so that no service begins to
work on a part; and what a former run wrote is compared instead of written, and replaced from the first difference on.
So it does not matter whether the source went on in between.
"""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import Struct

from receiver.core.errors import StoreError
from receiver.store.moving.tables import MOVED, TASKS, Key, MovedTable, Row

CHUNK_ROWS = 5_000
CHUNK_BYTES = 16 << 20
_T = TypeVar("_T")
_ENCODE = msgspec.msgpack.Encoder().encode
_LARGE_ROWS = 100  # that are read at once where a row may hold a megabyte


class MovingEnd(Protocol):
    """A database that is moved, or moved into. No service works on it."""

    place: str
    """Where it is, for a person: without a password."""

    async def columns(self, table: str) -> tuple[str, ...]:
        """The names of a table's columns, in their order."""

    async def count(self, table: str) -> int:
        """How many rows it has."""

    async def read(self, table: MovedTable, columns: tuple[str, ...], after: Key, limit: int) -> list[Row]:
        """The next rows after the one with this key, or from the first."""

    async def close(self) -> None:
        """Release it."""


class MovingSource(MovingEnd, Protocol):
    """The database that is moved."""

    async def refuse_in_use(self) -> None:
        """Raise StoreError if a service works on it."""

    async def refuse_unfit(self) -> None:
        """Raise StoreError if it has only a part of another one, or what the other kind of database cannot store."""

    async def leave(self, where: str) -> None:
        """Note that it is served elsewhere now: a service that starts here again pauses submissions, and asks."""


class MovingTarget(MovingEnd, Protocol):
    """The database that is moved into."""

    async def begin(self) -> None:
        """Mark it as being moved into, and take over from a former run. Raises StoreError if it has tasks of its
        own."""

    def writing(self) -> AbstractAsyncContextManager[None]:
        """A transaction: committed when the block ends, rolled back when it raises. Raises StoreError if a later run
        has taken over."""

    async def remove(self, table: MovedTable, after: Key) -> None:
        """In a transaction: remove what comes after this key, or everything."""

    async def insert(self, table: MovedTable, columns: tuple[str, ...], rows: list[Row]) -> None:
        """In a transaction: add rows."""

    async def finish(self) -> None:
        """Let tasks be found by their words, and new rows be numbered after those that came; take the mark away."""


class MovedRows(Struct, frozen=True):
    """What arrived of a table: how many rows, how many of them a former run had brought, and a SHA-256 of them all."""

    rows: int
    earlier: int
    digest: str


class MoveResult(Struct, frozen=True):
    """What was moved, by table."""

    tables: dict[str, MovedRows]

    @property
    def rows(self) -> int:
        """All of them."""
        return sum(it.rows for it in self.tables.values())

    @property
    def earlier(self) -> int:
        """Those that a former run had brought."""
        return sum(it.earlier for it in self.tables.values())

    @property
    def tasks(self) -> int:
        """The tasks among them."""
        return self.tables[TASKS.name].rows


class MoveReport(Protocol):
    """Hears how far a move is. Each part has as many rows in all."""

    def begin(self, part: str, rows: int) -> None:
        """A part begins: `moved` or `compared`."""

    def advance(self, rows: int) -> None:
        """So many more are done."""


async def move_database(source: MovingSource, target: MovingTarget, report: MoveReport) -> MoveResult:
    """Move everything, and let the target be served. Raises a kind of StoreError; then the target stays marked.

    The source keeps what it has. It is marked before the target is released, so that not even a crash in between lets
    both be served as if nothing had happened.
    """
    await source.refuse_in_use()
    await source.refuse_unfit()
    await target.begin()
    rows = sum([await source.count(it.name) for it in MOVED])
    report.begin("moved", rows)
    earlier = {it.name: await _move_table(source, target, it, report.advance) for it in MOVED}
    report.begin("compared", rows)
    found = {it.name: await _compare_table(source, target, it, report.advance) for it in MOVED}
    await source.refuse_in_use()
    await source.leave(target.place)
    await target.finish()
    return MoveResult({name: MovedRows(count, earlier[name], digest) for name, (count, digest) in found.items()})


async def _move_table(
    source: MovingSource, target: MovingTarget, table: MovedTable, advance: Callable[[int], None]
) -> int:
    """Move one table; how many rows were there already."""
    columns = await _shared_columns(source, target, table)
    after: Key = ()
    earlier, is_there = 0, True  # until the first difference
    rows = await _read_chunk(source, table, columns, after)
    while rows:
        last = table.key_of(columns, rows[-1])
        is_there, ahead = await _both(
            _write_chunk(target, table, columns, after, rows, compare=is_there),
            _read_chunk(source, table, columns, last),
        )
        earlier += len(rows) if is_there else 0
        advance(len(rows))
        after, rows = last, ahead
    if is_there:
        async with target.writing():
            await target.remove(table, after)
    return earlier


async def _write_chunk(
    target: MovingTarget, table: MovedTable, columns: tuple[str, ...], after: Key, rows: list[Row], *, compare: bool
) -> bool:
    """Write rows, or `compare` them first with what is there; whether they were there already."""
    if compare and await _read_chunk(target, table, columns, after) == rows:
        return True
    async with target.writing():
        if compare:
            await target.remove(table, after)
        await target.insert(table, columns, rows)
        if await _read_chunk(target, table, columns, after) != rows:
            raise StoreError(
                f"rows of the table {table.name} came back from {target.place} other than they were written",
                remedy="nothing of them was kept; please report this",
            )
    return False


async def _compare_table(
    source: MovingSource, target: MovingTarget, table: MovedTable, advance: Callable[[int], None]
) -> tuple[int, str]:
    """Compare all rows of both; how many there are, and their digest."""
    columns = await source.columns(table.name)
    digest, count = hashlib.sha256(), 0
    after: Key = ()
    while True:
        rows, arrived = await _both(
            _read_chunk(source, table, columns, after), _read_chunk(target, table, columns, after)
        )
        if rows != arrived:
            raise StoreError(
                f"the table {table.name} differs between {source.place} and {target.place}: one of them was changed"
                " meanwhile",
                remedy="see what else works on it, and run the same command again: it replaces what differs",
            )
        if not rows:
            return count, digest.hexdigest()
        digest.update(b"".join(map(_ENCODE, rows)))
        count += len(rows)
        after = table.key_of(columns, rows[-1])
        advance(len(rows))


async def _both(work: Coroutine[Any, Any, _T], beside: Coroutine[Any, Any, list[Row]]) -> tuple[_T, list[Row]]:
    """Do both at once. If one fails, neither goes on."""
    reading = asyncio.ensure_future(beside)
    try:
        return await work, await reading
    finally:
        if not reading.done():
            reading.cancel()
            await asyncio.wait([reading])
        if not reading.cancelled():
            reading.exception()  # of two errors the first is raised


async def _shared_columns(source: MovingSource, target: MovingTarget, table: MovedTable) -> tuple[str, ...]:
    columns, theirs = await source.columns(table.name), await target.columns(table.name)
    if columns != theirs:
        differ = sorted({*columns} ^ {*theirs}) or ["their order"]
        raise StoreError(
            f"the table {table.name} has other columns in {target.place} than in {source.place}: {', '.join(differ)}",
            remedy="run `receiver migrate` on both with the same version of this program",
        )
    return columns


async def _read_chunk(end: MovingEnd, table: MovedTable, columns: tuple[str, ...], after: Key) -> list[Row]:
    """Up to `CHUNK_ROWS` rows, and not many more bytes than `CHUNK_BYTES`: of the same rows always the same."""
    if not table.large:
        return await end.read(table, columns, after, CHUNK_ROWS)
    rows: list[Row] = []
    size = 0
    while len(rows) < CHUNK_ROWS and size < CHUNK_BYTES:
        more = await end.read(table, columns, after, _LARGE_ROWS)
        rows += more
        if len(more) < _LARGE_ROWS:
            break
        size += len(_ENCODE(more))
        after = table.key_of(columns, more[-1])
    return rows
