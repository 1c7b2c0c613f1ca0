"""A database moved to PostgreSQL and back: every row arrives, whatever happens on the way."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from kit.every_table import dump, fill_every_table
from kit.fakes import a_task, put
from kit.moves import POINTS, Report, die_moving, moving
from kit.new_database import place_database
from kit.pgbouncer import missing as missing_pooler
from kit.pgbouncer import pgbouncer
from kit.postgres_cluster import PostgresCluster
from receiver.core.errors import StoreError
from receiver.store import open_store
from receiver.store.moving import move
from receiver.store.moving.tables import LEFT, MOVED
from receiver.store.postgres.moving import PostgresEnd, open_end
from receiver.store.postgres.place import PostgresPlace

pytestmark = pytest.mark.anyio

ROWS = 11


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A database with rows in every table."""
    path = await place_database(tmp_path / "r.db")
    fill_every_table(path, ROWS)
    return path


@pytest.fixture
async def there(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(postgres_url)
    yield opened
    await opened.close()


def change(path: Path, sql: str, *params: object) -> None:
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(sql, params)


# There and back


async def test_there_and_back_gives_the_same_rows(tmp_path: Path, path: Path, postgres_url: str) -> None:
    before = dump(path)
    report = Report()
    went = await moving(path, postgres_url, report)
    assert went.rows == sum(len(before[it.name]) for it in MOVED)
    assert (went.tasks, went.earlier) == (ROWS, 0)
    assert report.parts == {"moved": (went.rows, went.rows), "compared": (went.rows, went.rows)}
    back = await moving(postgres_url, tmp_path / "back.db")
    assert back.tables == went.tables
    assert dump(tmp_path / "back.db") == before
    assert dump(path) == before, "the old database keeps what it had"


async def test_chunks_are_bounded_by_rows_and_by_bytes(
    tmp_path: Path, path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dump(path)
    monkeypatch.setattr(move, "CHUNK_ROWS", 3)
    monkeypatch.setattr(move, "_LARGE_ROWS", 2)
    await moving(path, postgres_url)
    monkeypatch.setattr(move, "CHUNK_BYTES", 1)
    await moving(postgres_url, tmp_path / "back.db")
    assert dump(tmp_path / "back.db") == before


async def test_every_table_is_moved_or_left_for_a_reason(path: Path, there: asyncpg.Connection) -> None:
    moved = {it.name for it in MOVED}
    with closing(sqlite3.connect(path)) as raw:
        ours = {name for (name,) in raw.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        keys = {
            table: tuple(
                name
                for (name,) in raw.execute("SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk", (table,))
            )
            for table in moved
        }
    theirs = {row[0] for row in await there.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    assert ours | theirs == moved | LEFT
    assert not moved & LEFT
    assert {it.name: it.key for it in MOVED if it.name != "restores"} == {
        table: key for table, key in keys.items() if table != "restores"
    }


async def test_what_is_moved_is_found_by_its_words_and_numbered_on(path: Path, postgres_url: str) -> None:
    task = a_task(label="Ünïcode hills", prompt="sunset over it", task_id="another")
    store = await open_store(path)
    await put(store, task)
    await store.close()
    await moving(path, postgres_url)
    store = await open_store(PostgresPlace(url=postgres_url))
    try:
        page = await store.gallery.page(words="unicode suns", now=0)
        assert [it.ref for it in page.tasks] == [task.ref]
    finally:
        await store.close()
    connection = await asyncpg.connect(postgres_url)
    try:
        for table in MOVED:
            if table.numbered:
                last = await connection.fetchval(f"SELECT max(id) FROM {table.name}")
                given = await connection.fetchval("SELECT nextval(pg_get_serial_sequence($1, 'id'))", table.name)
                assert given == last + 1, table.name
    finally:
        await connection.close()


async def test_of_an_empty_database_the_numbers_begin_as_in_a_new_one(
    tmp_path: Path, there: asyncpg.Connection, postgres_url: str
) -> None:
    assert (await moving(await place_database(tmp_path / "empty.db"), postgres_url)).rows == 3
    assert await there.fetchval("SELECT nextval(pg_get_serial_sequence('lanes', 'id'))") == 4
    assert await there.fetchval("SELECT nextval(pg_get_serial_sequence('callbacks', 'id'))") == 1


async def test_it_goes_through_a_pooler_which_lends_another_connection_each_time(
    tmp_path: Path, path: Path, postgres: PostgresCluster, postgres_url: str
) -> None:
    if why := missing_pooler():
        pytest.skip(why)
    before = dump(path)
    with pgbouncer(postgres, {"default_pool_size": "3"}) as pooler:
        url = pooler.url(urlsplit(postgres_url).path[1:])
        await moving(path, url)
        await moving(url, tmp_path / "back.db")
    assert dump(tmp_path / "back.db") == before


# Killed on the way


async def test_a_move_that_is_killed_ten_times_goes_on_where_it_was(
    tmp_path: Path, path: Path, postgres_url: str
) -> None:
    before = dump(path)
    for nth, point in zip((1, 2, 3, 5, 8, 13, 8, 5, 3, 2), cycle(POINTS)):
        assert await asyncio.to_thread(die_moving, path, postgres_url, point, nth) == -9
    went = await moving(path, postgres_url)
    assert 0 < went.earlier < went.rows
    back = tmp_path / "back.db"
    for nth, point in zip((1, 4, 2, 9), cycle(POINTS)):
        assert await asyncio.to_thread(die_moving, postgres_url, back, point, nth) == -9
    assert (await moving(postgres_url, back)).earlier > 0
    assert dump(back) == before


async def test_a_target_that_has_only_a_part_is_opened_by_nobody_and_not_moved_on(
    tmp_path: Path, path: Path, postgres_url: str, fresh_postgres_url: str
) -> None:
    assert await asyncio.to_thread(die_moving, path, postgres_url, "committed", 4) == -9
    with pytest.raises(StoreError, match="being moved into this one, and that is not done; run the same"):
        await open_store(PostgresPlace(url=postgres_url))
    with pytest.raises(StoreError, match="being moved into this one"):
        await moving(postgres_url, tmp_path / "part.db")
    await moving(path, postgres_url)
    await (await open_store(PostgresPlace(url=postgres_url))).close()
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("DELETE FROM processes")  # as after half a minute
    await connection.close()
    assert await asyncio.to_thread(die_moving, postgres_url, tmp_path / "back.db", "committed", 4) == -9
    with pytest.raises(StoreError, match="being moved into this one, and that is not done; run the same"):
        await open_store(tmp_path / "back.db")
    with pytest.raises(StoreError, match="being moved into this one"):
        await moving(tmp_path / "back.db", fresh_postgres_url)
    await moving(postgres_url, tmp_path / "back.db")
    await (await open_store(tmp_path / "back.db")).close()


async def test_a_crash_before_the_last_step_leaves_both_marked(
    path: Path, postgres_url: str, there: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that nothing is submitted from either by itself."""

    async def crash(_: PostgresEnd) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PostgresEnd, "finish", crash)
        with pytest.raises(KeyboardInterrupt):
            await moving(path, postgres_url)
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT machine FROM served").fetchall() == [("moved to there",)]
    assert await there.fetchval("SELECT count(*) FROM moving") == 1
    went = await moving(path, postgres_url)
    assert went.earlier == went.rows
    assert await there.fetchval("SELECT count(*) FROM moving") == 0


async def test_what_changed_in_between_is_moved_as_it_is_now(tmp_path: Path, path: Path, postgres_url: str) -> None:
    """The old database was served for a while after a move that had been stopped."""
    assert await asyncio.to_thread(die_moving, path, postgres_url, "committed", 14) == -9
    change(path, "UPDATE tasks SET prompt = 'another' WHERE ref LIKE '00004%'")
    change(path, "DELETE FROM tasks WHERE ref LIKE '00002%'")
    change(path, "DELETE FROM images WHERE image_no > 30")
    change(path, "DELETE FROM lanes WHERE id > 3")
    before = dump(path)
    assert (await moving(path, postgres_url)).earlier > 0
    await moving(postgres_url, tmp_path / "back.db")
    assert dump(tmp_path / "back.db") == before


async def test_a_move_that_is_cancelled_goes_on(path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(move, "CHUNK_ROWS", 3)

    class Canceller(Report):
        def advance(self, rows: int) -> None:
            super().advance(rows)
            if self.parts["moved"][1] >= 20:
                going.cancel()

    going = asyncio.create_task(moving(path, postgres_url, Canceller()))
    with pytest.raises(asyncio.CancelledError):
        await going
    assert (await moving(path, postgres_url)).earlier >= 20


async def test_of_two_runs_at_once_the_later_one_goes_on(path: Path, postgres_url: str) -> None:
    first, second = await open_end(postgres_url, "there"), await open_end(postgres_url, "there")
    try:
        await first.begin()
        await second.begin()
        with pytest.raises(StoreError, match="another run has taken over moving a database into there"):
            async with first.writing():
                raise AssertionError
        async with second.writing():
            await second.remove(MOVED[0], ())
    finally:
        await first.close()
        await second.close()
    assert (await moving(path, postgres_url)).tasks == ROWS
