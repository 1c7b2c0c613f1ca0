"""SQLite's own promises: what a commit costs it, who may open it, and what it says when it cannot."""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from anyio import wait_all_tasks_blocked

from kit.fakes import NOW, a_notice, a_task, busy, got, impatient, owe, put
from receiver.core.errors import CorruptDatabase, DatabaseLocked, NewerSchema, StoreError, StoreUnavailable
from receiver.store import open_store
from receiver.store.migrations.steps import load_migrations
from receiver.store.sqlite.engine import SqliteConnection, SqliteStore, open_sqlite
from receiver.store.tables.connection import TableConnection

pytestmark = pytest.mark.anyio

ENDLESS = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await open_sqlite(tmp_path / "r.db")
    yield opened
    await opened.close()


async def pragma(connection: TableConnection, name: str) -> object:
    [(value,)] = await connection.fetch_rows(f"PRAGMA {name}")
    return value


async def test_the_live_connection_commits_to_disk(store: SqliteStore) -> None:
    """Asked of the connection itself: a pragma that SQLite did not take raises nothing."""
    async with store.write() as tx:
        names = ("journal_mode", "synchronous", "busy_timeout", "auto_vacuum", "journal_size_limit", "query_only")
        asked = [await pragma(tx.connection, name) for name in names]
    assert asked == ["wal", 2, 1000, 2, 67108864, 0]


async def test_a_commit_that_began_ends_though_its_writer_is_cancelled(store: SqliteStore) -> None:
    task = a_task()

    async def writer() -> None:
        async with store.write() as tx:
            await tx.tasks.insert([task])
            asyncio.get_running_loop().call_soon(writing.cancel)  # comes when COMMIT is on its way

    writing = asyncio.create_task(writer())
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await got(store, task.ref) == task


async def test_a_writer_cancelled_at_its_begin_leaves_no_open_transaction(store: SqliteStore, tmp_path: Path) -> None:
    """The statement is with its thread by then, and runs whether or not anybody waits for it."""
    with busy(tmp_path / "r.db"):
        writing = asyncio.create_task(put(store, a_task()))
        await wait_all_tasks_blocked()
        writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await put(store, task := a_task(task_id=None))
    assert task in await store.tasks.page()


async def test_reading_cannot_write(store: SqliteStore) -> None:
    with pytest.raises(StoreError, match="read-only"):
        await store.tasks.insert([a_task()])


async def test_reads_see_no_half_done_transaction(store: SqliteStore) -> None:
    async with store.write() as tx:
        await tx.tasks.insert([a_task()])
        assert await store.tasks.page() == []
    assert len(await store.tasks.page()) == 1


async def test_a_read_that_takes_too_long_is_interrupted_and_the_next_one_works(store: SqliteStore) -> None:
    hasty = SqliteConnection(store._reading, read_most_s=0.02)
    with pytest.raises(StoreUnavailable, match="too long"):
        await hasty.fetch_rows(ENDLESS)
    assert await store.tasks.page() == []


async def test_reads_that_queue_up_behind_a_long_one_are_bounded_too(store: SqliteStore) -> None:
    hasty = SqliteConnection(store._reading, read_most_s=0.02)
    ends = await asyncio.gather(*(hasty.fetch_rows(ENDLESS) for _ in range(3)), return_exceptions=True)
    assert [type(it) for it in ends] == [StoreUnavailable] * 3


async def test_a_busy_database_is_unavailable_and_recovers(store: SqliteStore, tmp_path: Path) -> None:
    await impatient(store)
    with busy(tmp_path / "r.db"):
        with pytest.raises(StoreUnavailable, match="another process"):
            await put(store, a_task())
        assert await store.tasks.page() == [], "reading goes on"
        assert await store.probe() is not None
        assert store.fault is not None
    assert await store.probe() is None
    assert store.fault is None
    await put(store, a_task())


async def test_a_commit_that_writes_nothing_says_nothing_of_the_disk(store: SqliteStore) -> None:
    """A loop that looks for work and finds none would else report a disk as mended that takes nothing."""
    store.fault = "the disk reports an error"
    async with store.write() as tx:
        assert await tx.tasks.get(["none"]) == {}
    async with store.write() as tx:
        assert await tx.tasks.forget_keys(NOW) == 0
    assert store.fault is not None
    await put(store, a_task())
    assert store.fault is None


async def test_a_full_disk_is_unavailable_and_stores_nothing(store: SqliteStore) -> None:
    async with store.write() as tx:
        await tx.connection.fetch_rows(f"PRAGMA max_page_count = {await pragma(tx.connection, 'page_count')}")
    with pytest.raises(StoreUnavailable, match="full"):
        await put(store, *(a_task(task_id=None, params=bytes(4000)) for _ in range(50)))
    async with store.write() as tx:
        await tx.connection.fetch_rows("PRAGMA max_page_count = 100000")
    assert await store.tasks.page() == []


# -- opening --


async def test_a_second_process_is_kept_out(store: SqliteStore, tmp_path: Path) -> None:
    with pytest.raises(DatabaseLocked):
        await open_store(tmp_path / "r.db")
    await put(store, a_task())


async def test_the_lock_is_given_back(tmp_path: Path) -> None:
    for opened in range(2):
        store = await open_store(tmp_path / "r.db")
        await put(store, a_task(task_id=None))
        assert len(await store.tasks.page()) == opened + 1
        await store.close()


async def test_a_newer_schema_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    await (await open_store(path)).close()
    with sqlite3.connect(path) as other:
        other.execute("INSERT INTO migrations (number, name) VALUES (9999, '9999_from_the_future')")
    other.close()
    for _ in range(2):  # and the lock is given back each time
        with pytest.raises(NewerSchema, match="9999"):
            await open_store(path)


async def test_a_file_that_is_no_database_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    path.write_bytes(b"this is not a database, whatever it is called" * 100)
    with pytest.raises(CorruptDatabase, match="restore a backup"):
        await open_store(path)
    assert path.read_bytes().startswith(b"this is not"), "it is left for whoever can mend it"


async def test_a_damaged_page_is_corrupt_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    store = await open_store(path)
    await put(store, *(a_task(task_id=None, params=bytes(900)) for _ in range(50)))
    await store.close()
    whole = path.read_bytes()
    with contextlib.closing(sqlite3.connect(path)) as other:
        [(root, size)] = other.execute(
            "SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_schema WHERE name = 'tasks'"
        )
    start = (root - 1) * size
    path.write_bytes(whole[:start] + bytes([255] * 8) + whole[start + 8 :])
    store = await open_store(path)
    with pytest.raises(CorruptDatabase):
        await store.tasks.page()
    await store.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_directory_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(StoreUnavailable, match="owner and mode"):
        await open_store(tmp_path / "closed" / "r.db")


async def test_migrations_are_numbered_without_gaps(store: SqliteStore) -> None:
    steps = load_migrations("sqlite")
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    async with store.write() as tx:
        assert await tx.connection.fetch_rows("SELECT number, name FROM migrations") == [
            (it.number, it.name) for it in steps
        ]


async def test_the_indexes_carry_the_loops(store: SqliteStore) -> None:
    """No loop scans a table of every task there ever was, to find that there is nothing to do."""
    await put(store, a_task())
    await owe(store, a_notice())
    for sql in (
        "SELECT ref FROM tasks WHERE due_at IS NOT NULL AND due_at <= 5 ORDER BY due_at LIMIT 1",
        "SELECT ref FROM tasks WHERE poll_at IS NOT NULL AND poll_at <= 5 ORDER BY poll_at LIMIT 1",
        "SELECT ref FROM tasks WHERE lease_until IS NOT NULL AND lease_until <= 5 LIMIT 1",
        "SELECT count(*) FROM tasks WHERE place_until IS NOT NULL AND place_until > 5",
        "SELECT min(due_at) FROM tasks WHERE due_at > 5",
        "SELECT id FROM notices WHERE state = 'due' AND send_id IS NULL AND target = 't' AND due_at <= 5",
    ):
        async with store.write() as tx:
            plan = await tx.connection.fetch_rows(f"EXPLAIN QUERY PLAN {sql}")
        assert all("SCAN" not in row[3] for row in plan), (sql, plan)
