"""When a task is given up, and when it is not: by the rules of design §5, whatever the clock and the network do."""

import pytest

from kit.fakes import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    POLICY,
    SECOND,
    Clock,
    a_task,
    foreign,
    got,
    notices,
    put,
    says,
)
from kit.sweep_loop import BARRED, BUSY, NOTHING, UNKNOWN, Rig, a_rig, heard
from receiver.core.next_step import START_GRACE_MS
from receiver.core.types import Ending, NoticeEvent, PollReply, TaskOrigin, TaskState
from receiver.store import Store

pytestmark = pytest.mark.anyio

RUNNING = heard(says(Ending.RUNNING))
LATE = NOW + POLICY.deadline_ms


@pytest.fixture
def rig(store: Store, clock: Clock) -> Rig:
    return a_rig(store, clock)


@pytest.mark.parametrize("reply", [RUNNING, UNKNOWN])
async def test_lost_after_a_poll_past_the_deadline_says_it_is_not_finished(rig: Rig, reply: PollReply) -> None:
    task = await rig.overdue()
    while (after := await got(rig.store, task.ref)).state is TaskState.WAITING:
        assert rig.clock() <= LATE + POLICY.sweep_max_ms
        await rig.look_when_due(reply)
    assert (after.state, after.poll_at, after.settled_at) == (TaskState.LOST, None, None)
    assert rig.clock() >= LATE
    assert [it.event for it in await notices(rig.store, task.ref)] == [NoticeEvent.LOST]


@pytest.mark.parametrize("reply", [NOTHING, BARRED, BUSY])
async def test_errors_postpone_the_loss(rig: Rig, reply: PollReply) -> None:
    task = await rig.overdue()
    rig.clock.now = LATE + DAY
    for _ in range(10):
        await rig.look_when_due(reply)
    assert (await got(rig.store, task.ref)).state is TaskState.WAITING
    while (await got(rig.store, task.ref)).state is TaskState.WAITING:
        await rig.look_when_due(RUNNING)
    assert (await got(rig.store, task.ref)).state is TaskState.LOST


async def test_a_poll_asked_before_the_deadline_loses_nothing(rig: Rig) -> None:
    """However long its answer took."""
    task = await rig.overdue()
    rig.clock.now = LATE - 1

    async def slow() -> None:
        rig.clock.forward(5)

    rig.provider.before_reply = slow
    await rig.look(RUNNING)
    assert rig.clock() > LATE
    assert (await got(rig.store, task.ref)).state is TaskState.WAITING


async def test_after_a_long_downtime_everything_is_asked_before_anything_is_lost(rig: Rig) -> None:
    tasks = [a_task(task_id=f"job-{n}", poll_at=NOW + n) for n in range(6)]
    await put(rig.store, *tasks)
    rig.clock.now = LATE + 30 * DAY
    for n in range(6):
        await rig.look_when_due(heard(says(Ending.COMPLETED, f"job-{n}")) if n % 2 else UNKNOWN)
    states = [(await got(rig.store, it.ref)).state for it in tasks]
    assert states == [TaskState.LOST, TaskState.COMPLETED] * 3
    assert rig.provider.polled == [f"job-{n}" for n in range(6)]


@pytest.mark.parametrize("key", [True, False])
async def test_what_cannot_be_polled_gets_ten_minutes_of_receiving_after_a_start(rig: Rig, key: bool) -> None:
    """No id, or no key: callbacks that the sender retried during our downtime still arrive."""
    started_at = LATE + 3 * DAY
    rig = rig.with_policy(started_at=started_at, can_poll=key)
    task = await rig.overdue(task_id=None if key else "job-1")
    rig.clock.now = started_at
    await rig.look_when_due(NOTHING)
    assert (await got(rig.store, task.ref)).state is TaskState.WAITING
    await rig.look_when_due(NOTHING)
    assert (rig.clock(), (await got(rig.store, task.ref)).state) == (started_at + START_GRACE_MS, TaskState.LOST)


async def test_a_task_that_a_poll_still_calls_running_is_lost_at_last_though_a_hint_says_otherwise(rig: Rig) -> None:
    """A hint that every poll refutes does not keep a task open for ever."""
    task = await rig.hinted(foreign(Ending.COMPLETED))
    while (await got(rig.store, task.ref)).state is TaskState.WAITING:
        assert rig.clock() <= LATE + POLICY.sweep_max_ms
        await rig.look_when_due(RUNNING)
    assert (await got(rig.store, task.ref)).state is TaskState.LOST


async def test_a_pending_hint_is_heard_before_its_task_is_lost(rig: Rig) -> None:
    """One minute before the deadline: it still gets its fifteen."""
    rig.clock.now = LATE - MINUTE
    task = await rig.hinted(foreign(Ending.COMPLETED))
    while (after := await got(rig.store, task.ref)).state is TaskState.WAITING:
        await rig.look_when_due(UNKNOWN)
    assert (after.state, after.confirmed, rig.clock()) == (
        TaskState.COMPLETED,
        False,
        LATE - MINUTE + POLICY.confirm_within_ms,
    )


async def test_a_lost_task_that_is_called_again_is_polled_again_and_settles(rig: Rig) -> None:
    task = await rig.overdue()
    rig.clock.now = LATE
    await rig.look(UNKNOWN)
    await rig.called(task, foreign(Ending.COMPLETED))
    await rig.look_when_due(heard(says(Ending.COMPLETED)))
    assert (await got(rig.store, task.ref)).state is TaskState.COMPLETED
    assert [it.event for it in await notices(rig.store, task.ref)] == [NoticeEvent.LOST, NoticeEvent.COMPLETED]


async def test_a_lost_task_is_told_once_however_often_it_is_hinted(rig: Rig) -> None:
    task = await rig.overdue()
    rig.clock.now = LATE
    await rig.look(UNKNOWN)
    await rig.called(task, foreign(Ending.RUNNING))
    while (await got(rig.store, task.ref)).poll_at is not None:
        assert rig.clock() < LATE + HOUR
        await rig.look_when_due(RUNNING)
    assert [it.event for it in await notices(rig.store, task.ref)] == [NoticeEvent.LOST]


async def test_a_minted_url_that_was_never_used_ends_silently(rig: Rig) -> None:
    unused = {"origin": TaskOrigin.MINTED, "task_id": None, "submitted_at": None, "place_until": None, "poll_at": LATE}
    task = await rig.overdue(**unused)
    rig.clock.now = LATE - 1
    assert await rig.sweep.claim() is None
    await rig.look_when_due(NOTHING)
    assert (await got(rig.store, task.ref)).state is TaskState.LOST
    assert await notices(rig.store) == []


async def test_the_deadline_of_a_minted_url_counts_from_its_first_use(rig: Rig) -> None:
    used_at = NOW + 20 * HOUR
    task = await rig.overdue(
        origin=TaskOrigin.MINTED, task_id=None, submitted_at=used_at, place_until=None, poll_at=LATE
    )
    rig.clock.now = LATE
    await rig.look(NOTHING)
    assert (await got(rig.store, task.ref)).poll_at == used_at + POLICY.deadline_ms
    rig.clock.forward(SECOND)
    assert await rig.sweep.claim() is None
    await rig.look_when_due(NOTHING)
    assert [it.event for it in await notices(rig.store, task.ref)] == [NoticeEvent.LOST]
