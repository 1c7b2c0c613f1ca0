"""What crashes cost a notice: nothing while it was not tried, and its life if it is what ends the process."""

import asyncio
from collections.abc import Collection

import pytest
from msgspec.structs import replace

from kit.fakes import HOUR, MINUTE, SECOND, SLACK, Clock, FakeSender, a_notice, attention, claimed, notices, owe
from kit.notify_loop import DOWN, a_notify, all_that_may_go, some, states
from receiver.core.pacing import BEGUN_MOST, PUT_OFF_MS, SUSPECT_AFTER
from receiver.core.schedule import PROBES
from receiver.core.types import AttemptResult, NoticeEvent, NoticeState, Send, Target
from receiver.notify.dispatch import NoticeDispatcher
from receiver.notify.messages.message import Message
from receiver.store import Store

pytestmark = pytest.mark.anyio

OTHERS = [replace(SLACK, name=f"other{number}") for number in range(3)]
CRASHES_MOST = SUSPECT_AFTER + BEGUN_MOST


class Killed(BaseException):
    """The process ended here."""


class PoisonedSender(FakeSender):
    """Ends the process when it sends to one of `deadly`."""

    def __init__(self, deadly: Collection[str] = ()) -> None:
        super().__init__()
        self.deadly = deadly
        self.begins: list[str] = []

    async def send(self, target: Target, message: Message) -> AttemptResult:
        self.begins.append(target.name)
        if target.name in self.deadly:
            raise Killed
        return await super().send(target, message)


async def start(store: Store, sender: FakeSender, clock: Clock, *targets: Target) -> NoticeDispatcher:
    """The loop of a new process."""
    async with store.write() as tx:
        await tx.sends.void_leases()
    return a_notify(store, sender, clock, *targets)


async def run_until_killed(notify: NoticeDispatcher) -> bool:
    """What the worker does: as many as it may at once, until there is nothing left (False) or the process ends."""
    while True:
        sends: list[Send] = []
        while len(sends) < notify.width and (send := await notify.claim()) is not None:
            sends.append(send)
        if not sends:
            return False
        results = await asyncio.gather(*(notify.carry_out(it) for it in sends), return_exceptions=True)
        if any(isinstance(it, Killed) for it in results):
            return True


async def test_a_notice_that_was_never_tried_survives_any_number_of_crashes(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    """Ten of them made the first due one dead."""
    await owe(store, a_notice())
    for _ in range(5 * CRASHES_MOST):
        notify = await start(store, sender, clock, SLACK)
        await claimed(notify.claim)
    assert sender.sent == []
    assert await all_that_may_go(await start(store, sender, clock, SLACK)) == [1]
    assert await states(store) == {"sent": 1}


async def test_neither_does_a_lease_that_ends_again_and_again_cost_it_its_life(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    await owe(store, a_notice())
    notify = a_notify(store, sender, clock, SLACK)
    for _ in range(5 * CRASHES_MOST):
        await claimed(notify.claim)
        clock.forward(MINUTE)
    assert await all_that_may_go(notify) == [1]


async def test_a_notice_that_ends_the_process_is_dead_in_the_end_and_the_others_are_told(
    store: Store, clock: Clock
) -> None:
    sender = PoisonedSender(["slack"])
    await owe(store, a_notice())
    for _ in range(CRASHES_MOST):
        assert await run_until_killed(await start(store, sender, clock, SLACK, *OTHERS))
        clock.forward(PROBES[-1])
    assert await run_until_killed(await start(store, sender, clock, SLACK, *OTHERS)) is False
    [notice] = await notices(store, event=NoticeEvent.COMPLETED)
    assert (notice.state, notice.attempts) == (NoticeState.DEAD, 0)
    assert notice.error == f"tried {BEGUN_MOST} times, and the process ended each time"
    assert set(await attention(store)) == {"target:slack"}
    assert sender.begins.count("slack") == CRASHES_MOST


async def test_any_number_of_kills_within_minutes_costs_a_notice_that_had_begun_nothing(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    """A machine under load, or a person, may end each life before its first send is done."""
    await owe(store, a_notice())
    killed = PoisonedSender(["slack"])
    for _ in range(20 * CRASHES_MOST):
        await run_until_killed(await start(store, killed, clock, SLACK))
        clock.forward(SECOND)
    assert CRASHES_MOST > len(killed.begins) > SUSPECT_AFTER
    clock.forward(PROBES[-1])
    assert await all_that_may_go(await start(store, sender, clock, SLACK)) == [1]
    assert await states(store) == {"sent": 1}


async def test_while_a_suspect_waits_the_others_of_its_target_go(store: Store, clock: Clock) -> None:
    await owe(store, a_notice())
    killed = PoisonedSender(["slack"])
    for _ in range(SUSPECT_AFTER + 1):
        assert await run_until_killed(await start(store, killed, clock, SLACK))
    await owe(store, *some(2))
    sender = FakeSender()
    notify = await start(store, sender, clock, SLACK)
    assert await all_that_may_go(notify) == [1, 1]
    assert await states(store) == {"due": 1, "sent": 2}
    assert await notify.next_due() == clock() + PROBES[0]


async def test_the_notices_beside_one_that_ends_the_process_are_sent(store: Store, clock: Clock) -> None:
    """They were under way each time it ended, so that nobody could tell which of them it was."""
    sender = PoisonedSender(["other1"])
    targets = (SLACK, *OTHERS)
    await owe(store, *(it for target in targets for it in some(3, target=target.name)))
    crashes = 0
    while await run_until_killed(await start(store, HangsWithPoison(sender), clock, *targets)):
        crashes += 1
        clock.forward(PROBES[-1])
    assert crashes == 3 * CRASHES_MOST, "three of them end it, each as often as it may"
    found = await notices(store, event=NoticeEvent.COMPLETED)
    assert {(it.target, it.state) for it in found} == {
        ("other1", NoticeState.DEAD),
        *((name, NoticeState.SENT) for name in ("slack", "other0", "other2")),
    }


class HangsWithPoison(FakeSender):
    """Sends as `sender` does, but nothing arrives while the poison is under way too."""

    def __init__(self, sender: PoisonedSender) -> None:
        super().__init__()
        self._sender = sender
        self._under_way: set[str] = set()

    async def send(self, target: Target, message: Message) -> AttemptResult:
        self._under_way.add(target.name)
        for _ in range(5):  # all that were claimed together have begun
            await asyncio.sleep(0)
        try:
            if self._under_way & set(self._sender.deadly):
                raise Killed
            return await self._sender.send(target, message)
        finally:
            self._under_way.discard(target.name)


async def test_a_suspect_goes_out_alone(store: Store, sender: FakeSender, clock: Clock) -> None:
    await owe(store, a_notice())
    for _ in range(SUSPECT_AFTER):
        await claimed((await start(store, sender, clock, SLACK)).claim)
    await owe(store, *some(2, target="other0"), *some(2, target="other1"))
    notify = await start(store, sender, clock, SLACK, *OTHERS)
    suspect = await claimed(notify.claim)
    assert suspect.target == "slack"
    assert await notify.claim() is None
    await notify.carry_out(suspect)
    assert {(await claimed(notify.claim)).target for _ in range(2)} == {"other0", "other1"}
    assert (await states(store))["sent"] == 1


async def test_a_suspect_waits_for_what_is_under_way_and_nothing_overtakes_it(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    await owe(store, a_notice())
    for _ in range(SUSPECT_AFTER):
        await claimed((await start(store, sender, clock, SLACK)).claim)
    notify = await start(store, sender, clock, SLACK, *OTHERS)
    sender.results.append(AttemptResult(put_off=True))
    await notify.carry_out(await claimed(notify.claim))
    await owe(store, *some(1, target="other0"))
    under_way = await claimed(notify.claim)
    clock.forward(PUT_OFF_MS)
    await owe(store, *some(1, target="other1"))
    assert under_way.target == "other0"
    assert await notify.claim() is None
    await notify.carry_out(under_way)
    assert (await claimed(notify.claim)).target == "slack"


async def test_a_clock_that_is_set_back_makes_a_suspect_wait_no_longer_than_a_lease(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    await owe(store, a_notice())
    for _ in range(SUSPECT_AFTER):
        await claimed((await start(store, sender, clock, SLACK)).claim)
    notify = await start(store, sender, clock, SLACK, *OTHERS)
    sender.results.append(AttemptResult(put_off=True))
    await notify.carry_out(await claimed(notify.claim))
    await owe(store, *some(1, target="other0"))
    await claimed(notify.claim)  # and it is never heard of again
    clock.forward(-HOUR)
    assert await notify.claim() is None
    clock.forward(MINUTE)
    assert (await claimed(notify.claim)).target == "slack"


@pytest.mark.parametrize("begun", [True, False])
async def test_a_stop_costs_a_suspect_nothing(store: Store, sender: FakeSender, clock: Clock, begun: bool) -> None:
    await owe(store, a_notice())
    for _ in range(SUSPECT_AFTER):
        await claimed((await start(store, sender, clock, SLACK)).claim)
    sender.gate = asyncio.Event()
    for _ in range(2 * CRASHES_MOST):
        sender.begun.clear()
        notify = await start(store, sender, clock, SLACK)
        send = await claimed(notify.claim)
        if begun:
            carried = asyncio.create_task(notify.carry_out(send))
            await sender.begun.wait()
            carried.cancel()
            await asyncio.gather(carried, return_exceptions=True)
        else:
            await notify.release_send(send)
    sender.gate.set()
    assert await all_that_may_go(await start(store, sender, clock, SLACK)) == [1]


async def test_a_recorded_failure_ends_the_suspicion(store: Store, sender: FakeSender, clock: Clock) -> None:
    await owe(store, a_notice())
    for _ in range(SUSPECT_AFTER + 2):
        await claimed((await start(store, sender, clock, SLACK)).claim)
    sender.results.append(DOWN)
    notify = await start(store, sender, clock, SLACK)
    await notify.carry_out(await claimed(notify.claim))
    clock.forward(MINUTE)
    assert (await claimed(notify.claim)).claims == 1
