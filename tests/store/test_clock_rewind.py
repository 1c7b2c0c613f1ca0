"""A clock that is set back holds up nothing, and a disk that is busy at the worst moment repeats nothing."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.fakes import (
    MINUTE,
    NOW,
    POLICY,
    SLACK,
    Clock,
    FakeProvider,
    FakeSender,
    a_notice,
    a_task,
    busy,
    got,
    impatient,
    notices,
    owe,
    parse,
    put,
    steady,
)
from kit.live_service import until
from kit.submit_loop import a_budget
from kit.sweep_loop import NOTHING, a_sweep
from receiver.core.errors import StoreUnavailable
from receiver.core.types import NoticeState, TaskState
from receiver.notify.dispatch import NoticeDispatcher
from receiver.notify.messages.message import NoLinks
from receiver.store import Store
from receiver.tasks.submit import SubmitLoop
from receiver.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio

DAY = 24 * 60 * MINUTE
TOLD = replace(POLICY, targets=(SLACK,))


def a_submit(store: Store, provider: FakeProvider, clock: Clock) -> SubmitLoop:
    return SubmitLoop(
        store,
        provider,
        POLICY,
        clock,
        parse=parse,
        callback_url=lambda ref: f"https://me.example/{ref}",
        key_id="abcd1234",
        concurrency=2,
        metrics=Metrics(),
        budget=a_budget(clock),
        jitter=lambda: 0.5,
    )


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_clock_put_back_by_a_day_does_not_hold_up_submissions(store: Store, restarted: bool) -> None:
    clock, provider = Clock(), FakeProvider()
    submit = a_submit(store, provider, clock)
    clock.now = NOW + DAY
    assert await submit.claim() is None
    await put(store, a_task(TaskState.QUEUED, due_at=clock() + MINUTE))
    clock.now = NOW
    fresh = a_submit(store, provider, clock) if restarted else submit
    assert await fresh.claim() is not None


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_clock_put_back_by_a_day_does_not_hold_up_polls(store: Store, restarted: bool) -> None:
    clock, provider = Clock(), FakeProvider()
    sweep = a_sweep(store, provider, clock)
    clock.now = NOW + DAY
    first = a_task(poll_at=clock())
    await put(store, first)
    provider.reply = NOTHING
    look = await sweep.claim()
    assert look is not None
    await sweep.carry_out(look)  # from now on it is to be looked at in a day and some minutes
    clock.now = NOW
    fresh = a_sweep(store, provider, clock) if restarted else sweep
    assert await fresh.claim() is not None


@pytest.mark.sqlite_only
async def test_a_put_back_clock_is_still_minded_when_the_disk_is_busy_at_first(store: Store, tmp_path: Path) -> None:
    clock, provider = Clock(), FakeProvider()
    await impatient(store)
    clock.now = NOW + DAY
    sweep, submit = a_sweep(store, provider, clock), a_submit(store, provider, clock)
    assert [await sweep.claim(), await submit.claim()] == [None, None]
    await put(store, a_task(poll_at=clock() + MINUTE), a_task(TaskState.QUEUED, due_at=clock() + MINUTE))
    clock.now = NOW
    for loop in (sweep, submit):
        with busy(tmp_path / "r.db"), pytest.raises(StoreUnavailable):
            await loop.claim()
        assert await loop.claim() is not None


async def test_the_sweep_leaves_a_task_whose_submission_is_unanswered_to_its_own_loop(store: Store) -> None:
    """Or its lease would be gone, and with it the way out of `submitting`."""
    clock = Clock()
    task = a_task(TaskState.SUBMITTING, poll_at=NOW, lease_until=NOW, hint_step=0)
    await put(store, task)
    assert await a_sweep(store, FakeProvider(), clock).claim() is None
    assert await a_submit(store, FakeProvider(), clock).claim() is None
    after = await got(store, task.ref)
    assert (after.state, after.unsure) == (TaskState.WAITING, True)


@pytest.mark.sqlite_only
async def test_a_ping_is_not_repeated_because_the_disk_was_busy_when_it_had_gone(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.store.insist.RECORD_GAPS_S", (0.01,) * 1000)
    await impatient(store)
    sender, clock = FakeSender(), Clock()
    notify = NoticeDispatcher(
        store,
        sender,
        TOLD,
        clock,
        schedule_ms=[1000],
        timeout_ms=1000,
        links=NoLinks(),
        metrics=Metrics(),
        watch=steady(clock),
    )
    await owe(store, a_notice())
    send = await notify.claim()
    assert send is not None

    async def failed() -> str | None:
        return store.fault

    with busy(tmp_path / "r.db"):
        carried = asyncio.create_task(notify.carry_out(send))
        await until(failed)
    await carried
    assert [it.state for it in await notices(store)] == [NoticeState.SENT]
