"""Queued tasks to the provider: every row of the design's table (§5) is one test here, named for the row."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.fakes import (
    MINUTE,
    MODEL,
    NOW,
    PICTURES,
    POLICY,
    SECOND,
    Clock,
    FakeProvider,
    a_task,
    attention,
    claimed,
    got,
    notices,
    put,
    says,
)
from kit.submit_loop import BARRED, BUSY, NOT_SENT, REFUSED, TAKEN, UNCLEAR, Rig, a_rig, a_submit
from receiver.core.errors import StoreUnavailable
from receiver.core.schedule import UNSURE_MOST
from receiver.core.types import (
    Ending,
    HoldReason,
    NoticeEvent,
    OutcomeSource,
    Policy,
    SubmitAnswer,
    SubmitResult,
    Task,
    TaskState,
)
from receiver.store import Store, open_store
from receiver.tasks.intake import TaskIntake
from receiver.tasks.submit import LEASE_MS
from receiver.telemetry.metrics import Metrics
from receiver.tokens import Ring

pytestmark = pytest.mark.anyio


@pytest.fixture
def rig(store: Store, clock: Clock) -> Rig:
    return a_rig(store, clock)


# -- the table --


async def test_200_with_an_id_is_waiting(rig: Rig) -> None:
    task = await rig.after(TAKEN)
    assert (task.state, task.unsure, task.task_id, task.submitted_at) == (TaskState.WAITING, False, "job-1", NOW)
    assert (task.provider_created_at, task.key_id, task.claim) == (NOW, "0a1b2c3d", 1)
    assert (task.lease_until, task.poll_at) == (None, NOW + POLICY.sweep_first_ms)
    assert rig.provider.submitted == [(MODEL, b"{}", f"https://me.example/callbacks/{task.ref}")]


async def test_no_byte_was_sent_is_queued_again_in_its_turn_and_all_wait_for_longer_and_longer(rig: Rig) -> None:
    task = await rig.after(NOT_SENT)
    assert (task.state, task.tries, task.due_at, task.why) == (TaskState.QUEUED, 0, NOW, NOT_SENT.text)
    assert (task.submitted_at, task.lease_until, task.place_until, task.poll_at) == (None,) * 4
    assert not await rig.step(TAKEN), "not before its time"
    rig.clock.forward(SECOND)
    assert await rig.step(NOT_SENT)
    assert await rig.submit.next_due() == rig.clock() + 2 * SECOND


async def test_429_is_queued_again_after_retry_after(rig: Rig) -> None:
    task = await rig.after(BUSY)
    assert (task.state, task.due_at) == (TaskState.QUEUED, NOW + 41 * SECOND)
    await rig.queue()
    assert not await rig.step(TAKEN), "nobody else is sent meanwhile"
    rig.clock.forward(41 * SECOND)
    assert await rig.step(TAKEN, TAKEN)


async def test_a_refusal_is_failed_and_told(rig: Rig) -> None:
    task = await rig.after(REFUSED)
    assert (task.state, task.settled_by, task.error) == (TaskState.FAILED, OutcomeSource.ANSWER, REFUSED.error)
    assert [it.event for it in await notices(rig.store, task.ref)] == [NoticeEvent.FAILED]


async def test_a_refused_key_pauses_submissions_and_calls_for_a_person(rig: Rig) -> None:
    [first, second] = await rig.queue(2)
    assert await rig.step(BARRED)
    task = await got(rig.store, first.ref)
    assert (task.state, task.held_by, task.due_at) == (TaskState.QUEUED, HoldReason.PAUSE, NOW + MINUTE + SECOND)
    assert await attention(rig.store) == ["provider-key"]
    assert not await rig.step(TAKEN)
    assert (await got(rig.store, second.ref)).state is TaskState.QUEUED


@pytest.mark.parametrize("answer", [UNCLEAR, SubmitAnswer(SubmitResult.TAKEN, "200 without a task object")])
async def test_an_answer_that_leaves_it_open_is_waiting_and_unsure(rig: Rig, answer: SubmitAnswer) -> None:
    task = await rig.after(answer)
    assert (task.state, task.unsure, task.due_at, task.lease_until) == (TaskState.WAITING, True, None, None)
    rig.clock.forward(10 * UNSURE_MOST)
    assert not await rig.step(TAKEN), "a repeat could be paid twice"


async def test_a_process_that_died_in_between_leaves_it_unsure(tmp_path: Path) -> None:
    """At once after a start, when the old process is certainly gone, and without another request."""
    provider, clock = FakeProvider(), Clock()
    task = a_task(TaskState.QUEUED)
    store = await open_store(tmp_path / "r.db")
    await put(store, task)
    await claimed(a_submit(store, provider, clock).claim)
    await store.close()
    store = await open_store(tmp_path / "r.db")
    assert await a_submit(store, provider, clock).claim() is None
    after = await got(store, task.ref)
    await store.close()
    assert (after.state, after.unsure, after.submitted_at) == (TaskState.WAITING, True, NOW)
    assert provider.submitted == []


async def test_a_lease_that_ran_out_leaves_it_unsure(rig: Rig) -> None:
    [task] = await rig.queue()
    await claimed(rig.submit.claim)
    assert await rig.submit.next_due() == NOW + LEASE_MS
    rig.clock.forward(LEASE_MS)
    assert await rig.submit.claim() is None
    assert (await got(rig.store, task.ref)).unsure


@pytest.mark.parametrize("answer", [NOT_SENT, BUSY, BARRED, UNCLEAR], ids=lambda it: it.result)
async def test_a_retryable_answer_after_a_callback_is_not_sent_again(rig: Rig, answer: SubmitAnswer) -> None:
    """Someone took it: its token was called. It is polled at once by the id that the callback named."""
    [task] = await rig.queue()
    work = await claimed(rig.submit.claim)
    await rig.called(task, Ending.RUNNING)
    rig.provider.answers.append(answer)
    await rig.submit.carry_out(work)
    after = await got(rig.store, task.ref)
    assert (after.state, after.candidates, after.unsure) == (TaskState.WAITING, ("job-1",), True)
    assert after.poll_at == NOW
    rig.clock.forward(UNSURE_MOST)
    assert not await rig.step(TAKEN)


async def test_a_callback_that_taught_nothing_still_means_that_someone_took_it(rig: Rig) -> None:
    [task] = await rig.queue()
    work = await claimed(rig.submit.claim)
    await rig.called_with(task, None)
    rig.provider.answers.append(BUSY)
    await rig.submit.carry_out(work)
    after = await got(rig.store, task.ref)
    assert (after.state, after.unsure) == (TaskState.WAITING, True)


# -- what the answer teaches --


@pytest.mark.parametrize("ending", [Ending.COMPLETED, Ending.FAILED, Ending.CANCELLED])
async def test_a_callback_that_overtook_the_answer_settles_with_it_and_costs_no_poll(rig: Rig, ending: Ending) -> None:
    [task] = await rig.queue()
    rig.provider.before_reply = lambda: rig.called(task, ending)
    assert await rig.step(TAKEN)
    after = await got(rig.store, task.ref)
    assert (after.state.value, after.settled_by) == (ending.value, OutcomeSource.CALLBACK)
    assert (after.task_id, after.provider_created_at, after.place_until) == ("job-1", NOW, None)
    assert (after.poll_at, after.hint, after.candidates) == (None, None, ())
    assert len(await notices(rig.store, task.ref)) == 1


async def test_early_progress_costs_no_poll_once_the_answer_has_named_its_id(rig: Rig) -> None:
    [task] = await rig.queue()
    rig.provider.before_reply = lambda: rig.called_with(task, says(Ending.RUNNING, progress=0.4))
    assert await rig.step(TAKEN)
    after = await got(rig.store, task.ref)
    assert (after.state, after.task_id, after.progress, after.hint) == (TaskState.WAITING, "job-1", 0.4, None)
    assert (after.poll_at, after.hint_step) == (NOW + POLICY.sweep_first_ms, None)


async def test_the_forged_end_that_overtook_the_answer_is_only_a_reason_to_poll(rig: Rig) -> None:
    """Whoever knows the URL does not know the id."""
    [task] = await rig.queue()
    rig.provider.before_reply = lambda: rig.called(task, Ending.COMPLETED, "job-made-up")
    assert await rig.step(TAKEN)
    after = await got(rig.store, task.ref)
    assert (after.state, after.task_id, after.poll_at) == (TaskState.WAITING, "job-1", NOW)
    assert await notices(rig.store, task.ref) == []


async def test_the_true_end_settles_beside_a_forged_one(rig: Rig) -> None:
    [task] = await rig.queue()

    async def both() -> None:
        await rig.called(task, Ending.FAILED, "job-made-up")
        await rig.called(task, Ending.COMPLETED, "job-1")

    rig.provider.before_reply = both
    assert await rig.step(TAKEN)
    after = await got(rig.store, task.ref)
    assert (after.state, after.settled_by) == (TaskState.COMPLETED, OutcomeSource.CALLBACK)


async def test_an_early_end_that_cannot_be_believed_is_not_believed_with_the_answer(rig: Rig) -> None:
    [task] = await rig.queue()
    rig.provider.before_reply = lambda: rig.called_with(task, says(Ending.COMPLETED, images=()))
    assert await rig.step(TAKEN)
    after = await got(rig.store, task.ref)
    assert (after.state, after.poll_at, after.place_until) == (TaskState.WAITING, NOW, None)


async def test_a_callback_of_an_earlier_submission_does_not_settle_the_later_one(rig: Rig) -> None:
    [task] = await rig.queue()
    rig.provider.before_reply = lambda: rig.called(task, Ending.COMPLETED, "job-1")
    await rig.step(UNCLEAR)
    await put_back_by_a_person(rig, task)
    rig.clock.forward(MINUTE)
    rig.provider.before_reply = None
    assert await rig.step(TAKEN)
    assert (await got(rig.store, task.ref)).state is TaskState.WAITING


async def put_back_by_a_person(rig: Rig, task: Task) -> None:
    """What `tasks resubmit` does."""
    shared = (rig.store, POLICY, Ring(["k" * 32]), rig.clock, Metrics())
    await TaskIntake(*shared, public_url="https://me.example", unreachable=None).resubmit_task(task.ref)


@pytest.mark.parametrize(
    "state", [TaskState.QUEUED, TaskState.WAITING, TaskState.LOST, TaskState.COMPLETED, TaskState.CANCELLED]
)
async def test_the_answer_stores_the_id_in_any_state(rig: Rig, state: TaskState) -> None:
    [task] = await rig.queue()
    work = await claimed(rig.submit.claim)
    async with rig.store.write() as tx:
        [now] = (await tx.tasks.get([task.ref])).values()
        await tx.tasks.update([(now, a_task(state, ref=task.ref, task_id=None, submitted_at=None))])
    rig.clock.forward(5 * SECOND)
    rig.provider.answers.append(TAKEN)
    await rig.submit.carry_out(work)
    after = await got(rig.store, task.ref)
    assert (after.task_id, after.submitted_at) == ("job-1", NOW)
    assert after.state is (TaskState.WAITING if state is TaskState.QUEUED else state)


async def test_an_answer_that_is_the_end_settles(rig: Rig) -> None:
    task = await rig.after(SubmitAnswer(SubmitResult.TAKEN, "200", says(Ending.COMPLETED)))
    assert (task.state, task.settled_by, task.task_id) == (TaskState.COMPLETED, OutcomeSource.ANSWER, "job-1")
    assert (await rig.store.tasks.images_by_ref([task.ref]))[task.ref] == PICTURES


async def test_an_answer_that_disagrees_with_the_known_id_calls_for_a_person(rig: Rig) -> None:
    [task] = await rig.queue()
    work = await claimed(rig.submit.claim)
    async with rig.store.write() as tx:
        [now] = (await tx.tasks.get([task.ref])).values()
        await tx.tasks.update([(now, replace(now, state=TaskState.WAITING, task_id="job-of-a-poll"))])
    rig.provider.answers.append(TAKEN)
    await rig.submit.carry_out(work)
    after = await got(rig.store, task.ref)
    assert (after.task_id, after.candidates) == ("job-1", ("job-of-a-poll",)), "the answer is the word"
    assert await attention(rig.store) == [f"task-id:{task.ref}"]


@pytest.mark.parametrize("ending", [Ending.RUNNING, Ending.COMPLETED])
async def test_an_answer_with_the_id_of_another_task_calls_for_a_person(rig: Rig, ending: Ending) -> None:
    await put(rig.store, a_task(task_id="job-1"))
    task = await rig.after(SubmitAnswer(SubmitResult.TAKEN, "200", says(ending)))
    assert (task.task_id, task.lease_until) == (None, None)
    assert await attention(rig.store) == [f"task-id:{task.ref}"]


async def test_an_answer_that_the_disk_refuses_at_first_is_stored_at_last(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id it brings may be the only trace of what was paid for."""
    monkeypatch.setattr("receiver.store.insist.RECORD_GAPS_S", (0.0, 0.0))
    [task] = await rig.queue()
    work = await claimed(rig.submit.claim)
    rig.provider.answers.append(TAKEN)
    write, failures = rig.store.write, iter([True, True, False])

    def flaky(*lane: object) -> object:
        if next(failures):
            raise StoreUnavailable("the disk is full")
        return write()

    monkeypatch.setattr(rig.store, "write", flaky)
    await rig.submit.carry_out(work)
    assert (await got(rig.store, task.ref)).task_id == "job-1"


async def test_a_late_answer_does_not_undo_a_new_submission(rig: Rig) -> None:
    """The claim fences: only the answer to the latest request may put the task back."""
    [task] = await rig.queue()
    first = await claimed(rig.submit.claim)
    async with rig.store.write() as tx:  # the lease ran out and a person resubmitted
        await tx.tasks.update([(first, a_task(TaskState.QUEUED, ref=task.ref, claim=1))])
    second = await claimed(rig.submit.claim)
    for late in (REFUSED, NOT_SENT, UNCLEAR):
        rig.provider.answers.append(late)
        await rig.submit.carry_out(first)
        assert await got(rig.store, task.ref) == second


async def test_a_task_that_is_only_polled_is_sent_without_a_url(rig: Rig) -> None:
    task = a_task(TaskState.QUEUED, poll_only=True)
    await put(rig.store, task)
    assert await rig.step(TAKEN)
    assert rig.provider.submitted == [(MODEL, b"{}", None)]
    assert (await got(rig.store, task.ref)).key_id is None


async def test_without_a_key_nothing_is_sent_but_the_dead_are_still_counted(rig: Rig) -> None:
    blind = a_submit(rig.store, rig.provider, rig.clock, policy=Policy(can_poll=False))
    [task] = await rig.queue()
    dead = a_task(TaskState.SUBMITTING, lease_until=0)
    await put(rig.store, dead)
    assert await blind.claim() is None
    assert (await got(rig.store, task.ref)).state is TaskState.QUEUED
    assert (await got(rig.store, dead.ref)).unsure
    assert rig.provider.submitted == []
