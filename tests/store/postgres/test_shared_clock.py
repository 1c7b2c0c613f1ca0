"""Machines whose clocks are an hour apart go by that of the database, so that leases hold. It is compared again and
again, since a server that takes over may have another."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from kit.fakes import HOUR, MINUTE, FakeProvider
from kit.live_service import until
from kit.submit_loop import Rig, a_submit
from receiver.core.types import Clock, TaskState
from receiver.store import PostgresPlace, Store
from receiver.store.postgres import presence
from receiver.store.postgres.engine import open_postgres
from receiver.store.postgres.shared_clock import SharedClock, boot_ms

pytestmark = pytest.mark.anyio


class OtherMachine:
    """A clock that cannot leap, of a machine that was started earlier or later than ours."""

    def __init__(self, earlier_ms: int) -> None:
        self.earlier_ms = earlier_ms

    def __call__(self) -> int:
        return boot_ms() + self.earlier_ms


def clock_of(store: Store) -> Clock:
    assert store.clock is not None
    return store.clock


@pytest.fixture
async def stores(postgres_url: str) -> AsyncIterator[list[Store]]:
    places = [PostgresPlace(url=postgres_url, pool=3) for _ in range(3)]
    opened = [
        await open_postgres(place, OtherMachine(apart)) for place, apart in zip(places, (-HOUR, 0, HOUR), strict=True)
    ]
    yield list(opened)
    for store in opened:
        await store.close()


async def test_all_have_the_time_of_the_database(stores: list[Store], postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        before = await connection.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        ours = [clock_of(it)() for it in stores]
        after = await connection.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
    finally:
        await connection.close()
    assert all(before - MINUTE < it < after + MINUTE for it in ours)


async def test_what_one_has_claimed_the_others_leave_alone(stores: list[Store]) -> None:
    """Until the lease has ended by the one clock."""
    rigs = [Rig(it, FakeProvider(), clock_of(it), a_submit(it, FakeProvider(), clock_of(it))) for it in stores]  # type: ignore[arg-type]
    [task] = await rigs[0].queue()
    assert await rigs[0].submit.claim() is not None
    for rig in (*rigs[1:], rigs[0]):
        assert await rig.submit.claim() is None
    [claimed] = (await stores[2].tasks.get([task.ref])).values()
    assert claimed.state is TaskState.SUBMITTING
    for store in stores:
        left = (claimed.lease_until or 0) - clock_of(store)()
        assert 0 < left <= 10 * MINUTE


async def test_processes_are_alive_to_each_other(stores: list[Store]) -> None:
    async def all_seen() -> bool:
        return all([len(await store.processes()) == len(stores) for store in stores])

    await until(all_seen)


async def test_it_is_right_again_after_a_heartbeat(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a failover to a server whose clock is another."""
    monkeypatch.setattr(presence, "HEARTBEAT_S", 0.05)
    machine = OtherMachine(0)
    store = await open_postgres(PostgresPlace(url=postgres_url, pool=3), machine)
    try:

        async def listens() -> bool:
            return bool(store.listening)

        await until(listens)
        right = clock_of(store)()
        machine.earlier_ms = -HOUR
        assert clock_of(store)() < right - MINUTE

        async def right_again() -> bool:
            return abs(clock_of(store)() - right) < 10 * MINUTE

        await until(right_again)
    finally:
        await store.close()


async def test_the_fastest_of_three_answers_counts() -> None:
    """One that was under way for long says little of the time."""
    now, answers = 0, iter([(900, 5_000), (10, 5_905), (400, 6_700)])

    class Connection:
        async def fetchval(self, _: str, *, timeout: float) -> int:
            nonlocal now
            await asyncio.sleep(0)
            took, said = next(answers)
            now += took
            return said + int(timeout * 0)

    clock = SharedClock(lambda: now)
    await clock.compare(Connection())
    assert clock() == now + 5_905 - 905
