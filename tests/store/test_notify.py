"""Notices out: claimed under a lease, sent at least once, tried again by the schedule, given up with a word."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.fakes import (
    DAY,
    HOUR,
    MAIL,
    MINUTE,
    NOW,
    POLICY,
    SECOND,
    SLACK,
    Clock,
    FakeSender,
    a_notice,
    attention,
    busy,
    claimed,
    impatient,
    notices,
    owe,
    steady,
)
from kit.notify_loop import begin
from receiver.core.errors import StoreUnavailable
from receiver.core.types import AttemptResult, Notice, NoticeEvent, NoticeState, Policy, Send
from receiver.notify.dispatch import NoticeDispatcher
from receiver.notify.messages.message import NoLinks
from receiver.store import Store, open_store
from receiver.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio

SCHEDULE = [5 * SECOND, 30 * SECOND, 2 * MINUTE]
LEASE = 60 * SECOND  # the timeout and thirty seconds
DOWN = AttemptResult(error="error=500", duration_ms=3)
S = NoticeState


@pytest.fixture
def notify(store: Store, sender: FakeSender, clock: Clock) -> NoticeDispatcher:
    return a_notify(store, sender, clock)


def a_notify(store: Store, sender: FakeSender, clock: Clock, policy: Policy | None = None) -> NoticeDispatcher:
    """The loop for two targets, without jitter."""
    policy = policy or replace(POLICY, targets=(SLACK, MAIL))
    return NoticeDispatcher(
        *(store, sender, policy, clock),
        schedule_ms=SCHEDULE,
        timeout_ms=30 * SECOND,
        links=NoLinks(),
        metrics=Metrics(),
        watch=steady(clock),
        jitter=lambda: 0.0,
    )


async def only(store: Store) -> Notice:
    """The one notice that tells of a task."""
    [notice] = await notices(store, event=NoticeEvent.COMPLETED)
    return notice


async def turn(notify: NoticeDispatcher) -> Send:
    send: Send = await claimed(notify.claim)
    await notify.carry_out(send)
    return send


async def test_a_notice_is_claimed_sent_and_recorded(
    store: Store, notify: NoticeDispatcher, sender: FakeSender
) -> None:
    await owe(store, a_notice())
    send = await claimed(notify.claim)
    assert (await only(store)).state is S.SENDING
    await notify.carry_out(send)
    notice = await only(store)
    assert (notice.state, notice.attempts, notice.error, notice.sent_at) == (S.SENT, 1, None, NOW)
    assert [name for name, _ in sender.sent] == ["slack"]
    [attempt] = await store.notices.send_attempts([send.id])
    assert (attempt.at, attempt.duration_ms, attempt.error) == (NOW, 7, None)
    assert await notify.claim() is None


async def test_nothing_is_sent_before_it_is_due(store: Store, notify: NoticeDispatcher, clock: Clock) -> None:
    await owe(store, a_notice(due_at=NOW + SECOND))
    assert await notify.claim() is None
    assert await notify.next_due() == NOW + SECOND
    clock.forward(SECOND)
    assert await notify.claim() is not None


# -- failures --


async def test_failures_follow_the_schedule_then_it_is_dead_and_the_others_are_told(
    store: Store, notify: NoticeDispatcher, sender: FakeSender, clock: Clock
) -> None:
    await owe(store, a_notice())
    for tries, gap in enumerate(SCHEDULE, start=1):
        sender.results.append(DOWN)
        send = await turn(notify)
        notice = await only(store)
        assert (notice.state, notice.attempts, notice.error) == (S.DUE, tries, "error=500")
        assert notice.due_at == clock() + gap
        if tries == 3:
            assert (await turn(notify)).target == "mail", "which is told that slack fails"
        clock.forward(gap - 1)
        assert await notify.claim() is None
        clock.forward(1)
    sender.results.append(DOWN)
    await turn(notify)
    assert ((await only(store)).state, (await only(store)).attempts) == (S.DEAD, 4)
    assert len(await store.notices.send_attempts([send.id])) == 4
    [told] = await notices(store, event=NoticeEvent.ATTENTION)  # within the hour it is told once
    assert (told.target, told.report.cause) == ("mail", "target:slack"), "the target is not told of itself"
    assert "slack failed several times in a row and is now tried less often" in (told.report.text or "")


async def test_a_url_that_cannot_be_used_is_dead_at_once(
    store: Store, notify: NoticeDispatcher, sender: FakeSender
) -> None:
    await owe(store, a_notice())
    sender.results.append(AttemptResult(error="it holds several URLs", permanent=True))
    await turn(notify)
    notice = await only(store)
    assert (notice.state, notice.attempts, notice.error) == (S.DEAD, 1, "it holds several URLs")
    [told] = await notices(store, event=NoticeEvent.ATTENTION)
    assert (told.target, told.report.cause) == ("mail", "target:slack")
    assert "several URLs. Fix the target's URL as the text says. Then send" in (told.report.text or "")
    assert "`receiver notices redrive --target slack`" in str(told.report)


async def test_the_service_may_ask_for_a_longer_wait(
    store: Store, notify: NoticeDispatcher, sender: FakeSender
) -> None:
    await owe(store, a_notice())
    sender.results.append(replace(DOWN, retry_after_ms=90 * SECOND))
    await turn(notify)
    assert (await only(store)).due_at == NOW + 90 * SECOND


# -- leases --


async def test_a_send_whose_process_died_is_claimed_again_when_its_lease_ends(
    store: Store, notify: NoticeDispatcher, clock: Clock
) -> None:
    await owe(store, a_notice())
    first = await claimed(notify.claim)
    assert await notify.next_due() == NOW + LEASE
    clock.forward(LEASE - 1)
    assert await notify.claim() is None
    clock.forward(1)
    second = await claimed(notify.claim)
    assert (second.id, second.claim, second.notices[0].id) == (first.id, first.claim + 1, first.notices[0].id)


async def test_a_start_voids_the_leases_of_the_process_before(sender: FakeSender, clock: Clock, tmp_path: Path) -> None:
    before = await open_store(tmp_path / "r.db")
    await owe(before, a_notice())
    await claimed(a_notify(before, sender, clock).claim)
    await before.close()
    again = await open_store(tmp_path / "r.db")
    await turn(a_notify(again, sender, clock))
    found = await only(again)
    await again.close()
    assert found.state is S.SENT


async def test_a_stale_failure_does_not_count(
    store: Store, notify: NoticeDispatcher, sender: FakeSender, clock: Clock
) -> None:
    await owe(store, a_notice())
    stale = await claimed(notify.claim)
    late = [await begin(notify, sender, stale) for _ in range(2)]
    clock.forward(LEASE)
    fresh = await claimed(notify.claim)
    sender.results.extend([DOWN, replace(DOWN, permanent=True)])
    for end in late:
        await end()
    await notify.release_send(stale)
    assert ((await only(store)).state, (await only(store)).attempts) == (S.SENDING, 0)
    assert await attention(store) == []
    await notify.carry_out(fresh)
    assert (await only(store)).state is S.SENT


async def test_a_late_success_counts_and_is_final(
    store: Store, notify: NoticeDispatcher, sender: FakeSender, clock: Clock
) -> None:
    await owe(store, a_notice())
    late = await begin(notify, sender, await claimed(notify.claim))
    clock.forward(LEASE)
    fresh = await claimed(notify.claim)
    await late()
    assert (await only(store)).state is S.SENT
    sender.results.append(DOWN)
    await notify.carry_out(fresh)
    assert (await only(store)).state is S.SENT
    clock.forward(DAY)
    assert await notify.claim() is None


@pytest.mark.sqlite_only
async def test_a_result_that_cannot_be_stored_is_sent_again_after_the_lease(
    store: Store,
    notify: NoticeDispatcher,
    sender: FakeSender,
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At least once: a rare double ping, never a lost one."""
    monkeypatch.setattr("receiver.store.insist.RECORD_GAPS_S", (0.0,))
    await owe(store, a_notice())
    send = await claimed(notify.claim)
    await impatient(store)
    with busy(tmp_path / "r.db"), pytest.raises(StoreUnavailable):
        await notify.carry_out(send)
    clock.forward(LEASE)
    await turn(notify)
    assert (len(sender.sent), (await only(store)).state) == (2, S.SENT)


async def test_a_send_that_is_cancelled_is_given_back(
    store: Store, notify: NoticeDispatcher, sender: FakeSender
) -> None:
    await owe(store, a_notice())
    sender.gate = asyncio.Event()
    send = await claimed(notify.claim)
    carried = asyncio.create_task(notify.carry_out(send))
    await sender.begun.wait()
    carried.cancel()
    with pytest.raises(asyncio.CancelledError):
        await carried
    assert ((await only(store)).state, (await only(store)).attempts) == (S.DUE, 0)
    again = await claimed(notify.claim)
    assert (again.id, again.claims) == (send.id, 1)


@pytest.mark.parametrize("years", [-10, 10])
async def test_a_clock_that_jumped_holds_nothing_back(
    store: Store, notify: NoticeDispatcher, sender: FakeSender, clock: Clock, years: int
) -> None:
    """A due time or a lease is no further ahead than if it had been set by the clock that was put back."""
    clock.forward(years * 365 * DAY)
    await owe(store, a_notice(created_at=clock(), due_at=clock()))
    await claimed(notify.claim)
    await owe(store, a_notice("mail", due_at=clock() + 10 * SECOND))
    clock.now = NOW
    assert years < 0 or await notify.claim() is None, "what is on its way is not sent twice"
    clock.forward(LEASE)
    await turn(notify)
    await turn(notify)
    assert {it.state for it in await notices(store)} == {S.SENT}


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("hours", [1, 20, 200])
async def test_a_retry_dated_by_a_clock_that_was_ahead_waits_no_longer_than_its_gap(
    store: Store, notify: NoticeDispatcher, sender: FakeSender, clock: Clock, hours: int, restart: bool
) -> None:
    """Whether the process sees the clock put back, or starts after it; each try has its own gap."""
    clock.forward(hours * HOUR)
    await owe(store, a_notice(created_at=clock(), due_at=clock()))
    sender.results.extend([DOWN, DOWN])
    await turn(notify)
    clock.forward(SCHEDULE[0])
    await turn(notify)
    clock.now = NOW
    fresh = a_notify(store, sender, clock) if restart else notify
    assert await fresh.claim() is None
    assert (await only(store)).due_at == NOW + int(SCHEDULE[1] * 1.2), "its latest, as the command shows it"
    clock.now = (await only(store)).due_at
    await turn(fresh)
    assert (await only(store)).state is S.SENT


# -- targets --


async def test_one_send_at_a_time_per_target_and_a_slow_one_delays_no_other(
    store: Store, notify: NoticeDispatcher
) -> None:
    await owe(store, a_notice("slack"), a_notice("slack"), a_notice("mail"), a_notice("mail"))
    begun = [await claimed(notify.claim) for _ in range(2)]
    assert {it.target for it in begun} == {"slack", "mail"}
    assert await notify.claim() is None
    await notify.carry_out(begun[0])
    third = await claimed(notify.claim)
    assert third.target == begun[0].target


async def test_a_target_that_fails_delays_only_itself(
    store: Store, notify: NoticeDispatcher, sender: FakeSender, clock: Clock
) -> None:
    await owe(store, a_notice("slack"), a_notice("mail"))
    sender.results.append(DOWN)
    await turn(notify)
    await turn(notify)
    assert await notify.claim() is None
    assert sorted(it.state for it in await notices(store)) == [S.DUE, S.SENT]


async def test_a_send_that_waits_for_its_retry_lets_newer_notices_pass(
    store: Store, notify: NoticeDispatcher, sender: FakeSender
) -> None:
    """No order is promised among notices of one target."""
    await owe(store, a_notice())
    sender.results.append(DOWN)
    await turn(notify)
    await owe(store, a_notice())
    await turn(notify)
    assert [it.state for it in await notices(store)] == [S.DUE, S.SENT]


@pytest.mark.parametrize("policy", [replace(POLICY, targets=(MAIL,)), replace(POLICY, targets=())])
async def test_a_notice_whose_target_is_gone_is_dead_with_that_reason(
    store: Store,
    notify: NoticeDispatcher,
    sender: FakeSender,
    clock: Clock,
    policy: Policy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("receiver.notify.gone_targets.LEFT_ALONE_MS", 0)  # of processes that share the database
    await owe(store, a_notice(), a_notice())
    await claimed(notify.claim)
    fresh = a_notify(store, sender, clock, policy)
    assert fresh.width > 0, "or nobody would ever look"
    if policy.targets:
        assert (await turn(fresh)).target == "mail", "which is told"
    assert await fresh.claim() is None
    found = await notices(store, event=NoticeEvent.COMPLETED)
    assert {(it.state, it.error) for it in found} == {(S.DEAD, "this target is no longer configured")}
    assert await fresh.next_due() is None


# -- redrive --


async def redriven(store: Store, **more: object) -> int:
    wanted = {"targets": None, "ids": None, "to": None, **more}
    async with store.write() as tx:
        return await tx.notices.redrive(NOW, **wanted)  # type: ignore[arg-type]  # the three of them, by name


async def test_a_redriven_notice_starts_its_schedule_anew(
    store: Store, notify: NoticeDispatcher, sender: FakeSender
) -> None:
    await owe(store, a_notice(), a_notice("mail"))
    sender.results.extend([AttemptResult(error="gone", permanent=True)] * 2)
    before = {(await turn(notify)).id for _ in range(4)}  # two that fail, and the attention about each
    assert await redriven(store, targets=["slack"]) == 1
    assert await redriven(store, targets=["slack"]) == 0, "only the dead are put back"
    again = await turn(notify)
    assert (again.tries, again.claims, again.id in before) == (0, 1, False)
    assert {it.target: it.state for it in await notices(store, event=NoticeEvent.COMPLETED)} == {
        "slack": S.SENT,
        "mail": S.DEAD,
    }


async def test_a_redriven_notice_may_go_to_another_target(
    store: Store, notify: NoticeDispatcher, sender: FakeSender
) -> None:
    await owe(store, a_notice())
    sender.results.append(AttemptResult(error="gone", permanent=True))
    await turn(notify)
    [dead] = await notices(store, event=NoticeEvent.COMPLETED)
    assert await redriven(store, ids=[dead.id], to="mail") == 1
    sender.sent.clear()
    for _ in range(2):  # the attention about slack, and this
        await turn(notify)
    assert [name for name, _ in sender.sent] == ["mail", "mail"]


async def test_a_late_result_of_a_send_before_the_redrive_changes_nothing(
    store: Store, notify: NoticeDispatcher, sender: FakeSender, clock: Clock
) -> None:
    await owe(store, a_notice())
    stuck = await claimed(notify.claim)
    late = await begin(notify, sender, stuck)
    clock.forward(LEASE)
    sender.results.append(AttemptResult(error="gone", permanent=True))
    await turn(notify)
    await redriven(store, targets=["slack"])
    again = await claimed(notify.claim)
    sender.results.append(DOWN)
    await late()
    notice = await only(store)
    assert (notice.state, notice.error, again.id == stuck.id) == (S.SENDING, None, False)
