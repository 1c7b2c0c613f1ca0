"""What becomes of a transaction that the server refuses: of callbacks, nothing but a row's own fault is raised."""

import asyncpg
import pytest

from kit.fakes import a_ref, a_task
from kit.live_service import until
from kit.lost_copies import lost_copies_forgiven
from kit.postgres_cluster import PostgresCluster
from receiver.core.errors import StaleUpdate, StoreUnavailable
from receiver.core.types import Callback, Task, Verdict
from receiver.store import Lane, Store
from receiver.store.postgres import connection

pytestmark = pytest.mark.anyio


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


async def lose_before_commit(store: Store, postgres: PostgresCluster, url: str) -> None:
    """A transaction whose connection the server ends after its last statement."""
    async with store.write() as tx:
        await tx.tasks.get([a_ref()])
        raw = tx.tasks._db._raw  # type: ignore[attr-defined]  # the writing connection's own
        postgres.end_connections(url.rpartition("/")[2])

        async def lost() -> bool:
            try:
                return bool(raw.is_closed())
            except asyncpg.InterfaceError:  # the pool has taken it back
                return True

        await until(lost)


async def test_a_connection_that_is_lost_before_the_commit_is_an_outage(
    store: Store, postgres: PostgresCluster, postgres_url: str
) -> None:
    with lost_copies_forgiven(), pytest.raises(StoreUnavailable, match="gone"):
        await lose_before_commit(store, postgres, postgres_url)
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


async def test_a_slow_read_is_given_up_and_costs_no_connection(
    store: Store, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server lives, and says that it ended it; what it has planned for us stays."""
    before = await serving(store)
    monkeypatch.setattr(connection, "READ_MOST_S", 0.05)
    with pytest.raises(StoreUnavailable, match="does not answer in time"):
        await store.tasks._db.fetch_rows("SELECT pg_sleep(3600)")
    monkeypatch.undo()

    async def ended() -> bool:
        other = await asyncpg.connect(postgres_url)
        try:
            asleep = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
            return bool(await other.fetchval(asleep) == 0)
        finally:
            await other.close()

    await until(ended)

    async def served_as_before() -> bool:
        return await serving(store) == before

    await until(served_as_before)


async def serving(store: Store) -> int:
    """The number of the server's process that a read gets."""
    [(number,)] = await store.tasks._db.fetch_rows("SELECT pg_backend_pid()")
    return int(number)


async def test_what_has_a_nul_is_not_found(store: Store) -> None:
    assert await store.tasks.get(["a\0b"]) == {}
    assert await store.tasks.page(label="\0") == []
    async with store.write() as tx:
        assert await tx.tasks.find_keys(["\0", "k"]) == {}
