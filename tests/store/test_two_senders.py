"""Two processes that send over one database: here two loops over one store, each with what a process has to itself."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from kit.fakes import DAY, HOUR, MAIL, MINUTE, NOW, SECOND, SLACK, Clock, FakeSender, attention, notices, owe
from kit.notify_loop import DOWN, WatchfulSender, a_notify, all_that_may_go, begin, next_send, send_all, some, states
from receiver.core.errors import StaleUpdate
from receiver.core.pacing import WaitReason
from receiver.core.types import MessageRate, Notice, Target
from receiver.notify.dispatch import LEASE_MARGIN_MS
from receiver.store import NewSend, Store
from receiver.store.tables.sends import SendTable

pytestmark = pytest.mark.anyio
LEASE = 30 * SECOND + LEASE_MARGIN_MS
RATED = replace(SLACK, rate=MessageRate(2, MINUTE))
MANY = tuple(Target(name=f"t{number}", url="json://t.invalid/") for number in range(7))


async def test_a_target_has_one_send_at_a_time_and_everything_is_sent_once(store: Store, clock: Clock) -> None:
    sender: Any = WatchfulSender()
    await owe(store, *(it for target in MANY for it in some(12, target=target.name)))
    loops = [a_notify(store, sender, clock, *MANY, width=width) for width in (2, 3, 7)]
    async with asyncio.timeout(120):
        await asyncio.gather(*(send_all(store, it, 84) for it in loops))
    assert sender.most == 1
    assert sender.counts == {target.name: 12 for target in MANY}
    assert [it.attempts for it in await notices(store)] == [1] * 84


async def test_each_takes_what_the_other_leaves(store: Store, sender: FakeSender, clock: Clock) -> None:
    one, other = (a_notify(store, sender, clock, SLACK, MAIL, width=1) for _ in range(2))
    await owe(store, *some(2), *some(2, target="mail"))
    first, second = await next_send(one), await next_send(other)
    assert first is not None
    assert second is not None
    assert {first.target, second.target} == {"slack", "mail"}
    assert await next_send(one) is None, "it has as many under way as it may"
    await one.carry_out(first)
    third = await next_send(other)
    assert third is None, "it has one under way, too"
    third = await next_send(one)
    assert third is not None
    assert third.target == first.target, "what the other has under way waits for its end"


async def test_a_rate_is_kept_over_both_and_by_one_that_starts_later(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    one, other = a_notify(store, sender, clock, RATED), a_notify(store, sender, clock, RATED)
    await owe(store, *some(5))
    assert await all_that_may_go(one) == [1, 1]
    clock.forward(SECOND)
    for notify in (one, other, a_notify(store, sender, clock, RATED)):
        assert await next_send(notify) is None
        assert await notify.next_due() == NOW + MINUTE
        [wait] = await notify.find_waits((await notices(store))[-1:])
        assert wait is not None
        assert (wait.why, wait.until) == (WaitReason.RATE, NOW + MINUTE)
    clock.now = NOW + MINUTE
    assert await all_that_may_go(other) == [1, 1]
    assert await all_that_may_go(one) == []


async def test_with_different_settings_each_applies_its_own_rate_to_all_that_went(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    slow = a_notify(store, sender, clock, replace(SLACK, rate=MessageRate(1, HOUR)))
    fast = a_notify(store, sender, clock, replace(SLACK, rate=MessageRate(3, MINUTE)))
    await owe(store, *some(9))
    assert await all_that_may_go(slow) == [1]
    assert await all_that_may_go(fast) == [1, 1]
    clock.forward(MINUTE)
    assert await all_that_may_go(slow) == []
    assert await all_that_may_go(fast) == [1, 1, 1]
    clock.forward(HOUR - MINUTE)
    assert await all_that_may_go(slow) == [], "the last went an hour minus a minute ago"
    clock.forward(MINUTE)
    assert await all_that_may_go(slow) == [1]


async def test_a_send_whose_lease_ran_out_is_the_others(store: Store, sender: FakeSender, clock: Clock) -> None:
    """What the first one brings then is too late, unless it was delivered."""
    one, other = a_notify(store, sender, clock, SLACK), a_notify(store, sender, clock, SLACK)
    await owe(store, *some(1))
    late = await next_send(one)
    assert late is not None
    assert await next_send(other) is None
    assert await other.next_due() == NOW + LEASE
    end = await begin(one, sender, late)
    clock.forward(LEASE)
    again = await next_send(other)
    assert again is not None
    assert (again.id, again.claim) == (late.id, late.claim + 1)
    sender.results.append(DOWN)
    await end()
    assert await states(store) == {"sending": 1}, "the failure of a lost claim says nothing"
    await other.carry_out(again)
    assert await states(store) == {"sent": 1}
    assert await next_send(one) is await next_send(other) is None


@pytest.mark.parametrize("taken", [True, False])
async def test_one_that_stood_still_between_its_claim_and_its_sending_sends_nothing(
    store: Store, sender: FakeSender, clock: Clock, taken: bool
) -> None:
    """Once it can no longer be done within the lease, another may be sending it at the same moment."""
    one, other = a_notify(store, sender, clock, SLACK), a_notify(store, sender, clock, SLACK)
    await owe(store, *some(1))
    late = await next_send(one)
    assert late is not None
    clock.forward(LEASE if taken else LEASE_MARGIN_MS + 1)
    again = await next_send(other)
    assert (again is not None) is taken
    await one.carry_out(late)
    assert sender.sent == []
    again = again or await next_send(other)
    assert again is not None, "it was given back"
    assert again.claims == 1 + taken
    await other.carry_out(again)
    assert [(it.state, it.attempts) for it in await notices(store)] == [("sent", 1)]


async def test_an_older_claim_says_nothing_of_a_newer_one_of_the_same_process(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    notify = a_notify(store, sender, clock, SLACK)
    await owe(store, *some(1))
    old = await next_send(notify)
    clock.forward(LEASE)
    new = await next_send(notify)
    assert old is not None
    assert new is not None
    await notify.carry_out(old)
    assert sender.sent == []
    await notify.carry_out(new)
    assert await states(store) == {"sent": 1}


async def test_only_what_is_free_is_claimed(store: Store, clock: Clock) -> None:
    await owe(store, *some(1))
    async with store.write() as tx:
        [send] = await tx.sends.open_sends([NewSend("slack", NOW)], "one", NOW, NOW + LEASE)
    for now, claims in ((NOW + LEASE - 1, 0), (NOW + LEASE, 1), (NOW + LEASE, 0)):
        async with store.write() as tx:
            assert len(await tx.sends.claim([send.id], "other", now, now + LEASE)) == claims
    async with store.write() as tx:
        await tx.sends.record_sent(send, NOW)
    async with store.write() as tx:
        assert await tx.sends.claim([send.id], "other", NOW + HOUR, NOW + 2 * HOUR) == [], "it is sent"


async def test_a_notice_that_another_took_first_is_in_one_send(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await owe(store, *some(1))
    [notice] = await notices(store)
    async with store.write() as tx:
        await tx.sends.open_sends([NewSend("slack", NOW)], "one", NOW, NOW + LEASE)

    async def as_before(table: SendTable, opening: NewSend) -> list[int]:
        assert notice.id is not None
        return [notice.id]

    monkeypatch.setattr(SendTable, "_member_ids", as_before)
    with pytest.raises(StaleUpdate):
        async with store.write() as tx:
            await tx.sends.open_sends([NewSend("slack", NOW)], "other", NOW, NOW + LEASE)


# -- targets that are gone --


async def test_what_is_owed_to_a_target_that_another_process_has_is_left_to_it(
    store: Store, sender: FakeSender, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that starts with an older configuration buries nothing; nor what nobody has, before a day is over."""
    elsewhere = {"mail"}

    async def known_targets() -> frozenset[str]:
        return frozenset(elsewhere)

    monkeypatch.setattr(store, "known_targets", known_targets)
    monkeypatch.setattr(store, "shared", True)
    await owe(store, *some(2, target="mail"), *some(1, target="web"))
    notify = a_notify(store, sender, clock, SLACK)

    async def open_ones() -> list[Notice]:
        return [it for it in await notices(store) if it.state == "due"]

    assert await all_that_may_go(notify) == [1], "that something is owed to web, which nobody has"
    assert [it.target for it in await open_ones()] == ["mail", "mail", "web"], "for a day it is left alone, too"
    elsewhere.clear()  # it is gone, with its settings
    clock.forward(HOUR - 1)
    assert await all_that_may_go(notify) == []
    clock.forward(1)
    assert await all_that_may_go(notify) == [1], "that something is owed to mail"
    told = []
    for _ in range(24):
        clock.forward(HOUR)
        told += await all_that_may_go(notify)
    assert told == [1, 1], "of web after a day, and of mail an hour later"
    assert await open_ones() == []
    assert await attention(store) == ["targets-gone:web", "targets-gone:mail"] * 2


async def test_a_target_that_is_seen_again_or_for_which_nobody_looked_is_left_alone_for_a_day_anew(
    store: Store, sender: FakeSender, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = set[str]()

    async def known_targets() -> frozenset[str]:
        return frozenset(elsewhere)

    monkeypatch.setattr(store, "known_targets", known_targets)
    monkeypatch.setattr(store, "shared", True)
    await owe(store, *some(1, target="web"))

    async def look_hourly(hours: int) -> dict[str, int]:
        for _ in range(hours):
            await all_that_may_go(a_notify(store, sender, clock, SLACK))
            clock.forward(HOUR)
        return {it.state.value: 1 for it in await notices(store) if it.target == "web"}

    assert await look_hourly(24) == {"due": 1}
    elsewhere.add("web")
    assert await look_hourly(2) == {"due": 1}
    elsewhere.clear()
    assert await look_hourly(24) == {"due": 1}
    clock.forward(DAY)  # nobody runs
    assert await look_hourly(24) == {"due": 1}
    clock.now -= 30 * DAY  # it had been set wrongly
    assert await look_hourly(24) == {"due": 1}
    assert await look_hourly(1) == {"dead": 1}
