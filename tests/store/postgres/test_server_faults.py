"""A server that restarts, refuses and holds us up while callbacks come from 32 senders: nothing that was answered is
lost or misjudged, and it goes on by itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from kit.callback_senders import CallbackSenders
from kit.fakes import a_task, put
from kit.live_service import until
from kit.lost_copies import lost_copies_forgiven
from kit.postgres_cluster import PostgresCluster, StopMode, missing, own_cluster
from receiver.core.errors import StaleUpdate, StoreUnavailable
from receiver.store import PostgresPlace, Store, open_store
from receiver.store.insist import decide_again
from receiver.store.postgres import connection, engine
from receiver.store.postgres.errors import OutcomeUnknown

pytestmark = pytest.mark.anyio

MANY = 96
OPTIONS = {"max_connections": "20", "deadlock_timeout": "50ms"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    if why := missing():
        pytest.skip(why)
    with own_cluster(options=OPTIONS) as cluster:
        yield cluster


@pytest.fixture
def database(cluster: PostgresCluster) -> Iterator[str]:
    name = cluster.make_database()
    yield name
    cluster.drop_database(name)


@pytest.fixture
async def store(cluster: PostgresCluster, database: str) -> AsyncIterator[Store]:
    opened = await open_store(PostgresPlace(url=cluster.url(database), pool=4))
    with lost_copies_forgiven():
        yield opened
        await opened.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit is given up after a second."""
    monkeypatch.setattr(connection, "COMMIT_MOST_S", 1.0)
    monkeypatch.setattr(connection, "ROLL_BACK_MOST_S", 1.0)


@contextlib.contextmanager
def set_on_server(cluster: PostgresCluster, name: str, value: str) -> Iterator[None]:
    """A setting of the whole server, for as long as this lasts."""
    try:
        cluster.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        cluster.execute("SELECT pg_reload_conf()")
        yield
    finally:
        cluster.execute(f"ALTER SYSTEM RESET {name}")
        cluster.execute("SELECT pg_reload_conf()")


async def some_answered(senders: CallbackSenders, count: int) -> None:
    async def enough() -> bool:
        return len(senders.answered) >= count

    await until(enough)


@pytest.mark.parametrize("mode", ["fast", "immediate", "killed"])
async def test_restarts(cluster: PostgresCluster, store: Store, mode: StopMode) -> None:
    senders = CallbackSenders(store)
    sending = asyncio.create_task(senders.send(await senders.make_tasks(MANY)))
    await some_answered(senders, 1)
    await asyncio.to_thread(cluster.restart, mode)
    await sending
    await senders.check(store)
    assert await store.probe() is None
    assert store.fault is None

    async def listens() -> bool:
        return bool(store.listening)

    await until(listens)


async def test_an_administrator_ends_all_connections(cluster: PostgresCluster, store: Store, database: str) -> None:
    senders = CallbackSenders(store)
    sending = asyncio.create_task(senders.send(await senders.make_tasks(MANY)))
    for count in (1, MANY // 3, MANY // 2):
        await some_answered(senders, count)
        await asyncio.to_thread(cluster.end_connections, database)
    await sending
    await senders.check(store)


async def test_a_database_that_is_read_only_for_a_while(cluster: PostgresCluster, store: Store) -> None:
    senders = CallbackSenders(store)
    tasks = await senders.make_tasks(MANY)
    with set_on_server(cluster, "default_transaction_read_only", "on"):
        sending = asyncio.create_task(senders.send(tasks))
        await senders.first_refusal.wait()
        assert "read-only" in (await store.probe() or "")
    await sending
    await senders.check(store)


async def take_all_connections(cluster: PostgresCluster, database: str) -> list[asyncpg.Connection]:
    """Connections to another database, until there is none left to this one."""
    others: list[asyncpg.Connection] = []

    async def taken() -> bool:
        with contextlib.suppress(asyncpg.TooManyConnectionsError):
            while True:
                others.append(await asyncpg.connect(cluster.url("postgres")))
        return not await asyncio.to_thread(cluster.end_connections, database)

    await until(taken)
    return others


async def test_no_connection_is_left(cluster: PostgresCluster, store: Store, database: str) -> None:
    senders = CallbackSenders(store)
    tasks = await senders.make_tasks(MANY)
    others = await take_all_connections(cluster, database)
    try:
        sending = asyncio.create_task(senders.send(tasks))
        await senders.first_refusal.wait()
        with pytest.raises(StoreUnavailable, match="no connection left"):
            await open_store(PostgresPlace(url=cluster.url(database)))
    finally:
        for other in others:
            other.terminate()
    await sending
    await senders.check(store)


async def test_two_that_wait_for_each_other_decide_again(store: Store) -> None:
    one, two = a_task(task_id="1"), a_task(task_id="2")
    await put(store, one, two)
    met = asyncio.Barrier(2)
    tries = 0

    @decide_again
    async def lock(first: str, second: str) -> str:
        nonlocal tries
        tries += 1
        async with store.write() as tx:
            if tries > 2:  # in the order of all
                await tx.tasks.get([first, second])
                return "done"
            await tx.tasks.get([first])
            await met.wait()
            await tx.tasks.get([second])
        return "done"

    both = await asyncio.gather(lock(one.ref, two.ref), lock(two.ref, one.ref))
    assert set(both) == {"done"}
    assert tries == 3


async def test_a_deadlock_is_a_stale_update(store: Store) -> None:
    one, two = a_task(task_id="1"), a_task(task_id="2")
    await put(store, one, two)
    met = asyncio.Barrier(2)

    async def lock(first: str, second: str) -> None:
        async with store.write() as tx:
            await tx.tasks.get([first])
            await met.wait()
            await tx.tasks.get([second])

    said = await asyncio.gather(lock(one.ref, two.ref), lock(two.ref, one.ref), return_exceptions=True)
    [lost] = [it for it in said if it is not None]
    assert isinstance(lost, StaleUpdate)
    assert "deadlock" in str(lost)


async def test_a_process_that_stands_still_with_a_lock(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server ends its transaction, and the callbacks of that task go on."""
    senders = CallbackSenders(store)
    [task] = await senders.make_tasks(1)
    monkeypatch.setattr(connection, "BEGIN", connection.BEGIN.replace("timeout = '10s'", "timeout = '500ms'"))

    async def stand_still() -> None:
        async with store.write() as tx:
            await tx.tasks.get([task.ref])
            await senders.send([task])
            await tx.tasks.get([task.ref])

    with pytest.raises(StoreUnavailable):
        await stand_still()
    await senders.check(store)


async def test_others_that_hold_a_row_are_waited_for_and_not_for_ever(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    senders = CallbackSenders(store)
    [task] = await senders.make_tasks(1)
    monkeypatch.setattr(connection, "BEGIN", connection.BEGIN.replace("lock_timeout = '2s'", "lock_timeout = '50ms'"))
    async with store.write() as tx:
        await tx.tasks.get([task.ref])
        sending = asyncio.create_task(senders.send([task]))
        await senders.first_refusal.wait()
    await sending
    assert "others hold what this needs" in next(iter(senders.refused))
    await senders.check(store)


@pytest.mark.usefixtures("impatient")
async def test_commits_that_wait_for_a_replica_that_is_gone(
    cluster: PostgresCluster, store: Store, database: str
) -> None:
    """They are given up, one connection does not follow the other into the wait, and all goes on afterwards."""
    senders = CallbackSenders(store)
    tasks = await senders.make_tasks(MANY)
    with set_on_server(cluster, "synchronous_standby_names", "gone"):
        sending = asyncio.create_task(senders.send(tasks))
        await senders.first_refusal.wait()

        async def refused_again() -> bool:
            return senders.refused.total() > MANY

        await until(refused_again)
        assert cluster.connections(database) <= 4 + 2 + 1
    await sending
    await senders.check(store)


async def test_a_commit_whose_wait_was_ended_is_of_unknown_outcome(
    cluster: PostgresCluster, store: Store, database: str
) -> None:
    task = a_task(task_id="1")
    with set_on_server(cluster, "synchronous_standby_names", "gone"):
        writing = asyncio.create_task(put(store, task))

        async def ended() -> bool:
            sql = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            return bool(await asyncio.to_thread(cluster.execute, sql))

        await until(ended)
        with pytest.raises(OutcomeUnknown, match="committed with a warning"):
            await writing
    assert await store.tasks.get([task.ref]), "it is committed here"


async def test_nobody_waits_for_a_free_connection_for_ever(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    senders = CallbackSenders(store)
    tasks = await senders.make_tasks(1)
    monkeypatch.setattr(engine, "TURN_MOST_S", 0.1)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(4 - engine.KEPT_FOR_READS):
            tx = await stack.enter_async_context(store.write())
            await tx.paces.get("any")
        with pytest.raises(StoreUnavailable, match="too many changes wait"):
            await stack.enter_async_context(store.write())
        assert await store.paces.get("any") is None, "those who read have connections of their own"
        await senders.send(tasks)
    await senders.check(store)
