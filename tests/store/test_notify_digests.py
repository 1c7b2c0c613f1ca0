"""Digests and quiet hours: the first at once, what follows as one; what is held over night in the morning."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.fakes import HOUR, MINUTE, NOW, SECOND, SLACK, Clock, FakeSender, a_notice, claimed, notices, owe
from kit.notify_loop import DOWN, a_notify, all_that_may_go, some, states
from receiver.core.pacing import DIGEST_LENGTH
from receiver.core.types import NoticeEvent, NoticeState, QuietHours, Report
from receiver.store import Store, open_store

pytestmark = pytest.mark.anyio

S = NoticeState
DIGEST = replace(SLACK, digest_ms=5 * MINUTE)
QUIET = replace(SLACK, quiet=QuietHours(22 * 60, 7 * 60, "Europe/Berlin"), quiet_except=frozenset({NoticeEvent.FAILED}))
EVENING = round(datetime(2026, 1, 10, 20, 59, tzinfo=UTC).timestamp()) * 1000  # 21:59 in Berlin
MORNING = EVENING + 9 * HOUR + MINUTE


# -- digests --


async def test_a_digest_is_bounded_by_what_it_holds_too(store: Store, sender: FakeSender, clock: Clock) -> None:
    """What one body may make a report weigh, two hundred of them and some targets would not fit into memory."""
    notify = a_notify(store, sender, clock, DIGEST)
    await owe(store, *some(1))
    await all_that_may_go(notify)
    heavy = Report(event=NoticeEvent.ATTENTION, text="x" * (DIGEST_LENGTH // 4))
    await owe(store, *(a_notice(event=NoticeEvent.ATTENTION, report=heavy) for _ in range(10)))
    assert await all_that_may_go(notify) == []
    clock.forward(5 * MINUTE)
    assert await all_that_may_go(notify) == [4, 4, 2]
    assert await states(store) == {"sent": 11}


async def test_the_first_goes_at_once_and_those_that_follow_within_the_window_as_one(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    notify = a_notify(store, sender, clock, DIGEST)
    for _ in range(50):
        await owe(store, *some(1, at=clock()))
        await all_that_may_go(notify)
        clock.forward(SECOND)
    assert [len(sender.sent), await states(store)] == [1, {"sent": 1, "held": 49}]
    assert await notify.next_due() == NOW + 5 * MINUTE
    clock.now = NOW + 5 * MINUTE - 1
    assert await all_that_may_go(notify) == []
    clock.forward(1)
    assert await all_that_may_go(notify) == [49]
    assert "49 tasks done" in sender.sent[1][1].title


async def test_a_digest_opens_the_next_window(store: Store, sender: FakeSender, clock: Clock) -> None:
    notify = a_notify(store, sender, clock, DIGEST)
    await owe(store, *some(3))
    assert await all_that_may_go(notify) == [1]
    clock.forward(5 * MINUTE)
    assert await all_that_may_go(notify) == [2]
    await owe(store, *some(1, at=clock()))
    assert await all_that_may_go(notify) == []
    clock.forward(5 * MINUTE)
    assert await all_that_may_go(notify) == [1]
    clock.forward(5 * MINUTE)
    await owe(store, *some(1, at=clock()))
    assert await all_that_may_go(notify) == [1], "a calm target is told at once"


async def test_what_became_due_while_the_window_ended_goes_with_the_digest(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    notify = a_notify(store, sender, clock, DIGEST)
    await owe(store, *some(3))
    await all_that_may_go(notify)
    clock.forward(5 * MINUTE)
    await owe(store, *some(2, at=clock()))
    assert await all_that_may_go(notify) == [4]


async def test_a_digest_takes_two_hundred_at_most_and_the_rest_follows_at_once(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    notify = a_notify(store, sender, clock, DIGEST)
    await owe(store, *some(451))
    assert await all_that_may_go(notify) == [1]
    assert await states(store) == {"sent": 1, "held": 450}
    clock.forward(5 * MINUTE)
    assert await all_that_may_go(notify) == [200, 200, 50]


async def test_the_window_outlives_the_process_and_a_digest_keeps_its_members(
    sender: FakeSender, clock: Clock, tmp_path: Path
) -> None:
    """Membership is fixed at the claim, so that a crash regroups nothing."""
    before = await open_store(tmp_path / "r.db")
    notify = a_notify(before, sender, clock, DIGEST)
    await owe(before, *some(4))
    await all_that_may_go(notify)
    clock.forward(5 * MINUTE)
    digest = await claimed(notify.claim)  # and the process dies
    await before.close()
    store = await open_store(tmp_path / "r.db")
    notify = a_notify(store, sender, clock, DIGEST)
    await owe(store, *some(2, at=clock()))
    again = await claimed(notify.claim)
    assert (again.id, [it.id for it in again.notices]) == (digest.id, [it.id for it in digest.notices])
    await notify.carry_out(again)
    assert await all_that_may_go(notify) == []
    assert await states(store) == {"sent": 4, "held": 2}
    await store.close()


async def test_a_digest_that_fails_is_tried_again_as_it_was(store: Store, sender: FakeSender, clock: Clock) -> None:
    notify = a_notify(store, sender, clock, DIGEST)
    await owe(store, *some(4))
    await all_that_may_go(notify)
    clock.forward(5 * MINUTE)
    sender.results.append(DOWN)
    assert await all_that_may_go(notify) == [3]
    clock.forward(5 * SECOND)
    await owe(store, *some(1, at=clock()))
    assert await all_that_may_go(notify) == [3]
    assert await states(store) == {"sent": 4, "held": 1}


async def test_once_there_is_no_digest_any_more_what_one_had_held_goes_at_once_and_then_each_alone(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    await owe(store, *some(3))
    await all_that_may_go(a_notify(store, sender, clock, DIGEST))
    notify = a_notify(store, sender, clock, SLACK)
    assert await all_that_may_go(notify) == [2]
    await owe(store, *some(2))
    assert await all_that_may_go(notify) == [1, 1]


async def test_a_notice_that_waits_for_its_picture_opens_no_window(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    notify = a_notify(store, sender, clock, DIGEST)
    [waits, other] = some(2)
    await owe(store, replace(waits, due_at=NOW + 15 * SECOND))
    assert await all_that_may_go(notify) == []
    async with store.write() as tx:
        await tx.notices.make_due_now(waits.ref or "", clock())
    await owe(store, other)
    assert await all_that_may_go(notify) == [1]
    assert await states(store) == {"sent": 1, "held": 1}


@pytest.mark.parametrize("years", [-10, 10])
async def test_a_clock_that_jumped_holds_no_digest_back(
    store: Store, sender: FakeSender, clock: Clock, years: int
) -> None:
    clock.now = NOW + years * 365 * 24 * HOUR
    await owe(store, *some(3, at=clock()))
    notify = a_notify(store, sender, clock, DIGEST)
    assert await all_that_may_go(notify) == [1]
    clock.now = NOW
    await all_that_may_go(notify)
    clock.forward(5 * MINUTE)
    await all_that_may_go(notify)
    assert await states(store) == {"sent": 3}, "by the end of a window that had begun now"


# -- quiet hours --


async def test_what_is_held_over_night_comes_as_one_in_the_morning(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    notify = a_notify(store, sender, clock, QUIET)
    clock.now = EVENING
    await owe(store, *some(1, at=clock()))
    assert await all_that_may_go(notify) == [1]
    for _ in range(8):
        clock.forward(HOUR)
        await owe(store, *some(1, at=clock()), *some(1, NoticeEvent.ATTENTION, at=clock()))
        assert await all_that_may_go(notify) == []
    assert await notify.next_due() == MORNING
    clock.now = MORNING
    assert await all_that_may_go(notify) == [16]


async def test_excepted_events_pass_and_only_they(store: Store, sender: FakeSender, clock: Clock) -> None:
    notify = a_notify(store, sender, clock, QUIET)
    clock.now = EVENING + HOUR
    await owe(store, *some(450, at=clock()), *some(2, NoticeEvent.FAILED, at=clock()))
    assert await all_that_may_go(notify) == [1, 1]
    assert await states(store) == {"sent": 2, "held": 450}
    clock.now = MORNING
    assert await all_that_may_go(notify) == [200, 200, 50]


async def test_a_retry_waits_for_the_morning_unless_it_tells_of_what_is_excepted(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    notify = a_notify(store, sender, clock, QUIET)
    clock.now = EVENING + MINUTE - SECOND
    sender.results.extend([DOWN, DOWN])
    await owe(store, *some(1, at=clock()), *some(1, NoticeEvent.FAILED, at=clock()))
    assert await all_that_may_go(notify) == [1, 1]
    clock.forward(5 * SECOND)
    assert await all_that_may_go(notify) == [1]
    [waits] = await notices(store, event=NoticeEvent.COMPLETED)
    assert (waits.state, waits.due_at, waits.attempts) == (S.DUE, MORNING, 1)
    clock.now = MORNING
    assert await all_that_may_go(notify) == [1]


async def test_a_send_whose_process_died_at_night_waits_for_the_morning(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    notify = a_notify(store, sender, clock, QUIET)
    clock.now = EVENING
    await owe(store, *some(1, at=clock()))
    died = await claimed(notify.claim)
    clock.forward(2 * MINUTE)
    notify = a_notify(store, sender, clock, QUIET)
    assert await all_that_may_go(notify) == []
    clock.now = MORNING
    again = await claimed(notify.claim)
    assert (again.id, again.claim) == (died.id, died.claim + 1)


async def test_a_digest_whose_window_ends_at_night_comes_in_the_morning(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    notify = a_notify(store, sender, clock, replace(QUIET, digest_ms=5 * MINUTE))
    clock.now = EVENING
    await owe(store, *some(2, at=clock()), *some(2, NoticeEvent.FAILED, at=clock()))
    assert await all_that_may_go(notify) == [1]
    clock.forward(5 * MINUTE)
    assert await all_that_may_go(notify) == [2], "of what failed"
    await owe(store, *some(1, NoticeEvent.FAILED, at=clock()), *some(3, at=clock()))
    assert await all_that_may_go(notify) == []
    clock.forward(5 * MINUTE)
    assert await all_that_may_go(notify) == [1]
    clock.now = MORNING
    assert await all_that_may_go(notify) == [4]
