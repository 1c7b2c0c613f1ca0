"""Processes that start: ten at once over an empty database, a newer one beside an older one, and one that may not."""

import asyncio
from itertools import pairwise

import pytest

from kit.callback_senders import CallbackSenders
from kit.live_service import free_port, until
from kit.postgres_cluster import PostgresCluster
from kit.tcp_proxy import tcp_proxy
from receiver.core.errors import SettingsError, StoreError, StoreUnavailable
from receiver.store import PostgresPlace, Store, open_store
from receiver.store.migrations.steps import Migration, load_migrations
from receiver.store.postgres import engine, migrate, presence

pytestmark = pytest.mark.anyio

STEPS = load_migrations("postgres")
NEXT = STEPS[-1].number + 1


async def test_ten_at_once_over_an_empty_database(fresh_postgres_url: str) -> None:
    places = [PostgresPlace(url=fresh_postgres_url, pool=3, role="worker", targets=(f"t{n}",)) for n in range(10)]
    stores = await asyncio.gather(*map(open_store, places))
    try:

        async def all_seen() -> bool:
            return [len(await it.processes()) for it in stores] == [10] * 10

        await until(all_seen)
        assert await stores[0].known_targets() == {f"t{n}" for n in range(10)}
        assert {await it.identity() for it in stores} == {await stores[0].identity()}
        senders = [CallbackSenders(it, at_once=4) for it in stores]
        tasks = await senders[0].make_tasks(40)
        await asyncio.gather(*(it.send(tasks) for it in senders))
        for it in senders:
            await it.check(stores[0])
    finally:
        await asyncio.gather(*(it.close() for it in stores))


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE tasks ADD COLUMN more bigint NOT NULL DEFAULT 0; ALTER TABLE callbacks ADD COLUMN more text",
        'ALTER TABLE tasks ALTER COLUMN label TYPE varchar COLLATE "C"; ALTER TABLE tasks ADD COLUMN more text',
    ],
    ids=["a column more", "another type"],
)
async def test_an_older_process_goes_on_beside_a_newer_one(
    fresh_postgres_url: str, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = await open_store(PostgresPlace(url=fresh_postgres_url, pool=3))
    senders = CallbackSenders(older)
    tasks = await senders.make_tasks(96)
    sending = asyncio.create_task(senders.send(tasks))

    async def some() -> bool:
        return bool(senders.answered)

    await until(some)
    for module in (migrate, engine):
        monkeypatch.setattr(module, "load_migrations", lambda _: [*STEPS, Migration(NEXT, "made-up", change)])
    newer = await open_store(PostgresPlace(url=fresh_postgres_url, pool=3))
    others = CallbackSenders(newer)
    try:
        await others.send(tasks)
        await sending
        for it in (senders, others):
            await it.check(newer)

        async def both_seen() -> bool:
            return {it.schema for it in await older.processes()} == {NEXT - 1, NEXT}

        await until(both_seen)
    finally:
        await newer.close()
        await older.close()


async def test_one_that_ended_is_no_longer_seen(store: Store, postgres_url: str) -> None:
    other = await open_store(PostgresPlace(url=postgres_url, pool=3, targets=("theirs",)))

    async def known() -> bool:
        return "theirs" in await store.known_targets()

    await until(known)
    await other.close()
    assert not await known()


async def test_a_server_that_may_lose_what_it_has_is_warned_of(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await (await open_store(PostgresPlace(url=postgres_url, pool=3))).close()
    assert "fsync=off, so what was answered may be lost" in caplog.text


async def test_what_the_server_will_refuse_again_is_a_wrong_setting(postgres: PostgresCluster) -> None:
    for url, word in (
        (postgres.url("postgres", password="another"), "password"),
        (postgres.url("made_up"), "no database of this name"),
        (postgres.url("postgres", role="nobody"), "refuses"),
        ("postgresql://h:not-a-port/x", "can be used"),
    ):
        with pytest.raises(SettingsError, match=word) as refused:
            await open_store(PostgresPlace(url=url))
        assert "another" not in str(refused.value)


async def test_a_server_that_is_not_there_may_come(postgres: PostgresCluster) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await open_store(PostgresPlace(url=postgres.url("postgres", port=free_port())))


async def test_a_user_without_rights_is_told(postgres: PostgresCluster) -> None:
    name = postgres.make_database(owner="postgres")
    try:
        with pytest.raises((SettingsError, StoreError), match="owner"):
            await open_store(PostgresPlace(url=postgres.url(name)))
    finally:
        postgres.drop_database(name)


async def test_an_idle_process_asks_at_most_once_a_second(
    postgres: PostgresCluster, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat_s = presence.HEARTBEAT_S
    monkeypatch.setattr(presence, "HEARTBEAT_S", 0.02)
    async with tcp_proxy(postgres.port) as proxy:
        url = postgres.url(postgres_url.rpartition("/")[2], port=proxy.port)
        store = await open_store(PostgresPlace(url=url, pool=3))
        try:

            async def enough() -> bool:
                return sum(b"INSERT INTO processes" in it for it in proxy.texts()) >= 10

            await until(enough)
            asked = [it.message for it in proxy.seen if it.side == "client" and it.message.kind in ("P", "Q", "S")]
            beats = [  # asyncpg prepares each statement twice; the one that is run is followed by a sync
                place
                for place, (it, then) in enumerate(pairwise(asked))
                if b"INSERT INTO processes" in it.data and then.kind == "S"
            ]
            between = asked[beats[-3] : beats[-1]]
            assert 2 <= sum(it.kind in ("Q", "S") for it in between) / 2 <= beat_s
        finally:
            await store.close()
