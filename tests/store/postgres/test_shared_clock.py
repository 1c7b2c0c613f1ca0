"""Machines whose clocks are an hour apart go by that of the database, so that leases hold. It is compared again and
again, since a server that takes over may have another."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from kit.fakes import HOUR, MINUTE, FakeProvider
from kit.live_service import until
from kit.submit_loop import Rig, a_submit
from receiver.clocks import boot_clock
from receiver.core.types import Clock, TaskState
from receiver.store import PostgresPlace, Store
from receiver.store.postgres import presence
from receiver.store.postgres.engine import open_postgres
from receiver.store.postgres.shared_clock import SharedClock

pytestmark = pytest.mark.anyio


class OtherMachine:
    """A clock that cannot leap, of a machine that was started earlier or later than ours."""

    def __init__(self, earlier_ms: int) -> None:
        self.earlier_ms = earlier_ms

    def __call__(self) -> int:
        return boot_clock() + self.earlier_ms


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


class Answers:
    """A connection whose answers are under way for so long, in milliseconds, and say so much."""

    def __init__(self, *answers: tuple[int, int]) -> None:
        self.now = 0
        self._answers = iter(answers)

    async def fetchval(self, _: str, *, timeout: float) -> int:
        await asyncio.sleep(0)
        took, said = next(self._answers)
        self.now += took
        return said if timeout else 0


async def test_the_fastest_of_three_answers_counts() -> None:
    """One that was under way for long says little of the time."""
    answers = Answers((900, 5_000), (10, 5_905), (400, 6_700))
    clock = SharedClock(lambda: answers.now)
    await clock.compare(answers)
    assert clock() == answers.now + 5_905 - 905


@pytest.mark.parametrize(("apart", "changed"), [(0, 0), (8, 0), (-8, 0), (9, 9), (-9, -9)])
async def test_what_lies_within_the_doubt_changes_nothing(apart: int, changed: int) -> None:
    """An answer that was under way for 16 ms was made at some time of these."""
    answers = Answers((0, 1_000), (0, 1_000), (0, 1_000), (16, 1_008 + apart), (90, 0), (90, 0))
    clock = SharedClock(lambda: answers.now)
    await clock.compare(answers)
    await clock.compare(answers)
    assert clock() == answers.now + 1_000 + changed
