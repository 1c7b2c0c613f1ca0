"""The sweep: what is asked when, how hints are confirmed, what is counted (design §6 items 3 to 5, and §9)."""

import pytest
from msgspec.structs import replace

from kit.fakes import (
    HOUR,
    MINUTE,
    MODEL,
    NOW,
    PICTURES,
    POLICY,
    SECOND,
    Clock,
    a_task,
    attention,
    claimed,
    foreign,
    got,
    notices,
    put,
    says,
)
from kit.sweep_loop import BARRED, BUSY, NOTHING, UNKNOWN, Rig, a_rig, heard
from receiver.core.types import ConfirmMode, Ending, NoticeEvent, OutcomeSource, PollReply, Task, TaskOrigin, TaskState
from receiver.store import Store

pytestmark = pytest.mark.anyio


@pytest.fixture
def rig(store: Store, clock: Clock) -> Rig:
    return a_rig(store, clock)


# -- what a reply does --


async def test_a_reply_that_ends_settles_and_keeps_its_body(rig: Rig) -> None:
    task = await rig.overdue()
    await rig.look(heard(says(Ending.COMPLETED)))
    after = await got(rig.store, task.ref)
    assert (after.state, after.settled_by, after.confirmed, after.polls) == (
        TaskState.COMPLETED,
        OutcomeSource.POLL,
        True,
        1,
    )
    assert (await rig.store.tasks.images_by_ref([task.ref]))[task.ref] == PICTURES
    assert [it.event for it in await notices(rig.store, task.ref)] == [NoticeEvent.COMPLETED]
    assert await rig.polls_of(task) == [("outcome", b"what came")]


async def test_a_reply_that_changes_nothing_is_recorded_without_its_body(rig: Rig) -> None:
    task = await rig.overdue(progress=0.5)
    await rig.look(heard(says(Ending.RUNNING, progress=0.5)))
    await rig.look_when_due(UNKNOWN)
    assert await rig.polls_of(task) == [("outcome", None), ("unknown", None)]


async def test_a_reply_that_does_not_fit_changes_nothing(rig: Rig) -> None:
    task = await rig.overdue()
    await rig.look(heard(says(Ending.COMPLETED, model="another")))
    after = await got(rig.store, task.ref)
    assert (after.state, after.polls) == (TaskState.WAITING, 1)


async def test_of_an_id_that_a_person_told_any_time_fits(rig: Rig) -> None:
    """Its URL may be made long after the submission, or its id be told then."""
    task = await rig.overdue(origin=TaskOrigin.MINTED)
    await rig.look(heard(says(Ending.COMPLETED, created_at=NOW - HOUR)))
    assert (await got(rig.store, task.ref)).state is TaskState.COMPLETED


async def test_a_callback_that_came_while_we_asked_stands(rig: Rig) -> None:
    task = await rig.overdue()
    rig.provider.before_reply = lambda: rig.called(task, says(Ending.COMPLETED))
    await rig.look(heard(says(Ending.FAILED)))
    after = await got(rig.store, task.ref)
    assert (after.state, after.settled_by) == (TaskState.COMPLETED, OutcomeSource.CALLBACK)
    assert len(await notices(rig.store, task.ref)) == 1


# -- when --


async def test_one_poll_is_in_flight_per_task(rig: Rig) -> None:
    await rig.overdue()
    await claimed(rig.sweep.claim)
    rig.clock.forward(SECOND)
    assert await rig.sweep.claim() is None


async def test_at_most_two_polls_a_second_after_a_downtime_too(rig: Rig) -> None:
    await put(rig.store, *(a_task(task_id=f"job-{n}", poll_at=NOW - n) for n in range(50)))
    asked = 0
    for _ in range(1000):  # ten seconds in steps of 10 ms
        while await rig.sweep.claim() is not None:
            asked += 1
        rig.clock.forward(10)
    assert asked == 20


async def test_gaps_grow_up_to_the_longest(rig: Rig) -> None:
    task = await rig.overdue()
    gaps = []
    for _ in range(8):
        before = rig.clock()
        await rig.look_when_due(heard(says(Ending.RUNNING)))
        gaps.append((rig.clock() - before) / POLICY.sweep_first_ms)
    # The start's ten minutes of grace end with a look of their own, which cuts one gap in two.
    assert gaps[1:4] == [pytest.approx(1.0), pytest.approx(1.6), pytest.approx(2.4, abs=0.2)]
    assert max(gaps) * POLICY.sweep_first_ms <= POLICY.sweep_max_ms
    assert (await got(rig.store, task.ref)).polls == 8


async def test_the_expected_time_is_learned_from_accepted_callbacks(rig: Rig) -> None:
    """Not from polls, nor from hints that nobody confirmed: those came when the sweep looked."""

    def past(name: str, took: int, source: OutcomeSource, *, confirmed: bool = True) -> list[Task]:
        settled = {"submitted_at": NOW - took, "settled_by": source, "confirmed": confirmed}
        return [a_task(TaskState.COMPLETED, task_id=f"{name}-{n}", **settled) for n in range(20)]

    await put(rig.store, *past("quick", MINUTE, OutcomeSource.CALLBACK), *past("swept", 9 * MINUTE, OutcomeSource.POLL))
    await put(rig.store, *past("guessed", 9 * MINUTE, OutcomeSource.CALLBACK, confirmed=False))
    task = await rig.overdue()
    await rig.look(heard(says(Ending.RUNNING)))
    assert (await got(rig.store, task.ref)).poll_at == NOW + 90 * SECOND  # 1.5 × the 0.99 quantile


async def test_429_slows_all_polls(rig: Rig) -> None:
    await put(rig.store, *(a_task(task_id=f"job-{n}", poll_at=NOW) for n in range(9)))
    await rig.look(BUSY)
    assert await rig.sweep.next_due() == NOW + 30 * SECOND  # Retry-After
    rig.clock.forward(30 * SECOND - 1)
    assert await rig.sweep.claim() is None
    rig.clock.forward(1)
    await rig.look(replace(BUSY, retry_after_ms=None))
    assert await rig.sweep.next_due() == rig.clock() + 2 * SECOND  # 500 ms doubled twice


async def test_a_refused_key_pauses_all_polls_and_calls_for_a_person(rig: Rig) -> None:
    await put(rig.store, *(a_task(task_id=f"job-{n}", poll_at=NOW + n * SECOND) for n in range(3)))
    await rig.look(BARRED)
    for _ in range(2):
        rig.clock.forward(SECOND)
        assert (await claimed(rig.sweep.claim)).task_id is None, "it is looked at, and nobody is asked"
    rig.clock.now = NOW + MINUTE
    await put(rig.store, a_task(task_id="job-9", poll_at=rig.clock()))
    assert (await claimed(rig.sweep.claim)).task_id is not None
    assert await attention(rig.store) == ["provider-key"]


async def test_refusals_of_polls_under_way_together_count_once(rig: Rig) -> None:
    await put(rig.store, *(a_task(task_id=f"job-{n}", poll_at=NOW) for n in range(4)))
    looks = []
    for _ in range(4):
        looks.append(await claimed(rig.sweep.claim))
        rig.clock.forward(SECOND)
    rig.provider.reply = BARRED
    for it in looks:
        await rig.sweep.carry_out(it)
    await put(rig.store, a_task(task_id="job-9", poll_at=NOW))
    rig.clock.forward(MINUTE)
    assert (await claimed(rig.sweep.claim)).task_id is not None


# -- hints --


async def test_a_hint_is_polled_at_once_then_after_2_5_15_60_seconds_then_normally(rig: Rig) -> None:
    task = await rig.hinted(foreign(Ending.RUNNING))
    times = []
    for _ in range(6):
        await rig.look_when_due(NOTHING)
        times.append(rig.clock())
    gaps = [(after - before) // SECOND for before, after in zip([NOW, *times], times, strict=False)]
    assert gaps == [0, 2, 5, 15, 60, 120]
    assert rig.provider.polled == ["job-1"] * 6
    assert (await got(rig.store, task.ref)).hint_step is None


async def test_a_poll_confirms_a_hint(rig: Rig) -> None:
    task = await rig.hinted(foreign(Ending.COMPLETED))
    await rig.look(heard(says(Ending.COMPLETED)))
    after = await got(rig.store, task.ref)
    assert (after.state, after.settled_by, after.confirmed) == (TaskState.COMPLETED, OutcomeSource.POLL, True)


async def test_the_id_of_a_task_object_is_asked_by_where_we_have_none(rig: Rig) -> None:
    task = await rig.hinted(says(Ending.COMPLETED, "job-9"), task_id=None, unsure=True)
    await rig.look(heard(says(Ending.RUNNING, "job-9")))
    after = await got(rig.store, task.ref)
    assert (rig.provider.polled, after.task_id, after.unsure) == (["job-9"], "job-9", False)


async def test_an_id_that_is_another_tasks_is_not_asked_by(rig: Rig) -> None:
    await put(rig.store, a_task(task_id="job-9"))
    await rig.hinted(says(Ending.COMPLETED, "job-9"), task_id=None, unsure=True)
    await rig.look(NOTHING)
    assert rig.provider.polled == []


@pytest.mark.parametrize("reply", [UNKNOWN, BARRED, NOTHING, heard(says(Ending.COMPLETED, images=()))])
async def test_an_end_that_no_poll_could_confirm_settles_unconfirmed_in_time(rig: Rig, reply: PollReply) -> None:
    """404, a refused key, a provider that is down, or one that says "completed" and shows nothing."""
    task = await rig.hinted(foreign(Ending.COMPLETED))
    await rig.unconfirmed(task, reply)


@pytest.mark.parametrize("task_id", [None, "job-9"])
async def test_an_end_that_cannot_be_asked_about_settles_unconfirmed_in_time(rig: Rig, task_id: str | None) -> None:
    """No id, or one that became another task's after the hint came: which must not break the books."""
    task = await rig.hinted(says(Ending.COMPLETED, task_id), task_id=None, unsure=True)
    if task_id is not None:
        await put(rig.store, a_task(task_id=task_id, poll_at=None))
    await rig.unconfirmed(task, UNKNOWN)
    assert rig.provider.polled == []


async def test_without_a_key_a_hint_settles_unconfirmed_in_time(rig: Rig) -> None:
    rig = rig.with_policy(can_poll=False)
    task = await rig.hinted(foreign(Ending.COMPLETED), poll_at=None)
    await rig.unconfirmed(task, NOTHING)
    assert rig.provider.polled == []


async def test_a_poll_that_says_it_still_runs_puts_an_unconfirmed_end_off(rig: Rig) -> None:
    task = await rig.hinted(foreign(Ending.COMPLETED))
    while rig.clock() < NOW + 2 * POLICY.confirm_within_ms:
        await rig.look_when_due(heard(says(Ending.RUNNING)))
    assert (await got(rig.store, task.ref)).state is TaskState.WAITING
    while (after := await got(rig.store, task.ref)).state is TaskState.WAITING:
        await rig.look_when_due(UNKNOWN)
    assert (after.state, after.confirmed) == (TaskState.COMPLETED, False)


async def test_with_confirm_always_an_unconfirmed_end_calls_for_a_person_once(rig: Rig) -> None:
    rig = rig.with_policy(confirm=ConfirmMode.ALWAYS)
    task = await rig.hinted(foreign(Ending.COMPLETED))
    while rig.clock() < NOW + 3 * POLICY.confirm_within_ms:
        await rig.look_when_due(UNKNOWN)
    assert (await got(rig.store, task.ref)).state is TaskState.WAITING
    assert await attention(rig.store) == [f"unconfirmed:{task.ref}"]


# -- unsure --


async def test_an_unsure_task_calls_for_a_person_once_when_its_place_runs_out(rig: Rig) -> None:
    until = NOW + 6 * MINUTE
    task = a_task(task_id=None, unsure=True, place_until=until, poll_at=until)
    await put(rig.store, task)
    for _ in range(2):
        await rig.look_when_due(NOTHING)
    assert rig.clock() > until
    after = await got(rig.store, task.ref)
    assert (after.state, after.place_until) == (TaskState.WAITING, None)
    assert await attention(rig.store) == [f"unsure:{task.ref}"]


# -- the streak --


async def end_by_poll(rig: Rig, count: int, **more: object) -> None:
    for _ in range(count):
        task_id = f"job-{len(rig.provider.polled)}"
        await rig.overdue(task_id=task_id, **more)
        rig.clock.forward(SECOND)
        await rig.look(heard(says(Ending.COMPLETED, task_id)))


async def test_many_tasks_that_only_the_sweep_found_call_for_a_person(rig: Rig) -> None:
    await end_by_poll(rig, 4)
    assert await attention(rig.store) == []
    await end_by_poll(rig, 3)
    assert await attention(rig.store) == ["callbacks-stopped"]


async def test_a_callback_in_between_breaks_the_streak(rig: Rig) -> None:
    await end_by_poll(rig, 4)
    task = a_task(task_id="job-c")
    await put(rig.store, task)
    await rig.called(task, says(Ending.COMPLETED, "job-c"))
    await end_by_poll(rig, 4)
    assert await attention(rig.store) == []


@pytest.mark.parametrize("more", [{"poll_only": True}, {"called_at": NOW}])
async def test_tasks_whose_callback_came_or_was_never_wanted_are_not_counted(rig: Rig, more: dict[str, object]) -> None:
    """Under CONFIRM=always every task is settled by a poll, and its callback did arrive."""
    await end_by_poll(rig, 9, **more)
    assert await attention(rig.store) == []


async def test_a_minted_url_is_looked_at_without_a_fuss(rig: Rig) -> None:
    task = a_task(origin=TaskOrigin.MINTED, task_id=None, submitted_at=None, poll_at=NOW, model=MODEL)
    await put(rig.store, task)
    await rig.look(NOTHING)
    after = await got(rig.store, task.ref)
    assert (after.state, rig.provider.polled, await attention(rig.store)) == (TaskState.WAITING, [], [])
    assert after.poll_at is not None
    assert after.poll_at > NOW
