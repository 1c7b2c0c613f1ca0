"""Every statement that the tables run is planned on a database with some thousand rows: none may read a large table
from end to end. Plans are generic, as in our transactions, so they do not depend on what is asked for.
"""

import re
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from kit.fakes import NOW
from kit.filled_postgres import fill_rest, fill_work
from kit.new_database import make_schema
from kit.postgres_cluster import PostgresCluster
from kit.table_tour import TOUR
from receiver.store import PostgresPlace, open_store
from receiver.store.postgres import connection
from receiver.store.postgres.dialect import translate

pytestmark = pytest.mark.anyio

ROWS = 4_000
LARGE = (
    *("tasks", "images", "copies", "callbacks", "overflow", "polls", "sends", "notices", "attempts", "redriven"),
    *("idempotency", "spend", "spend_totals", "hours", "attention", "steps", "searched"),
)
SCAN = re.compile(rf"Seq Scan on ({'|'.join(LARGE)})\b")
ALLOWED = {
    "batch_rows.spent": "spend",  # the days since a batch began
    "hours.forget": "hours",  # those of some days
    "pruning.tasks_with_copies": "tasks",  # is read outside transactions, where plans go by the limit
}
"""Tables that a method may read from end to end, and why."""


class Noting:
    """The statements that were run, with the method that ran them first."""

    def __init__(self) -> None:
        self.method = "start"
        self.ran: dict[str, str] = {}

    def __call__(self, sql: str) -> str:
        said = translate(sql)
        self.ran.setdefault(said, self.method)
        return said


@pytest.fixture
async def ran(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the tour of the tables runs."""
    noting = Noting()
    monkeypatch.setattr(connection, "translate", noting)
    store = await open_store(PostgresPlace(url=postgres_url, pool=3))
    try:
        for call in TOUR:
            more = call.more
            if call.method == "redrive":
                more = {"now": NOW, "targets": None, "ids": None, "to": None, **more}
            noting.method = f"{call.table}.{call.method}"
            async with store.write() as tx:
                await getattr(getattr(tx, call.table), call.method)(*call.args, **more)
    finally:
        await store.close()
    return noting.ran


@pytest.fixture
def filled_url(postgres: PostgresCluster) -> Iterator[str]:
    name = postgres.make_database()
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
async def filled(filled_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database with our schema that plans as our transactions do."""
    await make_schema(filled_url)
    raw = await asyncpg.connect(filled_url)
    await raw.execute("SET plan_cache_mode = force_generic_plan")
    yield raw
    await raw.close()


async def explain(raw: asyncpg.Connection, sql: str) -> list[str]:
    """The lines of its plan, whatever is asked for."""
    count = len(set(re.findall(r"\$(\d+)", sql)))
    values = f"({', '.join(['NULL'] * count)})" if count else ""
    await raw.execute(f"PREPARE ours AS {sql}")
    try:
        return [str(line) for (line,) in await raw.fetch(f"EXPLAIN EXECUTE ours{values}")]
    finally:
        await raw.execute("DEALLOCATE ours")


async def test_no_statement_reads_a_large_table_from_end_to_end(
    ran: dict[str, str], filled: asyncpg.Connection
) -> None:
    await fill_work(filled, ROWS)
    await fill_rest(filled)
    assert len(ran) > 300
    wrong, used = [], set()
    for sql, method in ran.items():
        for found in filter(None, map(SCAN.search, await explain(filled, sql))):
            if found[1] in ALLOWED.get(method, "").split():
                used.add(method)
            else:
                wrong.append(f"{method}: {found[0]}\n    {sql[:400]}")
    assert not wrong, "\n".join(wrong)
    assert used == set(ALLOWED), f"no longer needed: {set(ALLOWED) - used}"
