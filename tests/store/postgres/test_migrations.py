"""Migrations of PostgreSQL: once, whoever comes first; not at all in a database that is not ours."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from kit.postgres_cluster import PostgresCluster
from receiver.core.errors import NewerSchema, StoreError, StoreUnavailable
from receiver.store.migrations.steps import Migration, load_migrations
from receiver.store.postgres import migrate
from receiver.store.postgres.migrate import apply_migrations, missing_after, read_schema, refuse_moving

pytestmark = pytest.mark.anyio

STEPS = load_migrations("postgres")


@pytest.fixture
async def connection(fresh_postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(fresh_postgres_url)
    yield opened
    await opened.close()


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Migration]:
    """The migrations that are known, to be changed."""
    known = list(STEPS)
    monkeypatch.setattr(migrate, "load_migrations", lambda _: list(known))
    return known


async def test_it_is_migrated_once(connection: asyncpg.Connection) -> None:
    assert await read_schema(connection) == 0
    assert await apply_migrations(connection) == [it.name for it in STEPS]
    assert await apply_migrations(connection) == []
    assert await read_schema(connection) == STEPS[-1].number


async def test_of_ten_at_once_one_migrates_and_nine_find_it_done(fresh_postgres_url: str) -> None:
    connections = [await asyncpg.connect(fresh_postgres_url) for _ in range(10)]
    try:
        applied = await asyncio.gather(*map(apply_migrations, connections))
        assert sorted(map(len, applied)) == [0] * 9 + [len(STEPS)]
    finally:
        for it in connections:
            await it.close()


async def test_what_fails_leaves_nothing_behind(connection: asyncpg.Connection, steps: list[Migration]) -> None:
    steps.append(Migration(22, "0022_wrong", "CREATE TABLE half (a bigint); SELECT 1 / 0;"))
    with pytest.raises(asyncpg.DivisionByZeroError):
        await apply_migrations(connection)
    assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    steps[-1] = Migration(22, "0022_right", "CREATE TABLE whole (a bigint)")
    assert await apply_migrations(connection) == [*(it.name for it in STEPS), "0022_right"]


async def test_an_older_program_goes_on_as_long_as_its_schema_is_known(
    connection: asyncpg.Connection, steps: list[Migration]
) -> None:
    steps.append(Migration(22, "0022_more", "ALTER TABLE targets ADD COLUMN more text"))
    await apply_migrations(connection)
    steps.pop()
    assert await apply_migrations(connection) == []
    steps += [
        Migration(22, "0022_more", ""),
        Migration(23, "0023_less", "-- oldest: 22\nALTER TABLE targets DROP COLUMN recent"),
    ]
    assert await apply_migrations(connection) == ["0023_less"]
    steps.pop()
    assert await apply_migrations(connection) == []
    steps.pop()
    with pytest.raises(NewerSchema, match="has schema 23, for which a program has to know schema 22, and this version"):
        await apply_migrations(connection)


@pytest.mark.parametrize(
    ("applied", "oldest", "numbers"), [(0, 0, [21, 22]), (21, 21, [22]), (22, 21, []), (40, 22, [])]
)
def test_missing_are_those_after_the_last_one(applied: int, oldest: int, numbers: list[int]) -> None:
    known = [Migration(21, "a", ""), Migration(22, "b", "")]
    assert [it.number for it in missing_after(known, applied, oldest)] == numbers


async def test_tables_that_others_hold_are_waited_for_and_not_for_ever(
    fresh_postgres_url: str, connection: asyncpg.Connection, steps: list[Migration], monkeypatch: pytest.MonkeyPatch
) -> None:
    await apply_migrations(connection)
    steps.append(Migration(22, "0022_more", "ALTER TABLE targets ADD COLUMN more text"))
    monkeypatch.setattr(migrate, "LOCK_MOST", "10ms")
    other = await asyncpg.connect(fresh_postgres_url)
    try:
        reading = other.transaction()
        await reading.start()
        await other.execute("SELECT * FROM targets")
        monkeypatch.setattr(migrate, "TRIED_MOST_S", 0.3)
        with pytest.raises(StoreUnavailable, match="because others have held its tables"):
            await apply_migrations(connection)
        monkeypatch.setattr(migrate, "TRIED_MOST_S", 3600.0)
        waiting = asyncio.create_task(apply_migrations(connection))
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done
        await reading.rollback()
        assert await waiting == ["0022_more"]
    finally:
        await other.close()


@pytest.fixture
def other_encoding(postgres: PostgresCluster) -> Iterator[str]:
    postgres.execute("CREATE DATABASE old OWNER receiver ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    yield postgres.url("old")
    postgres.drop_database("old")


async def test_another_encoding_is_refused(other_encoding: str) -> None:
    connection = await asyncpg.connect(other_encoding)
    try:
        with pytest.raises(StoreError, match=r"the encoding LATIN1, which lacks .*; make another .* ENCODING 'UTF8'"):
            await apply_migrations(connection)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        (
            "CREATE TABLE tasks (id bigint)",
            r"of another program in schema public \(relation \"tasks\" already exists\)",
        ),
        ("CREATE TABLE migrations (id bigint, batch bigint)", "a table migrations of another program"),
        ("CREATE VIEW lanes AS SELECT 1", "of another program"),
    ],
)
async def test_a_database_of_another_program_is_refused_and_left_alone(
    connection: asyncpg.Connection, sql: str, why: str
) -> None:
    await connection.execute(sql)
    before = await connection.fetch("SELECT relname FROM pg_class ORDER BY oid")
    with pytest.raises(StoreError, match=f"{why}.*; give the receiver a database of its own"):
        await apply_migrations(connection)
    assert await connection.fetch("SELECT relname FROM pg_class ORDER BY oid") == before


async def test_other_tables_do_not_matter(connection: asyncpg.Connection) -> None:
    await connection.execute("CREATE TABLE theirs (id bigint)")
    assert await apply_migrations(connection) == [it.name for it in STEPS]


async def test_a_user_without_rights_is_told_so(postgres: PostgresCluster) -> None:
    name = postgres.make_database(owner="postgres")
    connection = await asyncpg.connect(postgres.url(name))
    try:
        await connection.execute("SET search_path = 'nowhere'")
        with pytest.raises(StoreError, match=r"none of the schemas that this user's search_path names \(nowhere\)"):
            await apply_migrations(connection)
        await connection.execute("RESET search_path")
        postgres.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO receiver", name)
        with pytest.raises(StoreError, match=r"may not create .*; make it the database's owner, or GRANT CREATE ON"):
            await apply_migrations(connection)
    finally:
        await connection.close()
        postgres.drop_database(name)


async def test_a_database_that_is_moved_into_is_not_opened(connection: asyncpg.Connection) -> None:
    await apply_migrations(connection)
    await refuse_moving(connection)
    await connection.execute("INSERT INTO moving (id, owner, started_at) VALUES (1, 'a', 0)")
    with pytest.raises(StoreError, match="is being moved into this one, and that is not done; run the same"):
        await refuse_moving(connection)
