"""Targets over a database that several processes share: who has one in its turn, and what the others do meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from kit.fakes import HOUR, MAIL, MINUTE, NOW, SECOND, SLACK, Clock, FakeSender, owe
from kit.notify_loop import GONE, WatchfulSender, a_notify, all_that_may_go, next_send, send_all, some, states
from receiver.core.types import MessageRate, Target
from receiver.notify.claims import CALL_MS, PASSED_MS
from receiver.store import PostgresPlace, Store, open_store
from receiver.store.tables.sends import SendTable

pytestmark = pytest.mark.anyio


@pytest.fixture
async def shared(postgres_url: str) -> AsyncIterator[Store]:
    opened = await open_store(PostgresPlace(url=postgres_url, pool=4))
    yield opened
    await opened.close()


async def test_a_target_is_locked_by_one_transaction(shared: Store) -> None:
    names = ["mail", "slack", "unknown"]
    async with shared.write() as tx:
        await tx.sends.add_targets(names[:2])
        await tx.sends.add_targets(names[:2])
    async with shared.write() as tx:
        assert await tx.sends.lock_targets(["slack"]) == ["slack"]
        async with shared.write() as other:
            assert await other.sends.lock_targets(names) == ["mail"]
            assert await other.sends.lock_targets(["mail"], wait=True) == ["mail"]
    async with shared.write() as tx:
        assert await tx.sends.lock_targets(reversed(names), wait=True) == ["mail", "slack"]


async def test_what_another_has_in_its_turn_is_passed_over_and_looked_at_again(
    shared: Store, sender: FakeSender, clock: Clock
) -> None:
    notify = a_notify(shared, sender, clock, SLACK, MAIL)
    await next_send(notify)  # at its start it takes all of them
    await owe(shared, *some(1), *some(1, target="mail"))
    async with shared.write() as tx:
        await tx.sends.lock_targets(["slack"])
        assert await all_that_may_go(notify) == [1], "mail's"
        assert await notify.claim() is None
        assert await notify.next_due() == NOW + PASSED_MS
    assert await all_that_may_go(notify) == [1]
    assert await states(shared) == {"sent": 2}


async def test_a_result_waits_for_its_target(shared: Store, sender: FakeSender, clock: Clock) -> None:
    """So that two processes never change one target at once, and none gives up its result."""
    notify = a_notify(shared, sender, clock, SLACK)
    await owe(shared, *some(1))
    send = await next_send(notify)
    assert send is not None
    async with shared.write() as tx:
        await tx.sends.lock_targets(["slack"])
        carried = asyncio.create_task(notify.carry_out(send))
        await asyncio.wait_for(sender.begun.wait(), 60)
        await asyncio.wait([carried], timeout=0.2)
        assert not carried.done()
        assert await states(shared) == {"sending": 1}
    await asyncio.wait_for(carried, 60)
    assert await states(shared) == {"sent": 1}


async def test_the_time_is_read_after_the_lock(shared: Store, sender: FakeSender, clock: Clock) -> None:
    """What the other one sent while we waited counts for the rate, however late its time is."""
    rated = replace(SLACK, rate=MessageRate(1, MINUTE))
    notify = a_notify(shared, sender, clock, rated)
    await owe(shared, *some(2))
    send = await next_send(notify)
    assert send is not None
    async with shared.write() as tx:
        await tx.sends.lock_targets(["slack"])
        carried = asyncio.create_task(notify.carry_out(send))
        await asyncio.wait([carried], timeout=0.2)
        clock.forward(MINUTE)  # by the time we looked before the lock, the window is over
        await tx.sends.record_times({"slack": [NOW, NOW + MINUTE]})
    await asyncio.wait_for(carried, 60)
    assert await next_send(notify) is None
    assert await notify.next_due() == NOW + 2 * MINUTE


async def test_a_clock_that_is_a_moment_ahead_does_not_open_the_rate(
    shared: Store, sender: FakeSender, clock: Clock
) -> None:
    notify = a_notify(shared, sender, clock, replace(SLACK, rate=MessageRate(1, MINUTE)))
    await owe(shared, *some(1, at=NOW - 2 * HOUR))
    async with shared.write() as tx:
        await tx.sends.record_times({"slack": [NOW + 3]})
    assert await next_send(notify) is None
    assert await notify.next_due() == NOW + 3 + MINUTE
    clock.forward(-HOUR)  # the one that was ahead was put back
    assert await all_that_may_go(notify) == [1]


async def test_who_has_no_room_for_all_that_may_go_calls_the_others(
    shared: Store, sender: FakeSender, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    notify = a_notify(shared, sender, clock, SLACK, MAIL, width=1)
    await owe(shared, *some(3), *some(3, target="mail"))
    calls = []

    async def called(table: SendTable) -> None:
        calls.append(clock())

    monkeypatch.setattr(SendTable, "call_senders", called)
    for forward in (0, CALL_MS - 1, 1):
        clock.forward(forward)
        send = await next_send(notify)
        assert send is not None
        await notify.release_send(send)
        notify._claims.forget_send(send)
    assert calls == [NOW, NOW + CALL_MS]


async def test_three_processes_keep_the_rate_of_each_target(postgres_url: str) -> None:
    """By the database's clock, each with connections of its own. What counts is when a message is claimed."""
    names = [f"t{number}" for number in range(6)]
    targets = [Target(name=name, url="json://t.invalid/", rate=MessageRate(3, SECOND)) for name in names]
    stores = [await open_store(PostgresPlace(url=postgres_url, pool=4)) for _ in range(3)]
    sender: Any = WatchfulSender()

    async def work(store: Store) -> None:
        assert store.clock is not None
        await send_all(store, a_notify(store, sender, store.clock, *targets, width=4), 54)

    try:
        await owe(stores[0], *(it for name in names for it in some(9, target=name)))
        async with asyncio.timeout(120):
            await asyncio.gather(*(work(it) for it in stores))
        queues = await stores[0].sends.target_queues(names)
    finally:
        for store in stores:
            await store.close()
    assert (sender.most, sender.counts) == (1, dict.fromkeys(names, 9))
    for queue in queues:
        assert len(queue.recent) == 9
        assert all(later - at >= SECOND for at, later in zip(queue.recent, queue.recent[3:], strict=False))


async def test_what_failed_is_sent_again_while_others_send(shared: Store, sender: FakeSender, clock: Clock) -> None:
    """A redrive takes targets before notices, as sending does: neither waits for the other in a circle."""
    notify = a_notify(shared, sender, clock, SLACK, MAIL)
    sender.results.extend([GONE] * 40)
    await owe(shared, *some(20), *some(20, target="mail"))

    async def redrive() -> None:
        for _ in range(30):
            async with shared.write() as tx:
                await tx.notices.redrive(clock(), targets=["slack", "mail"], ids=None, to=None)

    async def send() -> None:
        for _ in range(30):
            await all_that_may_go(notify)
            clock.forward(SECOND)

    async with asyncio.timeout(120):
        await asyncio.gather(send(), redrive(), redrive())
    for _ in range(100):
        await redrive()
        await all_that_may_go(notify)
        if set(await states(shared)) == {"sent"}:
            break
        clock.forward(MINUTE)
    else:
        raise AssertionError(f"never done: {await states(shared)}")
