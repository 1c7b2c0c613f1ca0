"""Callbacks that come after a task's end: which are kept in silence, and which need a person."""

import pytest
from msgspec.structs import replace

from kit.fakes import (
    NOW,
    POLICY,
    SLACK,
    Clock,
    FakeProvider,
    a_task,
    claimed,
    foreign,
    got,
    notices,
    parse,
    put,
    says,
)
from kit.fakes import body as a_body
from kit.sweep_loop import a_sweep, heard
from receiver.core.types import Ending, NoticeEvent, OutcomeShape, OutcomeSource, Policy, TaskError, TaskState, Verdict
from receiver.notify.attention import raise_attention
from receiver.store import Store
from receiver.tasks.ingest import CallbackIngest
from receiver.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio


TOLD = replace(POLICY, targets=(SLACK,))


def an_ingest(store: Store, policy: Policy = TOLD) -> CallbackIngest:
    return CallbackIngest(store, parse, policy, Clock(), Metrics())


async def test_junk_after_the_end_is_kept_and_calls_for_nobody(store: Store) -> None:
    task = a_task(TaskState.COMPLETED, settled_at=NOW, settled_by=OutcomeSource.CALLBACK)
    await put(store, task)
    assert await an_ingest(store).receive_callback(task.ref, b"junk", b"{}") is Verdict.UNPARSED
    assert await notices(store) == []


async def test_a_withdrawn_task_that_ends_all_the_same_calls_for_a_person(store: Store) -> None:
    """After a 503 that was in truth taken, its maker withdrew it: it may cost, and there are pictures."""
    task = a_task(TaskState.CANCELLED, settled_by=OutcomeSource.PERSON)
    await put(store, task)
    ended = a_body(says(Ending.COMPLETED, shape=OutcomeShape.TASK))
    assert await an_ingest(store).receive_callback(task.ref, ended, b"{}") is Verdict.CONFLICT
    [told] = await notices(store)
    assert (told.event, told.ref) == (NoticeEvent.ATTENTION, task.ref)


async def test_attention_for_a_task_is_told_to_those_who_hear_of_it(store: Store) -> None:
    """Where nobody of them does, all are: a person is needed."""
    heroes = replace(SLACK, name="heroes", labels=("hero*",))
    for label, names in (("hero-1", ["heroes", "team"]), ("extra", ["team"])):
        async with store.write() as tx:
            policy = replace(POLICY, targets=(heroes, replace(SLACK, name="team")))
            assert await raise_attention(tx, f"cause-{label}", "look", policy, NOW, a_task(label=label))
        assert sorted(it.target for it in await notices(store) if it.report.label == label) == names
    async with store.write() as tx:
        alone = replace(POLICY, targets=(heroes,))
        assert await raise_attention(tx, "cause", "look", alone, NOW, a_task(label="alone"))
    assert [it.target for it in await notices(store) if it.report.label == "alone"] == ["heroes"]


async def test_an_end_that_a_person_believed_was_not_withdrawn(store: Store) -> None:
    """Nor does another end that contradicts it call for anybody: it was believed by somebody who looked."""
    task = a_task(TaskState.COMPLETED, settled_by=OutcomeSource.PERSON, settled_at=NOW)
    await put(store, task)
    assert await an_ingest(store).receive_callback(task.ref, a_body(says(Ending.FAILED)), b"{}") is Verdict.CONFLICT
    assert await notices(store) == []


async def test_pictures_after_a_failure_that_nobody_could_confirm_call_for_a_person(store: Store) -> None:
    """They were paid for, and the task will not change by itself any more."""
    task = a_task(TaskState.FAILED, settled_by=OutcomeSource.CALLBACK, settled_at=NOW, confirmed=False)
    await put(store, task)
    assert (
        await an_ingest(store).receive_callback(task.ref, a_body(foreign(Ending.COMPLETED)), b"{}") is Verdict.CONFLICT
    )
    [told] = await notices(store)
    assert (told.event, told.report.cause) == (NoticeEvent.ATTENTION, f"conflict:{task.ref}")
    assert told.report.text is not None
    assert "reported as failed" in told.report.text
    assert "says completed" in told.report.text


async def test_pictures_after_a_refusal_open_the_task_again_and_a_poll_settles_it(store: Store) -> None:
    """A gateway answered with an error, the ping says failed and to submit again: that would be paid twice."""
    refusal = TaskError("004007002", "imageNo is missing")
    task = a_task(TaskState.FAILED, task_id=None, settled_by=OutcomeSource.ANSWER, settled_at=NOW, error=refusal)
    await put(store, task)
    ended = a_body(says(Ending.COMPLETED, shape=OutcomeShape.TASK))
    for _ in range(2):
        assert await an_ingest(store).receive_callback(task.ref, ended, b"{}") is Verdict.HINT
    [notice] = await notices(store)
    assert (notice.event, notice.report.cause) == (NoticeEvent.ATTENTION, f"taken:{task.ref}")
    assert "Do not submit it again" in (notice.report.text or "")
    reopened = await got(store, task.ref)
    assert (reopened.state, reopened.unsure, reopened.error) == (TaskState.WAITING, True, refusal)
    assert (reopened.settled_at, reopened.poll_at) == (None, NOW)
    provider, clock = FakeProvider(), Clock()
    provider.replies.append(heard(says(Ending.COMPLETED)))
    sweep = a_sweep(store, provider, clock, TOLD)
    await sweep.carry_out(await claimed(sweep.claim))
    after = await got(store, task.ref)
    assert (after.state, after.task_id, after.error, after.confirmed) == (TaskState.COMPLETED, "job-1", None, True)
    assert [it.event for it in await notices(store, task.ref)][-1] is NoticeEvent.COMPLETED
