"""What one process calls, the others hear; a connection that hears nothing any more is noticed, and work is found all
the same."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from kit.fakes import a_ref, a_task, put
from kit.live_service import until
from kit.pgbouncer import missing as missing_pooler
from kit.pgbouncer import pgbouncer
from kit.postgres_cluster import PostgresCluster
from kit.tcp_proxy import TcpProxy, tcp_proxy
from receiver.store import PostgresPlace, Store, Topic, open_store
from receiver.store.postgres import engine, pool, presence, shared_clock
from receiver.store.signals import ChangeListeners

pytestmark = pytest.mark.anyio

LONG_S = 170.0


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    opened = await open_store(PostgresPlace(url=postgres_url, pool=3))
    await hears(opened)
    yield opened
    await opened.close()


@pytest.fixture
async def proxy(postgres: PostgresCluster) -> AsyncIterator[TcpProxy]:
    async with tcp_proxy(postgres.port) as proxy:
        yield proxy


@pytest.fixture
async def behind(proxy: TcpProxy, postgres: PostgresCluster, postgres_url: str) -> AsyncIterator[Store]:
    """Another process's store, which hears through the proxy."""
    name = postgres_url.rpartition("/")[2]
    place = PostgresPlace(url=postgres_url, listen_url=postgres.url(name, port=proxy.port), pool=3)
    opened = await open_store(place)
    await hears(opened)
    yield opened
    proxy.clear()
    await opened.close()


async def hears(store: Store, how: bool = True) -> None:
    async def so() -> bool:
        return store.listening is how

    await until(so)


async def woken(store: Store, topic: Topic, since: int) -> None:
    while store.wake_count(topic) == since:
        await store.wait_for_wake(topic, since, LONG_S)


async def test_work_and_changes_are_heard_by_the_others(store: Store, behind: Store) -> None:
    since = behind.wake_count(Topic.SUBMIT)
    listener = behind.open_listener()
    task = a_task()
    await put(store, task)
    store.wake(Topic.SUBMIT)
    await woken(behind, Topic.SUBMIT, since)
    assert await listener.take_refs(LONG_S) == [task.ref]


async def test_a_thousand_changes_are_heard_in_calls_that_the_server_takes(store: Store, behind: Store) -> None:
    listener = behind.open_listener()
    refs = {a_ref() for _ in range(ChangeListeners.REFS_MOST)}
    async with store.write() as tx:
        await tx.paces.lock("any", "")
        tx.connection.touched |= refs  # type: ignore[attr-defined]  # as a thousand tasks would
    heard = set[str]()
    while heard != refs:
        some = await listener.take_refs(LONG_S)
        assert some, f"{len(refs - heard)} were not heard of"
        heard.update(some)


async def test_more_than_a_listener_keeps_is_not_sent(store: Store, behind: Store, proxy: TcpProxy) -> None:
    behind.open_listener()
    since = behind.wake_count(Topic.PRUNE)
    for _ in range(3):
        async with store.write() as tx:
            await tx.paces.lock("any", "")
            tx.connection.touched |= {a_ref() for _ in range(ChangeListeners.REFS_MOST)}  # type: ignore[attr-defined]
    store.wake(Topic.PRUNE)
    await woken(behind, Topic.PRUNE, since)
    calls = [it for it in proxy.texts("server") if it[:1] == b"A" and b"receiver" in it]
    assert max(map(len, calls)) < 8000
    assert sum(it.count(b"-") // 4 for it in calls) <= 3 * ChangeListeners.REFS_MOST


async def test_a_cut_connection_is_replaced_at_once(
    store: Store, behind: Store, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only at the next heartbeat; what was called meanwhile is made up for by looking for all kinds of work."""
    monkeypatch.setattr(presence, "HEARTBEAT_S", 3600.0)
    since = behind.wake_count(Topic.SWEEP)
    await proxy.refuse()
    proxy.cut()
    await hears(behind, False)
    store.wake(Topic.SWEEP)
    await proxy.accept()
    await woken(behind, Topic.SWEEP, since)
    await hears(behind)


async def test_a_network_that_swallows_calls_is_noticed_by_the_heartbeat(
    store: Store, behind: Store, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "HEARTBEAT_S", 0.05)
    for module in (presence, pool, shared_clock):
        monkeypatch.setattr(module, "CALL_MOST_S", 0.5)
    proxy.cut()  # the heartbeat that is due is as long as it was
    await hears(behind, False)
    await hears(behind)
    proxy.hang()
    await hears(behind, False)
    since = behind.wake_count(Topic.ARCHIVE)
    store.wake(Topic.ARCHIVE)
    proxy.release()
    await woken(behind, Topic.ARCHIVE, since)
    await hears(behind)


async def test_who_does_not_hear_looks_for_work_every_two_seconds(
    behind: Store, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "DEAF_INTERVAL_S", 0.01)
    await proxy.refuse()
    proxy.cut()
    await hears(behind, False)
    await asyncio.wait_for(behind.wait_for_wake(Topic.NOTIFY, behind.wake_count(Topic.NOTIFY), 3600.0), LONG_S)


async def test_a_call_of_another_program_on_our_channel_is_passed_over(store: Store, postgres_url: str) -> None:
    other = await asyncpg.connect(postgres_url)
    try:
        for payload in ("", "x", "a b", "someone made-up,submit not-a-ref"):
            since = store.wake_count(Topic.SUBMIT)
            await other.execute("SELECT pg_notify('receiver', $1)", payload)
    finally:
        await other.close()
    await woken(store, Topic.SUBMIT, since)
    assert store.listening


@pytest.mark.parametrize("direct", [False, True])
async def test_through_a_pooler(
    postgres: PostgresCluster,
    postgres_url: str,
    direct: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It takes LISTEN, and nothing is ever heard; so that is tried at the start."""
    if why := missing_pooler():
        pytest.skip(why)
    monkeypatch.setattr(presence, "HEARD_MOST_S", LONG_S if direct else 0.3)
    name = postgres_url.rpartition("/")[2]
    with pgbouncer(postgres) as pooler:
        opened = await open_store(
            PostgresPlace(url=pooler.url(name), listen_url=postgres_url if direct else None, pool=3)
        )
        try:
            if direct:
                await hears(opened)
            else:

                async def warned() -> bool:
                    return "set DATABASE_LISTEN_URL to the database itself" in caplog.text

                await until(warned)
                monkeypatch.setattr(engine, "DEAF_INTERVAL_S", 0.01)
                since = opened.wake_count(Topic.NOTIFY)
                await asyncio.wait_for(opened.wait_for_wake(Topic.NOTIFY, since, 3600.0), LONG_S)
            assert opened.listening is direct
        finally:
            await opened.close()
