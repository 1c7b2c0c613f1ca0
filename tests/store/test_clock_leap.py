"""A clock that is 100 days ahead for a while destroys nothing: no history, no key, no task, no notice."""

from pathlib import Path
from typing import Any

import pytest

from bench.history import make_history
from kit.fakes import (
    DAY,
    HOUR,
    MINUTE,
    MODEL,
    NOW,
    PICTURES,
    POLICY,
    SECOND,
    SLACK,
    Clock,
    FakeProvider,
    FakeSender,
    a_notice,
    a_task,
    claimed,
    got,
    notices,
    owe,
    put,
)
from kit.notify_loop import DOWN, GONE, SCHEDULE, a_notify, states
from kit.retention import a_past, left, passed, pruning
from kit.sweep_loop import NOTHING, UNKNOWN, a_sweep
from receiver.client.schemas import NewTask
from receiver.core.clock_check import HOLD_MS, ClockWatch
from receiver.core.errors import ClockLeapt, RequestRefused
from receiver.core.types import Ending, NoticeEvent, NoticeState, Outcome, OutcomeShape, TaskState
from receiver.store import Store, open_store
from receiver.store.tables.tasks import KEY_MS
from receiver.tasks.intake import TaskIntake
from receiver.telemetry.metrics import GaugeValues, Metrics
from receiver.tokens import Ring

pytestmark = pytest.mark.anyio

FAR = 100 * DAY
KEPT: dict[str, Any] = {"tasks": 10, "callbacks": 10, "polls": 10, "notices": 10, "images": 10}


class Machine:
    """A wall clock that can leap, beside one that cannot."""

    def __init__(self) -> None:
        self.wall, self.boot = Clock(), Clock(DAY)

    def forward(self, ms: int) -> None:
        self.wall.forward(ms)
        self.boot.forward(ms)

    def watch(self) -> ClockWatch:
        return ClockWatch(self.wall, self.boot, boot_id="a")

    async def resume(self, store: Store, *, boot_id: str = "a", asked: bool = False) -> ClockWatch:
        return ClockWatch(self.wall, self.boot, boot_id=boot_id, stored=await store.clock_checks.load(), asked=asked)


@pytest.fixture
def machine() -> Machine:
    return Machine()


async def remember_key(store: Store, key: str, at: int) -> None:
    async with store.write() as tx:
        await tx.tasks.remember_keys([(key, b"d", "r")], at)


async def test_a_clock_100_days_ahead_removes_no_history_and_an_hour_of_agreement_ends_the_hold(
    store: Store, tmp_path: Path, machine: Machine
) -> None:
    await a_past(store, tmp_path, NOW)
    await remember_key(store, "k", NOW)
    before = await left(store)
    pruner = pruning(store, tmp_path, clock=machine.wall, watch=machine.watch(), alone=False, **KEPT)
    machine.forward(HOUR)
    await passed(pruner)
    machine.wall.forward(FAR)
    machine.forward(40 * SECOND)
    assert await passed(pruner) == 0
    assert {**await left(store), "notices": before["notices"]} == before
    assert "k" in await store.tasks.find_keys(["k"])
    # It stays there: after an hour it is the time.
    machine.forward(HOLD_MS)
    await passed(pruner)
    assert (await left(store))["tasks"] == 0
    assert await store.tasks.find_keys(["k"]) == {}


async def test_a_leap_during_a_pass_ends_it_at_the_next_step(store: Store, tmp_path: Path, machine: Machine) -> None:
    await a_past(store, tmp_path, NOW)
    pruner = pruning(store, tmp_path, clock=machine.wall, watch=machine.watch(), alone=False, **KEPT)
    machine.forward(HOUR)
    kind = await claimed(pruner.claim)
    machine.wall.forward(FAR)
    await pruner.carry_out(kind)
    assert await passed(pruner) == 0
    machine.wall.forward(-FAR)
    assert await passed(pruner) == 0
    assert (await left(store))["tasks"] == 1


async def test_a_leap_is_reported_once_and_counted(store: Store, tmp_path: Path, machine: Machine) -> None:
    pruner = pruning(store, tmp_path, clock=machine.wall, watch=machine.watch(), alone=False)
    metrics = pruner._metrics
    await passed(pruner)
    assert b"receiver_clock_leaps_total 0.0" in metrics.render_text(GaugeValues())
    machine.wall.forward(FAR)
    for _ in range(3):
        await passed(pruner)
        machine.forward(30 * SECOND)
    [notice] = await notices(store, event=NoticeEvent.ATTENTION)
    assert "leapt 100 days ahead" in (notice.report.text or "")
    machine.wall.forward(-FAR)
    await passed(pruner)
    told = [it.report.text or "" for it in await notices(store, event=NoticeEvent.ATTENTION)]
    assert sorted("100 days back" in it for it in told) == [False, True]
    assert b"receiver_clock_leaps_total 2.0" in metrics.render_text(GaugeValues())


async def test_an_idempotency_key_never_pays_twice_because_the_clock_was_ahead(
    store: Store, tmp_path: Path, machine: Machine
) -> None:
    intake = TaskIntake(
        store,
        POLICY,
        Ring(["k" * 32]),
        machine.wall,
        Metrics(),
        public_url="https://me.example",
        unreachable=None,
    )
    asked = NewTask(MODEL, {"jobId": "j", "imageNo": 0, "scale": 1.5})
    pruner = pruning(store, tmp_path, clock=machine.wall, watch=machine.watch(), alone=False)
    first, _ = await intake.create_task(asked, "order-7")
    await passed(pruner)
    machine.wall.forward(FAR)
    machine.forward(HOUR - 1)
    await passed(pruner)
    assert machine.wall() > NOW + KEY_MS
    again, repeated = await intake.create_task(asked, "order-7")
    assert (again.ref, repeated) == (first.ref, True)


async def test_a_clock_ahead_makes_no_running_task_lost(store: Store, machine: Machine) -> None:
    provider = FakeProvider()
    provider.reply = UNKNOWN
    sweep = a_sweep(store, provider, machine.wall, watch=machine.watch())
    without_id = a_task(task_id=None, poll_at=NOW)
    await put(store, a_task(poll_at=NOW), without_id)
    machine.wall.forward(FAR)
    for _ in range(2):
        await sweep.carry_out(await claimed(sweep.claim))
        machine.forward(MINUTE)
    assert {it.state for it in await store.tasks.page()} == {TaskState.WAITING}
    assert provider.polled  # polls go on
    machine.wall.forward(-FAR)
    machine.forward(MINUTE)
    await sweep.claim()
    for task in await store.tasks.page():
        assert task.poll_at is not None
        assert task.poll_at <= machine.wall() + POLICY.deadline_ms  # it is not left alone for 100 days


async def test_a_deadline_that_passed_by_a_clock_that_agrees_makes_a_task_lost_after_the_hold(
    store: Store, machine: Machine
) -> None:
    provider = FakeProvider()
    provider.reply = UNKNOWN
    sweep = a_sweep(store, provider, machine.wall, watch=machine.watch())
    task = a_task(poll_at=NOW)
    await put(store, task)
    machine.wall.forward(FAR)
    while (await got(store, task.ref)).state is TaskState.WAITING:
        assert machine.boot() < DAY + 2 * HOUR
        if (work := await sweep.claim()) is not None:
            await sweep.carry_out(work)
        machine.forward(MINUTE)
    assert machine.boot() >= DAY + HOLD_MS


async def test_a_hint_is_polled_as_often_as_ever_before_it_settles_by_a_clock_that_leapt(
    store: Store, machine: Machine
) -> None:
    provider = FakeProvider()
    provider.reply = NOTHING
    sweep = a_sweep(store, provider, machine.wall, watch=machine.watch())
    hint = Outcome(Ending.COMPLETED, OutcomeShape.OTHER, "completed", None, images=PICTURES)
    until = NOW + POLICY.confirm_within_ms
    task = a_task(poll_at=NOW, hint=hint, hint_step=0, hint_until=until)
    await put(store, task)
    machine.wall.forward(FAR)
    began = machine.boot()
    while (after := await got(store, task.ref)).state is TaskState.WAITING:
        assert machine.boot() < began + 5 * MINUTE
        if (work := await sweep.claim()) is not None:
            await sweep.carry_out(work)
        machine.forward(SECOND)
    assert len(provider.polled) > 4
    assert after.confirmed is False


async def test_a_notice_is_not_dead_because_its_last_try_came_too_soon(store: Store, machine: Machine) -> None:
    sender = FakeSender()
    notify = a_notify(store, sender, machine.wall, SLACK, watch=machine.watch())
    await owe(store, a_notice())
    for gap in (0, *SCHEDULE[:-1]):
        machine.forward(gap)
        sender.results.append(DOWN)
        await notify.carry_out(await claimed(notify.claim))
    machine.wall.forward(FAR)  # the last try comes at once
    sender.results.append(DOWN)
    await notify.carry_out(await claimed(notify.claim))
    assert await states(store) == {"due": 1}
    machine.forward(SCHEDULE[-1])
    sender.results.append(DOWN)
    await notify.carry_out(await claimed(notify.claim))
    assert (await states(store))["dead"] == 1


async def test_a_refusal_for_good_is_dead_whatever_the_clock_says(store: Store, machine: Machine) -> None:
    sender = FakeSender()
    notify = a_notify(store, sender, machine.wall, SLACK, watch=machine.watch())
    await owe(store, a_notice())
    machine.wall.forward(FAR)
    sender.results.append(GONE)
    await notify.carry_out(await claimed(notify.claim))
    assert [it.state for it in await notices(store, event=NoticeEvent.COMPLETED)] == [NoticeState.DEAD]


# -- across restarts --


async def test_a_leap_while_the_service_was_down_is_noticed_at_its_start(
    store: Store, tmp_path: Path, machine: Machine
) -> None:
    await a_past(store, tmp_path, NOW)
    await passed(pruning(store, tmp_path, clock=machine.wall, watch=machine.watch(), alone=False, **KEPT))
    machine.forward(MINUTE)
    machine.wall.forward(FAR)
    watch = await machine.resume(store)
    pruner = pruning(store, tmp_path, clock=machine.wall, watch=watch, alone=False, **KEPT)
    assert await passed(pruner) == 0
    [notice] = await notices(store, event=NoticeEvent.ATTENTION)
    assert "100 days ahead" in (notice.report.text or "")
    # Another restart neither ends the hold nor reports it again.
    machine.forward(HOUR - 2)
    again = pruning(store, tmp_path, clock=machine.wall, watch=await machine.resume(store), alone=False, **KEPT)
    assert await passed(again) == 0
    assert len(await notices(store, event=NoticeEvent.ATTENTION)) == 1
    assert (await left(store))["tasks"] == 1


async def test_a_machine_that_starts_with_a_wrong_clock_removes_nothing_for_an_hour_and_reports_nothing(
    store: Store, tmp_path: Path, machine: Machine
) -> None:
    await a_past(store, tmp_path, NOW)
    await passed(pruning(store, tmp_path, clock=machine.wall, watch=machine.watch(), alone=False, **KEPT))
    machine.boot.now = 30 * SECOND
    machine.wall.forward(FAR)  # or the machine was off for so long: nobody can know
    watch = await machine.resume(store, boot_id="b")
    pruner = pruning(store, tmp_path, clock=machine.wall, watch=watch, alone=False, **KEPT)
    assert await passed(pruner) == 0
    assert not await notices(store, event=NoticeEvent.ATTENTION)
    machine.forward(HOUR)
    await passed(pruner)
    assert (await left(store))["tasks"] == 0


async def test_who_asks_for_a_pass_is_told_that_the_clock_leapt_and_what_to_do(
    store: Store, tmp_path: Path, machine: Machine
) -> None:
    await a_past(store, tmp_path, NOW)
    pruner = pruning(store, tmp_path, clock=machine.wall, watch=machine.watch(), **KEPT)
    machine.wall.forward(FAR)
    with pytest.raises(RequestRefused, match=r"leapt 100 days ahead.*`date`.*60 minutes") as refused:
        pruner.start_pass_now()
    assert (refused.value.status, refused.value.code) == (409, "clock_leapt")
    with pytest.raises(ClockLeapt, match="100 days ahead"):
        await pruner.run_full_pass()
    assert (await left(store))["tasks"] == 1
    # An hour later the same command works, since the leap was stored.
    machine.forward(HOUR)
    later = pruning(store, tmp_path, clock=machine.wall, watch=await machine.resume(store, asked=True), **KEPT)
    await later.run_full_pass()
    assert (await left(store))["tasks"] == 0


async def test_a_database_with_a_history_from_before_the_clock_was_watched_begins_with_a_hold(
    tmp_path: Path, machine: Machine
) -> None:
    new = await open_store(tmp_path / "new.db")
    assert await new.clock_checks.load() is None
    await new.close()
    path = tmp_path / "old.db"
    make_history(path, 1, schema=5)
    store = await open_store(path)
    assert (await machine.resume(store)).trusted_now() is None
    await store.close()
