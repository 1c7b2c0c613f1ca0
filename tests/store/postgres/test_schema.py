"""The schema over PostgreSQL is that over SQLite: a number of a migration means the same in both."""

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from kit.new_database import make_schema, place_database
from receiver.store.migrations.steps import load_migrations

pytestmark = pytest.mark.anyio

TYPES = {"INTEGER": "bigint", "TEXT": "text", "BLOB": "bytea", "REAL": "double precision"}
ONLY_THERE = {"processes", "moving"}
# Of the searched words PostgreSQL has a column, SQLite an index of its own.
APART = {"searched", "search", "search_data", "search_idx", "search_config", "migrations"}
NUMBERED = {"lanes", "callbacks", "polls", "sends", "notices", "attempts", "steps", "searched"}


@pytest.fixture
async def connection(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(postgres_url)
    yield opened
    await opened.close()


@pytest.fixture
async def unused(fresh_postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """To a database with our schema that has no statistics from what other tests have left in it."""
    await make_schema(fresh_postgres_url)
    opened = await asyncpg.connect(fresh_postgres_url)
    yield opened
    await opened.close()


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    return await place_database(tmp_path / "r.db")


def sqlite_columns(path: Path) -> dict[str, list[tuple[str, str, bool, str | None]]]:
    with closing(sqlite3.connect(path)) as raw:
        tables = [name for (name,) in raw.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {
            table: [
                (name, TYPES.get(kind, kind), bool(needed or key), default)
                for name, kind, needed, default, key in raw.execute(
                    'SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(?)', (table,)
                )
            ]
            for table in tables
            if table not in APART
        }


async def postgres_columns(connection: asyncpg.Connection) -> dict[str, list[tuple[str, str, bool, str | None]]]:
    rows = await connection.fetch(
        "SELECT table_name, column_name, data_type, is_nullable = 'NO', column_default FROM information_schema.columns"
        " WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
    )
    found: dict[str, list[tuple[str, str, bool, str | None]]] = {}
    for table, name, kind, needed, default in rows:
        found.setdefault(table, []).append((name, kind, needed, default))
    return {table: columns for table, columns in found.items() if table not in APART | ONLY_THERE}


async def test_both_have_the_same_tables_and_columns_in_the_same_order(
    path: Path, connection: asyncpg.Connection
) -> None:
    ours, theirs = sqlite_columns(path), await postgres_columns(connection)
    assert theirs.keys() == ours.keys()
    assert theirs == ours


async def test_both_have_the_same_keys_and_unique_columns(path: Path, connection: asyncpg.Connection) -> None:
    with closing(sqlite3.connect(path)) as raw:
        ours = {
            (table, tuple(name for (name,) in raw.execute("SELECT name FROM pragma_index_info(?)", (index,))))
            for table in sqlite_columns(path)
            for index, unique in raw.execute('SELECT name, "unique" FROM pragma_index_list(?)', (table,))
            if unique
        }
        ours |= {
            (table, (name,))  # the key of a table with numbered rows has no index
            for table in sqlite_columns(path)
            for name, kind, key in raw.execute("SELECT name, type, pk FROM pragma_table_info(?)", (table,))
            if key and kind == "INTEGER" and name == "id"
        }
    rows = await connection.fetch(
        "SELECT t.relname, ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = i.indexrelid ORDER BY attnum)"
        " FROM pg_index AS i JOIN pg_class AS t ON t.oid = i.indrelid WHERE i.indisunique"
        " AND t.relnamespace = 'public'::regnamespace"
    )
    assert {(table, tuple(names)) for table, names in rows if table not in APART | ONLY_THERE} == ours


async def test_both_have_the_same_indexes_but_for_two_that_leave_out_what_grows(
    path: Path, connection: asyncpg.Connection
) -> None:
    with closing(sqlite3.connect(path)) as raw:
        made = raw.execute("SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")
        ours = dict(made.fetchall())
    rows = await connection.fetch(
        "SELECT indexname, tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'"
        " AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conname = indexname)"
    )
    theirs = {name: table for name, table, _ in rows if name != "searched_words"}
    assert theirs == ours
    left_out = {name: sql.partition(" WHERE ")[2] for name, _, sql in rows}
    assert left_out["tasks_state"] == "(state <> 'completed'::text)"
    assert left_out["callbacks_verdict"] == "(verdict <> 'accepted'::text)"


async def test_texts_are_in_the_order_of_their_bytes_whatever_the_locale(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(
        "SELECT c.relname || '.' || a.attname FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0"
        " AND a.atttypid = 'text'::regtype AND a.attcollation <> (SELECT oid FROM pg_collation WHERE collname = 'C')"
    )
    assert rows == []


async def test_ids_are_given_by_the_database_from_one_and_lanes_after_the_three_fixed_ones(
    connection: asyncpg.Connection,
) -> None:
    rows = await connection.fetch(
        "SELECT table_name, identity_generation, identity_start FROM information_schema.columns"
        " WHERE table_schema = 'public' AND is_identity = 'YES'"
    )
    assert {table: (kind, start) for table, kind, start in rows} == {
        table: ("BY DEFAULT", "4" if table == "lanes" else "1") for table in NUMBERED
    }
    lanes = await connection.fetch("SELECT id, name, priority FROM lanes ORDER BY id")
    assert [tuple(row) for row in lanes] == [(1, "high", 1), (2, "normal", 0), (3, "low", -1)]


async def test_what_is_often_updated_leaves_room_and_is_vacuumed_early(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch("SELECT relname, reloptions FROM pg_class WHERE reloptions IS NOT NULL")
    found = {table: dict(it.split("=") for it in options) for table, options in rows}
    filled = {table: int(options["fillfactor"]) for table, options in found.items() if "fillfactor" in options}
    assert filled == {"tasks": 80, "notices": 80, "sends": 80, "targets": 50, "paces": 50, "processes": 50}
    assert {found[table]["autovacuum_vacuum_scale_factor"] for table in filled} == {"0.02"}


async def test_a_page_of_few_among_many_follows_its_index(unused: asyncpg.Connection) -> None:
    """The condition of a partial index is found in a statement's text, not behind a parameter."""
    async with unused.transaction():
        await unused.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        for index, sql in (
            ("tasks_state", "SELECT ref FROM tasks WHERE state = 'failed' AND ref < 'a' ORDER BY ref DESC LIMIT 9"),
            ("tasks_pkey", "SELECT ref FROM tasks WHERE state = 'completed' AND ref < 'a' ORDER BY ref DESC LIMIT 9"),
            ("callbacks_verdict", "SELECT id FROM callbacks WHERE verdict = 'hint' ORDER BY id DESC LIMIT 9"),
        ):
            plan = "\n".join(row[0] for row in await unused.fetch(f"EXPLAIN {sql}"))
            assert re.search(rf"Index (Only )?Scan Backward using {index} ", plan), plan
            assert "Sort" not in plan


def test_the_last_numbers_are_the_same() -> None:
    assert load_migrations("postgres")[-1].number == load_migrations("sqlite")[-1].number
