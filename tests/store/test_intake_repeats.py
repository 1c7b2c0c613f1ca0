"""A request that is repeated, or a task id that is named later, never pays for a task twice."""

import pytest
from msgspec.structs import replace

from kit.fakes import NOW, POLICY, SLACK, Clock, FakeProvider, a_ref, a_task, got, parse, put
from kit.submit_loop import TAKEN, a_budget
from receiver.client.schemas import NewTask
from receiver.core.errors import RequestRefused
from receiver.core.types import HoldReason, Policy, TaskError, TaskState
from receiver.store import Store
from receiver.tasks.intake import TaskIntake
from receiver.tasks.submit import SubmitLoop
from receiver.telemetry.metrics import Metrics
from receiver.tokens import Ring

pytestmark = pytest.mark.anyio


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


def an_intake(store: Store, policy: Policy) -> TaskIntake:
    ring, metrics = Ring(["k" * 32]), Metrics()
    return TaskIntake(store, policy, ring, Clock(), metrics, public_url="https://me.example", unreachable=None)


async def test_a_key_whose_task_was_removed_makes_no_other(store: Store) -> None:
    """With `tasks=1d`, within the key's 30 days: another task would be paid for again."""
    asked = NewTask("midjourney_outpaint", {"jobId": "j", "imageNo": 0, "scale": 1.5})
    first, _ = await an_intake(store, POLICY).create_task(asked, "key")
    await an_intake(store, POLICY).cancel_task(first.ref)
    async with store.write() as tx:
        await tx.pruning.drop_tasks([first.ref], NOW, 10)
    with pytest.raises(RequestRefused, match=f"used for {first.ref}, which RETENTION has deleted"):
        await an_intake(store, POLICY).create_task(asked, "key")
    assert await store.tasks.page() == []


async def test_a_repeated_request_is_the_same_task_whatever_the_settings_say_by_then(store: Store) -> None:
    asked = NewTask("midjourney_outpaint", {"jobId": "j", "imageNo": 0, "scale": 1.5}, targets=("slack",))
    task, _ = await an_intake(store, TOLD).create_task(asked, "key")
    assert await an_intake(store, POLICY).create_task(asked, "key") == (task, True)
    with pytest.raises(RequestRefused, match="unknown target"):
        await an_intake(store, replace(POLICY, targets=())).create_task(asked, "another")


async def test_a_task_that_would_notify_nobody_is_refused_with_what_to_do(store: Store) -> None:
    """An empty list is not the same as none: who sends it would wait for a ping in vain."""
    asked = NewTask("midjourney_outpaint", {"jobId": "j", "imageNo": 0, "scale": 1.5}, targets=())
    with pytest.raises(RequestRefused, match=r"empty list.*leave it out") as refused:
        await an_intake(store, TOLD).create_task(asked, None)
    assert (refused.value.status, refused.value.field) == (422, "targets")
    assert await store.tasks.page() == []


async def test_an_id_told_of_a_queued_task_keeps_it_from_being_paid_for_again(store: Store) -> None:
    task = a_task(TaskState.QUEUED)
    await put(store, task)
    await an_intake(store, POLICY).set_task_id(task.ref, "told-id")
    provider = FakeProvider()
    provider.answers.append(TAKEN)
    assert await a_submit(store, provider, Clock()).claim() is None
    assert (await got(store, task.ref)).state is TaskState.WAITING


@pytest.mark.parametrize("key", [None, "key"])
async def test_our_ref_is_no_job_id(store: Store, key: str | None) -> None:
    """It is what a person has at hand, and the provider would refuse it, or bill for something else."""
    task = a_task(TaskState.COMPLETED)
    await put(store, task)
    params = {"jobId": task.ref, "imageNo": 0, "scale": 1.5}
    with pytest.raises(RequestRefused, match=r"jobId is .* a task here.*--from") as refused:
        await an_intake(store, POLICY).create_task(NewTask("midjourney_outpaint", params), key)
    assert (refused.value.status, refused.value.field) == (422, "jobId")
    assert [it.ref for it in await store.tasks.page()] == [task.ref]
    await an_intake(store, POLICY).create_task(NewTask("midjourney_outpaint", {**params, "jobId": a_ref()}), key)


@pytest.mark.parametrize("typed", ["a b", " a", "a\n", " "])
async def test_an_id_with_blanks_is_a_slip_of_the_hand(store: Store, typed: str) -> None:
    task = a_task(task_id=None)
    await put(store, task)
    with pytest.raises(RequestRefused, match=r"blanks.*task list") as refused:
        await an_intake(store, POLICY).set_task_id(task.ref, typed)
    assert (refused.value.status, refused.value.field) == (422, "task_id")


async def test_a_task_that_is_held_for_a_person_is_sent_again_or_withdrawn(store: Store) -> None:
    held = a_task(TaskState.QUEUED, held_by=HoldReason.PERSON, due_at=None, tries=12, refusals=6)
    other = a_task(TaskState.QUEUED, held_by=HoldReason.PERSON, due_at=None)
    await put(store, replace(held, error=TaskError(None, "no")), other)
    intake = an_intake(store, POLICY)
    again = await intake.resubmit_task(held.ref)
    assert (again.state, again.held_by, again.due_at) == (TaskState.QUEUED, None, NOW)
    assert (again.tries, again.refusals, again.error) == (0, 0, None)
    assert (await intake.cancel_task(other.ref)).state is TaskState.CANCELLED


async def test_a_task_that_only_waits_its_turn_is_not_sent_twice(store: Store) -> None:
    waiting = a_task(TaskState.QUEUED)
    await put(store, waiting)
    with pytest.raises(RequestRefused, match="not unsure"):
        await an_intake(store, POLICY).resubmit_task(waiting.ref)
