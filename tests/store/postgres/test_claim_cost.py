"""What a claim reads does not grow with what is over: blocks are counted, since time says nothing on a busy machine."""

import re
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from kit.filled_postgres import FIRST_AT, OPEN, TARGETS, fill_work
from kit.new_database import make_schema
from receiver.store import PostgresPlace, Store, open_store
from receiver.store.postgres.connection import WritingConnection
from receiver.store.postgres.dialect import translate

pytestmark = pytest.mark.anyio

FEW, MANY = 1_000, 20_000
DAY = 86_400_000
_BLOCKS = re.compile(r"shared (?:hit=(\d+) ?)?(?:read=(\d+))?")
Ran = list[tuple[str, Sequence[object]]]


@pytest.fixture
async def filled(fresh_postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    await make_schema(fresh_postgres_url)
    raw = await asyncpg.connect(fresh_postgres_url)
    await fill_work(raw, FEW)
    yield raw
    await raw.close()


async def claim_everything(store: Store, now: int) -> None:
    """What the loops ask to find their next piece of work, and when there will be one."""
    async with store.write() as tx:
        tasks, sends = tx.tasks, tx.sends
        await tasks.places_taken(now)
        [head, *_] = await tasks.queue_heads(now, limit=4)
        assert await tasks.lock_due(head, now)
        assert len(await tasks.overdue_answers(now)) == OPEN // 3
        assert await tasks.next_overdue(now)
        assert await tasks.due_for_archive(now, first_only=True, single_only=True)
        assert await tasks.due_for_archive(now)
        for next_time in (tasks.next_due, tasks.next_place, tasks.next_lease, tasks.next_poll, tasks.next_archive):
            await next_time(0)
        await sends.add_targets(TARGETS)
        assert await sends.lock_targets(TARGETS)
        assert len(await sends.target_queues(TARGETS)) == len(TARGETS)
        await sends.next_send(TARGETS[0], now)


async def blocks_read(raw: asyncpg.Connection, ran: Ran) -> dict[str, int]:
    """How many blocks each statement reads, by a generic plan, as in our transactions."""
    await raw.execute("SET plan_cache_mode = force_generic_plan")
    read = dict[str, int]()
    for sql, params in ran:
        await raw.execute(f"PREPARE ours AS {translate(sql)}")
        values = f"({', '.join(map(literal, params))})" if params else ""
        lines = [str(it) for (it,) in await raw.fetch(f"EXPLAIN (ANALYZE, BUFFERS) EXECUTE ours{values}")]
        blocks = next(filter(None, map(_BLOCKS.search, lines)), None)  # those of the whole
        read[sql] = sum(int(it or 0) for it in blocks.groups()) if blocks else 0
        await raw.execute("DEALLOCATE ours")
    return read


def literal(value: object) -> str:
    if isinstance(value, list):
        return f"ARRAY[{', '.join(map(literal, value))}]"
    return f"'{value}'" if isinstance(value, str) else str(value)


async def test_claims_read_as_much_among_many_tasks(
    filled: asyncpg.Connection, fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: Ran = []
    fetch_rows = WritingConnection.fetch_rows

    async def noted(self: WritingConnection, sql: str, params: Sequence[object] = ()) -> list[object]:
        ran.append((sql, params))
        return await fetch_rows(self, sql, params)

    monkeypatch.setattr(WritingConnection, "fetch_rows", noted)
    store = await open_store(PostgresPlace(url=fresh_postgres_url, pool=3))
    read = []
    try:
        for count, before in ((FEW, 0), (MANY, FEW)):
            if before:
                await fill_work(filled, count, before)
            ran.clear()
            await claim_everything(store, FIRST_AT + count * 1000 + DAY)
            await blocks_read(filled, ran)  # once for what the first that reads has to mend
            read.append(await blocks_read(filled, ran))
    finally:
        await store.close()
    few, many = read
    assert len(few) > 12
    assert min(few.values()) > 0
    worse = {sql: (few[sql], many[sql]) for sql in few if many[sql] > 1.5 * few[sql] + 2}
    assert not worse
    assert sum(many.values()) <= 1.5 * sum(few.values())
