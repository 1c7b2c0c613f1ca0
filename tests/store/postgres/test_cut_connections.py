"""A network that cuts, drips, delays and swallows what is said between the store and its server, while callbacks come:
what was answered is stored, each task ends once, and nothing is taken for a callback that cannot be read."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from kit.callback_senders import CallbackSenders
from kit.live_service import PATIENCE_S
from kit.lost_copies import lost_copies_forgiven
from kit.postgres_cluster import PostgresCluster
from kit.tcp_proxy import Action, Fault, Side, TcpProxy, tcp_proxy
from receiver.core.errors import StoreUnavailable
from receiver.core.types import Verdict
from receiver.store import PostgresPlace, Store, Topic, open_store
from receiver.store.postgres import connection, pool, presence
from receiver.store.postgres.errors import OutcomeUnknown

pytestmark = pytest.mark.anyio

COMMIT = b"COMMIT\0"  # not READ COMMITTED
FEW, BATCH = 2, 9  # the second is enough for a COPY


@pytest.fixture
async def proxy(postgres: PostgresCluster) -> AsyncIterator[TcpProxy]:
    async with tcp_proxy(postgres.port) as proxy:
        yield proxy


@pytest.fixture
async def behind(proxy: TcpProxy, postgres: PostgresCluster, postgres_url: str) -> AsyncIterator[Store]:
    """A store behind the proxy."""
    name = postgres_url.rpartition("/")[2]
    store = await open_store(PostgresPlace(url=postgres.url(name, port=proxy.port), pool=3))
    with lost_copies_forgiven():
        yield store
        proxy.clear()
        await store.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are given up after a second."""
    for name in ("CALL_MOST_S", "COMMIT_MOST_S", "ROLL_BACK_MOST_S"):
        monkeypatch.setattr(connection, name, 1.0)
    for module in (pool, presence):
        monkeypatch.setattr(module, "CALL_MOST_S", 1.0)


@pytest.mark.parametrize("side", ["client", "server"])
async def test_cut_at_every_message_of_a_batch(proxy: TcpProxy, behind: Store, side: Side) -> None:
    senders = CallbackSenders(behind)
    number = 0
    while True:
        tasks = await senders.make_tasks(FEW)
        fault = proxy.add(Fault("cut_before", b"BEGIN", side=side, further=number))
        await senders.send(tasks)
        if not fault.happened.is_set():
            break
        number += 1
        proxy.clear()
    assert number > 20
    assert senders.refused
    await senders.check(behind)


@pytest.mark.parametrize("text", [b"BEGIN", b"UPDATE tasks", b"COPY", COMMIT])
async def test_cut_after_it_was_done(proxy: TcpProxy, behind: Store, text: bytes) -> None:
    """Only the answer is lost; after a COMMIT, what is sent again is a duplicate."""
    senders = CallbackSenders(behind)
    tasks = await senders.make_tasks(BATCH)
    fault = proxy.add(Fault("cut_after", text))
    await senders.send(tasks)
    assert fault.happened.is_set()
    assert senders.refused
    assert (Verdict.DUPLICATE in senders.answered.values()) == (text == COMMIT)
    await senders.check(behind)


@pytest.mark.parametrize("action", ["hang_before", "hang_after"])
@pytest.mark.parametrize("text", [b"BEGIN", b"UPDATE tasks", COMMIT])
@pytest.mark.usefixtures("impatient")
async def test_a_call_that_is_never_answered(proxy: TcpProxy, behind: Store, action: Action, text: bytes) -> None:
    """What was withheld arrives after we have given up, while the callbacks are sent again."""
    senders = CallbackSenders(behind)
    tasks = await senders.make_tasks(BATCH)
    fault = proxy.add(Fault(action, text))
    sending = asyncio.create_task(senders.send(tasks))
    await fault.happened.wait()
    await senders.first_refusal.wait()
    proxy.clear()
    await sending
    assert behind.fault is None
    await senders.check(behind)


@pytest.mark.usefixtures("impatient")
async def test_a_network_that_swallows_everything(proxy: TcpProxy, behind: Store) -> None:
    senders = CallbackSenders(behind)
    tasks = await senders.make_tasks(2 * BATCH)
    await senders.send(tasks[:BATCH])
    proxy.hang()
    sending = asyncio.create_task(senders.send(tasks[BATCH:]))
    await senders.first_refusal.wait()
    with pytest.raises(StoreUnavailable):
        await behind.tasks.get([tasks[0].ref])
    assert await behind.probe()
    proxy.release()
    await sending
    await senders.check(behind)


@pytest.mark.usefixtures("impatient")
async def test_it_closes_though_nothing_answers(proxy: TcpProxy, behind: Store) -> None:
    await behind.paces.get("any")  # so that there is a connection
    proxy.hang()
    await asyncio.wait_for(behind.close(), PATIENCE_S)
    with pytest.raises(StoreUnavailable):
        await behind.paces.get("any")


async def test_answers_that_drip(proxy: TcpProxy, behind: Store) -> None:
    senders = CallbackSenders(behind)
    tasks = await senders.make_tasks(BATCH)
    proxy.piece = 7
    await senders.send(tasks)
    proxy.piece = None
    await senders.check(behind)
    assert not senders.refused


async def test_a_far_away_server(proxy: TcpProxy, behind: Store) -> None:
    """Each trip takes 200 ms, also those that a new connection needs."""
    senders = CallbackSenders(behind)
    tasks = await senders.make_tasks(BATCH)
    proxy.delay_s = 0.1
    proxy.cut()
    await senders.send(tasks)
    proxy.delay_s = 0
    await senders.check(behind)
    assert senders.refused.total() <= BATCH, "none but what met the cut"


async def test_an_outcome_that_is_not_known_wakes_every_loop(proxy: TcpProxy, behind: Store) -> None:
    """What was committed may be work for any of them."""
    counts = {topic: behind.wake_count(topic) for topic in Topic}
    fault = proxy.add(Fault("cut_after", COMMIT))
    with pytest.raises(OutcomeUnknown, match="did not say whether it committed") as unknown:
        async with behind.write() as tx:
            await tx.paces.lock("made-up", "state")
    assert fault.happened.is_set()
    assert all(behind.wake_count(topic) > counts[topic] for topic in Topic)
    assert await behind.paces.get("made-up") == "state"
    assert unknown.value.outcome_unknown, "so that nobody is told that nothing was stored"
