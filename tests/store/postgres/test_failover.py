"""The server dies and a replica takes over: with a synchronous one nothing that was answered is lost; in any case
somebody is told, once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from kit.callback_senders import CallbackSenders
from kit.fakes import NOW, POLICY, attention, notices
from kit.live_service import until
from kit.lost_copies import lost_copies_forgiven
from kit.postgres_cluster import PostgresCluster, missing
from kit.postgres_replica import PostgresReplica, wait_for
from receiver.core.types import NoticeEvent, TaskState
from receiver.store import PostgresPlace, Store, open_store
from receiver.store.postgres import connection, pool
from receiver.tasks.failover import tell_of_failover, watch_for_failovers

pytestmark = pytest.mark.anyio

MANY = 64


class Pair:
    """A server, its replica, and a store that uses whichever can be written."""

    def __init__(self, primary: PostgresCluster, replica: PostgresReplica, store: Store, database: str) -> None:
        self.primary = primary
        self.replica = replica
        self.store = store
        self.database = database
        self.first = store.timeline

    async def fail_over(self) -> None:
        """The primary dies, and the replica takes over."""
        await asyncio.to_thread(self.primary.stop, "killed")
        await asyncio.to_thread(self.replica.promote)

    async def until_noticed(self) -> None:
        """Return once the store knows that it is another server."""

        async def noticed() -> bool:
            return self.store.timeline not in (None, self.first)

        await until(noticed)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the dead server does not answer is given up after two seconds."""
    for module, name in ((connection, "COMMIT_MOST_S"), (connection, "CALL_MOST_S"), (pool, "CALL_MOST_S")):
        monkeypatch.setattr(module, name, 2.0)
    monkeypatch.setattr(pool, "ACQUIRE_MOST_S", 2.0)


@pytest.fixture
def primary() -> Iterator[PostgresCluster]:
    if why := missing():
        pytest.skip(why)
    with PostgresCluster(durable=True) as cluster:
        yield cluster


@pytest.fixture
async def pair(primary: PostgresCluster) -> AsyncIterator[Pair]:
    database = primary.make_database()
    with PostgresReplica(primary) as replica:
        store = await open_store(PostgresPlace(url=replica.url_of_either(database), pool=4))
        pair = Pair(primary, replica, store, database)

        async def knows() -> bool:
            pair.first = store.timeline
            return pair.first is not None

        await until(knows)
        assert not await tell_of_failover(store, POLICY, NOW), "there is nothing to compare with"
        with lost_copies_forgiven():
            yield pair
            await store.close()


async def test_a_synchronous_replica_has_all_that_was_answered(pair: Pair) -> None:
    await asyncio.to_thread(wait_for, pair.primary)
    senders = CallbackSenders(pair.store)
    sending = asyncio.create_task(senders.send(await senders.make_tasks(MANY)))

    async def some() -> bool:
        return bool(senders.answered)

    await until(some)
    await pair.fail_over()
    await sending
    await senders.check(pair.store)
    await pair.until_noticed()


async def test_what_another_replica_lacks_is_told_of_once(pair: Pair) -> None:
    senders = CallbackSenders(pair.store)
    tasks = await senders.make_tasks(MANY)
    await senders.send(tasks[:8])
    await asyncio.to_thread(pair.replica.catch_up)
    await asyncio.to_thread(pair.replica.cut_off)
    await senders.send(tasks[8:16])
    await pair.fail_over()
    await senders.send(tasks[16:])
    await senders.check(pair.store, but=frozenset(it.ref for it in tasks[8:16]))
    lost = await pair.store.tasks.get([it.ref for it in tasks[8:16]])
    assert {it.state for it in lost.values()} == {TaskState.WAITING}, "polls will find how they ended"

    await pair.until_noticed()
    other = await open_store(PostgresPlace(url=pair.replica.url_of_either(pair.database), pool=4))
    watches = [asyncio.create_task(watch_for_failovers(it, POLICY, lambda: NOW)) for it in (pair.store, other)]

    async def told() -> list[str]:
        return await attention(pair.store)

    assert await until(told) == [f"failover:{pair.store.timeline}"]
    [notice] = await notices(pair.store, event=NoticeEvent.ATTENTION)
    assert "Compare the tasks of that time with the provider's own list" in (notice.report.text or "")
    assert not await tell_of_failover(other, POLICY, NOW)
    assert len(await told()) == 1
    for watch in watches:
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch
    await other.close()
