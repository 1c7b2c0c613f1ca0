"""What becomes of a transaction that the server refuses: of callbacks, nothing but a row's own fault is raised."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from kit.fakes import a_ref, a_task
from receiver.core.errors import StaleUpdate, StoreUnavailable
from receiver.core.types import Callback, Task, Verdict
from receiver.store import Lane, PostgresPlace, Store, open_store

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    opened = await open_store(PostgresPlace(url=postgres_url, pool=3))
    yield opened
    await opened.close()


async def run(store: Store, sql: str, lane: Lane = Lane.OTHER, *callbacks: Callback) -> None:
    """A statement that the tables do not have, after callbacks are stored."""
    async with store.write(lane) as tx:
        await tx.callbacks.insert([(it, True) for it in callbacks])
        await tx.tasks._db.run_statement(sql)


async def insert(store: Store, task: Task) -> None:
    async with store.write(Lane.INGEST) as tx:
        await tx.tasks.insert([task])


async def test_a_bug_is_raised_but_never_for_a_callback(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await run(store, "DELETE FROM made_up")
    with pytest.raises(StoreUnavailable, match="UndefinedTableError"):
        await run(store, "DELETE FROM made_up", Lane.INGEST)
    assert "callbacks cannot be stored" in caplog.text
    assert await store.probe() is None


async def test_a_text_that_cannot_be_stored_is_the_rows_fault(store: Store) -> None:
    with pytest.raises(asyncpg.CharacterNotInRepertoireError):
        await insert(store, a_task(prompt="a\0b"))
    with pytest.raises(asyncpg.DataError, match="surrogates"):
        await insert(store, a_task(prompt="\ud800"))
    assert await store.probe() is None


async def test_the_same_row_twice_is_decided_again(store: Store) -> None:
    task = a_task()
    await insert(store, task)
    with pytest.raises(StaleUpdate, match="another process was first"):
        await insert(store, task)
    assert list(await store.tasks.get([task.ref])) == [task.ref]


async def test_what_came_before_an_error_is_not_stored(store: Store) -> None:
    callback = Callback(ref=a_ref(), received_at=1, body=b"{}", digest=b"d", verdict=Verdict.ACCEPTED)
    with pytest.raises(asyncpg.UndefinedTableError):
        await run(store, "DELETE FROM made_up", Lane.OTHER, callback)
    assert await store.callbacks.page() == []


async def test_a_store_that_is_closed_takes_nothing(store: Store) -> None:
    await store.close()
    with pytest.raises(StoreUnavailable):
        await insert(store, a_task())
    with pytest.raises(StoreUnavailable):
        await store.callbacks.page()
    assert await store.probe() is not None
