"""What is not moved, and why: nothing of the target is changed then, and nothing is lost."""

import asyncio
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from kit.every_table import fill_every_table
from kit.fakes import NOW, a_task, put
from kit.moves import Report, moving
from kit.new_database import place_database
from kit.postgres_cluster import PostgresCluster
from receiver.core.errors import DatabaseLocked, StoreError, StoreUnavailable
from receiver.core.types import Policy
from receiver.store import open_store
from receiver.store.postgres.moving import LIVE_MS
from receiver.tasks.copied_database import pause_if_copied

pytestmark = pytest.mark.anyio


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A database with rows in every table."""
    path = await place_database(tmp_path / "r.db")
    fill_every_table(path, 5)
    return path


@pytest.fixture
async def there(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(postgres_url)
    yield opened
    await opened.close()


def change(path: Path, sql: str, *params: object) -> None:
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(sql, params)


async def add_process(there: asyncpg.Connection, ago_ms: int) -> None:
    await there.execute(
        "INSERT INTO processes (id, role, host, version, schema, targets, started_at, seen_at)"
        " VALUES ('p', 'web', 'here', '1', 21, '[]', 0, (extract(epoch FROM clock_timestamp()) * 1000)::bigint - $1)",
        ago_ms,
    )


async def is_untouched(there: asyncpg.Connection) -> bool:
    return [
        await there.fetchval(f"SELECT count(*) FROM {table}") for table in ("moving", "tasks", "callbacks", "lanes")
    ] == [0, 0, 0, 3]


# Before it begins


async def test_text_that_postgresql_cannot_store_is_refused_before_anything_is_written(
    path: Path, there: asyncpg.Connection, postgres_url: str
) -> None:
    for ref in ("00001", "00003"):
        change(path, "UPDATE tasks SET prompt = ? WHERE ref LIKE ?", "a\0b", f"{ref}%")
    change(path, "UPDATE attention SET text = ? WHERE cause LIKE '00002%'", "\0")
    with pytest.raises(StoreError) as refused:
        await moving(path, postgres_url)
    assert "cannot store the character NUL" in refused.value.problem
    assert "2 in tasks.prompt, 1 in attention.text" in refused.value.problem
    assert await is_untouched(there)
    command = shlex.split(str(refused.value.remedy).partition("take it out with: ")[2])
    assert command[0] == "python3"
    await asyncio.to_thread(subprocess.run, [sys.executable, *command[1:]], check=True)
    assert (await moving(path, postgres_url)).tasks == 5
    assert await there.fetchval("SELECT count(*) FROM tasks WHERE prompt = 'ab'") == 2


async def test_text_that_is_not_utf_8_is_refused(path: Path, postgres_url: str) -> None:
    change(path, "UPDATE tasks SET prompt = CAST(? AS TEXT) WHERE ref LIKE '00001%'", b"\xff\xfe")
    with pytest.raises(StoreError, match="the table tasks holds text that is not UTF-8"):
        await moving(path, postgres_url)


async def test_a_row_that_postgresql_cannot_store_is_named_by_its_table(path: Path, postgres_url: str) -> None:
    noise = "".join(chr(0x4E00 + number * 7919 % 20_000) for number in range(3_000))  # no compression helps
    change(path, "UPDATE tasks SET label = ? WHERE ref LIKE '00001%'", noise)
    with pytest.raises(StoreError, match=r"there cannot store a row of tasks \(index row "):
        await moving(path, postgres_url)
    change(path, "UPDATE tasks SET label = 'short' WHERE ref LIKE '00001%'")
    assert (await moving(path, postgres_url)).tasks == 5


async def test_a_target_with_tasks_of_its_own_is_refused(
    tmp_path: Path, path: Path, there: asyncpg.Connection, postgres_url: str
) -> None:
    for table, row in (
        ("callbacks", "(ref, received_at, verdict, size, digest, headers) VALUES ('a', 0, 'hint', 0, '', '')"),
        ("lanes", "(name, batch, priority, created_at) VALUES ('b', 1, 0, 0)"),
    ):
        await there.execute(f"INSERT INTO {table} {row}")
        with pytest.raises(StoreError, match="has tasks of its own; name an empty one"):
            await moving(path, postgres_url)
        await there.execute(f"DELETE FROM {table} WHERE id = (SELECT max(id) FROM {table})")
    await moving(path, postgres_url)
    with pytest.raises(StoreError, match="has tasks of its own; name a file that does not exist yet"):
        await moving(postgres_url, path)


async def test_what_a_first_start_leaves_in_the_target_is_replaced(
    path: Path, there: asyncpg.Connection, postgres_url: str
) -> None:
    await there.execute("INSERT INTO targets (name, failures) VALUES ('slack', 3)")
    await there.execute("INSERT INTO clock VALUES (1, 'other', 0, 0, 0, 0)")
    await moving(path, postgres_url)
    assert await there.fetchval("SELECT count(*) FROM targets WHERE name = 'slack'") == 0
    assert await there.fetchval("SELECT boot_id FROM clock") != "other"


async def test_nothing_moves_while_a_service_works_on_it(
    tmp_path: Path, path: Path, there: asyncpg.Connection, postgres_url: str
) -> None:
    store = await open_store(path)
    with pytest.raises(DatabaseLocked):
        await moving(path, postgres_url)
    await store.close()
    await add_process(there, 5_000)
    for source, target in ((path, postgres_url), (postgres_url, tmp_path / "back.db")):
        with pytest.raises(StoreError, match=r"a receiver \(role web, on here\) works on there, .* stop all of them"):
            await moving(source, target)
    assert not (tmp_path / "back.db").exists()
    assert await is_untouched(there)
    await there.execute("DELETE FROM processes")
    await add_process(there, LIVE_MS + 1_000)
    assert (await moving(path, postgres_url)).tasks == 5


async def test_a_file_that_is_not_there_is_not_made(tmp_path: Path, postgres_url: str) -> None:
    missing = tmp_path / "folder" / "none.db"
    with pytest.raises(StoreUnavailable, match="there is no database"):
        await moving(missing, postgres_url)
    assert not await asyncio.to_thread(missing.parent.exists)


async def test_two_of_a_kind_are_not_moved(tmp_path: Path, path: Path) -> None:
    with pytest.raises(StoreError, match="both databases are of the same kind"):
        await moving(path, tmp_path / "other.db")


async def test_a_server_that_cannot_be_written_is_refused_in_both_directions(
    tmp_path: Path, path: Path, postgres: PostgresCluster, fresh_postgres_url: str
) -> None:
    """Also as the source, where a mark has to be made at the end."""
    await moving(path, fresh_postgres_url)
    name = urlsplit(fresh_postgres_url).path[1:]
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    for source, target in ((path, fresh_postgres_url), (fresh_postgres_url, tmp_path / "back.db")):
        with pytest.raises(StoreUnavailable, match="there cannot be written: it is a replica or in recovery; name the"):
            await moving(source, target)


# On the way


async def test_what_comes_back_different_is_not_kept(
    path: Path, there: asyncpg.Connection, fresh_postgres_url: str
) -> None:
    await moving(await place_database(path.with_name("empty.db")), fresh_postgres_url)
    connection = await asyncpg.connect(fresh_postgres_url)
    try:
        await connection.execute(
            "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN NEW.provider = upper(NEW.provider) || '!'; RETURN NEW; END $$;"
            " CREATE TRIGGER shout BEFORE INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION shout()"
        )
        with pytest.raises(StoreError, match="rows of the table tasks came back from there other than they were"):
            await moving(path, fresh_postgres_url)
        assert await connection.fetchval("SELECT count(*) FROM tasks") == 0
        await connection.execute("DROP TRIGGER shout ON tasks")
        assert (await moving(path, fresh_postgres_url)).tasks == 5
    finally:
        await connection.close()


class Meddler(Report):
    """Changes the target when all is moved, before it is compared."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def begin(self, part: str, rows: int) -> None:
        super().begin(part, rows)
        if part == "compared":
            change(self._path, "UPDATE callbacks SET size = size + 1 WHERE id = (SELECT max(id) FROM callbacks)")


async def test_what_is_changed_by_others_meanwhile_is_noticed(tmp_path: Path, path: Path, postgres_url: str) -> None:
    await moving(path, postgres_url)
    back = tmp_path / "back.db"
    with pytest.raises(StoreError, match=r"the table callbacks differs between there and .*back\.db: one"):
        await moving(postgres_url, back, Meddler(back))
    with pytest.raises(StoreError, match="is not done"):
        await open_store(back)
    assert (await moving(postgres_url, back)).tasks == 5


async def test_a_connection_that_is_cut_is_told_and_the_move_goes_on(
    path: Path, there: asyncpg.Connection, postgres_url: str
) -> None:
    class Cutter(Report):
        def advance(self, rows: int) -> None:
            super().advance(rows)
            if self.part == "moved" and not cut:
                cut.append(asyncio.ensure_future(there.execute(_END_OTHERS)))

    cut: list[asyncio.Future[object]] = []
    with pytest.raises(StoreUnavailable, match="the connection to there was lost; check the server, and run this"):
        await moving(path, postgres_url, Cutter())
    await cut[0]
    assert (await moving(path, postgres_url)).tasks == 5


_END_OTHERS = (
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


# Afterwards


async def test_the_old_database_submits_nothing_until_a_person_says_so(tmp_path: Path, postgres_url: str) -> None:
    """A service that is started on it by mistake would submit its queued tasks a second time."""
    path = await place_database(tmp_path / "r.db")
    store = await open_store(path)
    assert not await pause_if_copied(store, Policy(), "machine", NOW)
    await put(store, a_task(task_id=None))
    await store.close()
    await moving(path, postgres_url)
    store = await open_store(path)
    assert await pause_if_copied(store, Policy(), "machine", NOW)
    assert await store.gates.paused("vtrix") is not None
    await store.close()
    await moving(postgres_url, tmp_path / "back.db")
    store = await open_store(tmp_path / "back.db")
    assert not await pause_if_copied(store, Policy(), "machine", NOW)
    await store.close()
