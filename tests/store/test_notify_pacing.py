"""Notices out, in good manners: rests, rates, what we put off, pictures that are to blame, and turns."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.fakes import HOUR, MAIL, MINUTE, NOW, SECOND, SLACK, Clock, FakeSender, attention, claimed, notices, owe
from kit.notify_loop import BUSY, DOWN, GONE, SCHEDULE, a_notify, all_that_may_go, some, states
from receiver.core import pacing
from receiver.core.types import AttachedPicture, AttemptResult, MessageRate, MessageStyle, NoticeEvent, Send
from receiver.notify.claims import SendResult
from receiver.store import Store, open_store

pytestmark = pytest.mark.anyio


# -- rests --


async def test_after_three_failures_a_target_rests_and_one_send_probes(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    notify = a_notify(store, sender, clock, SLACK, MAIL)
    await owe(store, *some(20))
    sender.results.extend([DOWN] * 3)
    assert await all_that_may_go(notify) == [1, 1, 1, 1], "three that fail, and mail is told"
    assert await attention(store) == ["target:slack"]
    assert await notify.next_due() == NOW + 5 * SECOND
    for gap in (5, 30, 30, 30, 120):  # those of the first, the second, the third, and the first again
        clock.forward(gap * SECOND)
        sender.results.append(DOWN)
        assert await all_that_may_go(notify) == [1]
    assert [it.attempts for it in await notices(store, event=NoticeEvent.COMPLETED)] == [3, 3, 2, *[0] * 17]


async def test_a_success_ends_it_and_all_that_waited_goes(store: Store, sender: FakeSender, clock: Clock) -> None:
    notify = a_notify(store, sender, clock, SLACK)
    await owe(store, *some(20))
    sender.results.extend([DOWN] * 3)
    await all_that_may_go(notify)
    clock.forward(5 * SECOND)
    assert await all_that_may_go(notify) == [1] * 20
    assert await states(store) == {"sent": 20}


async def test_a_rest_outlives_the_process(sender: FakeSender, clock: Clock, tmp_path: Path) -> None:
    before = await open_store(tmp_path / "r.db")
    await owe(before, *some(5))
    sender.results.extend([DOWN] * 3)
    await all_that_may_go(a_notify(before, sender, clock, SLACK))
    await before.close()
    store = await open_store(tmp_path / "r.db")
    notify = a_notify(store, sender, clock, SLACK)
    assert await all_that_may_go(notify) == []
    assert await notify.next_due() == NOW + 5 * SECOND
    await store.close()


async def test_a_message_that_is_always_refused_does_not_hold_up_the_others_for_long(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    """A rest is never longer than five minutes, however far away the next try of what was refused is."""
    notify = a_notify(store, sender, clock, SLACK)
    await owe(store, *some(1))
    for gap in (0, *SCHEDULE[:3]):
        clock.forward(gap)
        sender.results.append(DOWN)
        assert await all_that_may_go(notify) == [1]
    await owe(store, *some(2, at=clock()))
    assert await all_that_may_go(notify) == []
    clock.forward(pacing.REST_MOST)
    assert await all_that_may_go(notify) == [1, 1]


async def test_a_target_that_gives_up_on_everything_is_not_hammered(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    notify = a_notify(store, sender, clock, SLACK)
    await owe(store, *some(20))
    sender.results.extend([GONE] * 20)
    assert await all_that_may_go(notify) == [1, 1, 1]
    clock.forward(5 * SECOND)
    assert await all_that_may_go(notify) == [1]


async def test_a_redrive_ends_a_rest_and_lets_one_probe(store: Store, sender: FakeSender, clock: Clock) -> None:
    notify = a_notify(store, sender, clock, SLACK)
    await owe(store, *some(20))
    sender.results.extend([GONE] * 4)
    await all_that_may_go(notify)
    async with store.write() as tx:
        assert await tx.notices.redrive(clock(), targets=["slack"], ids=None, to=None) == 3
    assert await all_that_may_go(notify) == [1], "it fails still, and rests again"
    async with store.write() as tx:
        await tx.notices.redrive(clock(), targets=["slack"], ids=None, to=None)
    assert await all_that_may_go(notify) == [1] * 20


async def test_what_a_service_asks_for_is_granted_to_all_its_messages_an_hour_at_most(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    notify = a_notify(store, sender, clock, SLACK)
    await owe(store, *some(2))
    sender.results.append(BUSY)
    assert await all_that_may_go(notify) == [1]
    assert await notify.next_due() == NOW + 40 * SECOND
    clock.forward(40 * SECOND)
    sender.results.append(replace(BUSY, retry_after_ms=9 * HOUR))
    assert await all_that_may_go(notify) == [1]
    assert await notify.next_due() == clock() + HOUR


# -- what we put off, rates --


async def test_what_we_could_not_begin_costs_no_try_and_is_no_fault_of_the_target(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    notify = a_notify(store, sender, clock, SLACK)
    await owe(store, *some(3))
    for _ in range(30):
        sender.results.append(AttemptResult(error="not sent: too many hanging sends", put_off=True))
        assert await all_that_may_go(notify) == [1], "and the target is left alone meanwhile"
        assert await notify.next_due() == clock() + pacing.PUT_OFF_MS
        clock.forward(pacing.PUT_OFF_MS)
    assert {(it.attempts, it.error) for it in await notices(store)} == {(0, None)}
    assert await all_that_may_go(notify) == [1, 1, 1]
    assert await attention(store) == []


async def test_a_rate_spreads_messages_and_the_loop_knows_when_it_may_go_on(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    notify = a_notify(store, sender, clock, replace(SLACK, rate=MessageRate(2, MINUTE)), MAIL)
    await owe(store, *some(4), *some(4, target="mail"))
    assert await all_that_may_go(notify) == [1] * 6
    assert await notify.next_due() == NOW + MINUTE
    clock.forward(MINUTE)
    assert await all_that_may_go(notify) == [1, 1]


# -- pictures --

SHOWN = replace(SLACK, style=MessageStyle.NTFY)
PICTURE = AttachedPicture("/archive/sheet.jpg")


async def with_picture(send: Send) -> AttachedPicture | None:
    return PICTURE


async def test_a_picture_that_was_to_blame_is_left_out_from_then_on(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    notify = a_notify(store, sender, clock, SHOWN, picture=with_picture)
    await owe(store, *some(1))
    sender.results.extend([AttemptResult(error="error=413"), DOWN])
    for gap in (0, *SCHEDULE[:2]):
        clock.forward(gap)
        await all_that_may_go(notify)
    assert [it.picture is not None for _, it in sender.sent] == [True, False, False]


async def test_text_takes_no_picture_and_one_that_fails_or_hangs_holds_nothing_up(
    store: Store, sender: FakeSender, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.notify.dispatch.PICTURE_MOST_S", 0.01)

    async def hangs(send: Send) -> AttachedPicture | None:
        await asyncio.Event().wait()
        return PICTURE

    async def breaks(send: Send) -> AttachedPicture | None:
        raise ValueError("no such picture")

    for target, find in ((SLACK, with_picture), (SHOWN, hangs), (SHOWN, breaks)):
        await owe(store, *some(1))
        assert await all_that_may_go(a_notify(store, sender, clock, target, picture=find)) == [1]
    assert [it.picture for _, it in sender.sent] == [None, None, None]


# -- turns --


async def test_what_was_claimed_ahead_is_given_back_at_the_end(store: Store, sender: FakeSender, clock: Clock) -> None:
    notify = a_notify(store, sender, clock, SLACK)
    await owe(store, *some(2))
    await notify.carry_out(await claimed(notify.claim))
    assert await states(store) == {"sending": 1, "sent": 1}
    await notify.close()
    assert await states(store) == {"due": 1, "sent": 1}
    again = await claimed(notify.claim)
    assert (again.claims, again.tries) == (1, 0)


async def test_results_that_come_together_are_recorded_together(store: Store, sender: FakeSender, clock: Clock) -> None:
    targets = [replace(SLACK, name=f"t{number}") for number in range(8)]
    notify = a_notify(store, sender, clock, *targets)
    await owe(store, *(it for target in targets for it in some(3, target=target.name)))
    for _ in range(3):
        sends = [await claimed(notify.claim) for _ in targets]
        assert {it.target for it in sends} == {it.name for it in targets}
        await asyncio.gather(*(notify.carry_out(send) for send in sends))
    assert await states(store) == {"sent": 24}
    assert await all_that_may_go(notify) == []


async def test_a_result_that_breaks_its_row_costs_only_itself(store: Store, sender: FakeSender, clock: Clock) -> None:
    targets = [replace(SLACK, name=f"t{number}") for number in range(4)]
    notify = a_notify(store, sender, clock, *targets)
    await owe(store, *(it for target in targets for it in some(1, target=target.name)))
    sends = [await claimed(notify.claim) for _ in targets]
    sender.results.extend([AttemptResult(), AttemptResult(error="no text: \ud800"), AttemptResult(), AttemptResult()])
    ended = await asyncio.gather(*(notify.carry_out(send) for send in sends), return_exceptions=True)
    [error] = [it for it in ended if it is not None]  # whichever was sent second: they go out at once
    assert type(error).__name__ in ("UnicodeEncodeError", "DataError")
    assert await states(store) == {"sent": 3, "sending": 1}
    clock.forward(MINUTE)
    assert await all_that_may_go(notify) == [1]


async def test_a_result_that_breaks_its_row_keeps_nobody_from_claiming(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    """A claim takes along what waits to be recorded; one that raised would end the service."""
    notify = a_notify(store, sender, clock, SLACK, replace(SLACK, name="other"))
    await owe(store, *some(1))
    send = await claimed(notify.claim)
    await owe(store, *some(1, target="other"))
    notify._claims._unrecorded.append(SendResult(send, AttemptResult(error="no text: \ud800")))
    assert (await claimed(notify.claim)).target == "other"


async def test_the_history_of_a_notice_has_every_try_also_those_before_a_redrive(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    notify = a_notify(store, sender, clock, SLACK)
    await owe(store, *some(2))
    sender.results.extend([DOWN, AttemptResult(duration_ms=1)])
    await all_that_may_go(notify)
    clock.forward(5 * SECOND)
    sender.results.append(GONE)
    await all_that_may_go(notify)
    async with store.write() as tx:
        await tx.notices.redrive(clock(), targets=["slack"], ids=None, to=None)
    clock.forward(SECOND)
    await all_that_may_go(notify)
    told = await store.notices.attempt_history([1, 2, 3])
    assert [(it.at - NOW, it.duration_ms, it.error) for it in told[1]] == [
        (0, 3, "error=500"),
        (5 * SECOND, 0, "Apprise cannot use this URL"),
        (6 * SECOND, 7, None),
    ]
    assert ([it.error for it in told[2]], told[3]) == ([None], [])
