"""An end that nobody could confirm is corrected by what the provider says; nothing that was heard is swallowed."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kit.fakes import (
    MINUTE,
    NOW,
    PICTURES,
    POLICY,
    SLACK,
    Clock,
    FakeProvider,
    a_task,
    attention,
    foreign,
    got,
    notices,
    put,
    says,
)
from kit.sweep_loop import NOTHING, UNKNOWN, Rig, a_sweep, heard
from receiver.core.errors import StoreUnavailable
from receiver.core.types import (
    Ending,
    Image,
    ImageCopy,
    NoticeEvent,
    OutcomeSource,
    Task,
    TaskOrigin,
    TaskState,
    Verdict,
)
from receiver.store import open_store
from receiver.tasks.ingest import ENDS_MOST, KEPT_MOST

pytestmark = pytest.mark.anyio

TOLD = replace(POLICY, targets=(SLACK,))
OTHERS = (Image(0, "https://pics.example/forged-0.png"), Image(4, "https://pics.example/forged-4.png"))


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    store = await open_store(tmp_path / "r.db")
    provider, clock = FakeProvider(), Clock()
    yield Rig(store, provider, clock, a_sweep(store, provider, clock, TOLD))
    await store.close()


async def forged(rig: Rig, ending: Ending = Ending.FAILED, **more: Any) -> Task:
    """A task that a forged callback settled, because the provider could not be asked in time."""
    task = a_task(submitted_at=NOW, **more)
    await put(rig.store, task)
    rig.provider.reply = NOTHING
    await rig.receive(task, foreign(ending, images=OTHERS if ending is Ending.COMPLETED else ()), TOLD)
    while (await got(rig.store, task.ref)).settled_at is None:
        rig.clock.forward(MINUTE)
        await sweep_once(rig)
    settled = await got(rig.store, task.ref)
    assert (settled.confirmed, settled.poll_at) == (False, None)
    return settled


async def sweep_once(rig: Rig) -> bool:
    job = await rig.sweep.claim()
    if job is not None:
        await rig.sweep.carry_out(job)
    return job is not None


async def events(rig: Rig, task: Task) -> list[NoticeEvent]:
    return [it.event for it in await notices(rig.store, task.ref) if it.event is not NoticeEvent.ATTENTION]


async def test_the_callback_with_the_tasks_id_corrects_a_forged_end(rig: Rig) -> None:
    task = await forged(rig)
    assert await rig.receive(task, says(Ending.COMPLETED), TOLD) is Verdict.ACCEPTED
    after = await got(rig.store, task.ref)
    assert (after.state, after.confirmed, after.error) == (TaskState.COMPLETED, True, None)
    assert await events(rig, task) == [NoticeEvent.FAILED, NoticeEvent.COMPLETED]
    assert (await rig.store.tasks.images_by_ref([task.ref]))[task.ref] == PICTURES


async def test_forged_pictures_and_their_copies_are_replaced_by_the_true_ones(rig: Rig) -> None:
    task = await forged(rig, Ending.COMPLETED)
    async with rig.store.write() as tx:
        await tx.copies.upsert([(task.ref, ImageCopy(0, file="0.png")), (task.ref, ImageCopy(4, file="4.png"))])
    await rig.receive(task, says(Ending.COMPLETED), TOLD)
    assert (await rig.store.tasks.images_by_ref([task.ref]))[task.ref] == PICTURES
    assert await rig.store.copies.by_refs([task.ref]) == {}
    assert (await got(rig.store, task.ref)).archive_at == rig.clock()


async def test_a_callback_that_names_an_id_has_the_provider_asked_and_a_forged_end_corrected(rig: Rig) -> None:
    """A minted URL, whose id nobody told us, and a generation that outlasts CONFIRM_WITHIN."""
    task = await forged(rig, task_id=None)
    assert await rig.receive(task, says(Ending.COMPLETED, "job-7"), TOLD) is Verdict.CONFLICT
    assert f"conflict:{task.ref}" in await attention(rig.store)
    rig.provider.reply = heard(says(Ending.COMPLETED, "job-7"))
    assert await sweep_once(rig)
    after = await got(rig.store, task.ref)
    assert (after.state, after.task_id, after.confirmed, after.poll_at) == (TaskState.COMPLETED, "job-7", True, None)
    assert rig.provider.polled[-1] == "job-7"


async def test_a_made_up_id_is_denied_and_the_asking_ends(rig: Rig) -> None:
    task = await forged(rig, task_id=None)
    await rig.receive(task, says(Ending.COMPLETED, "made-up"), TOLD)
    rig.provider.reply = UNKNOWN
    assert await sweep_once(rig)
    after = await got(rig.store, task.ref)
    assert (after.state, after.confirmed, after.candidates, after.poll_at) == (TaskState.FAILED, False, (), None)
    assert not await sweep_once(rig)


async def test_while_the_provider_does_not_answer_it_is_asked_again_until_the_deadline(rig: Rig) -> None:
    task = await forged(rig)
    await rig.receive(task, foreign(Ending.COMPLETED), TOLD)
    polls = 0
    while (await got(rig.store, task.ref)).poll_at is not None:
        polls += await sweep_once(rig)
        rig.clock.forward(30 * MINUTE)
    assert 3 < polls < 200
    assert (await got(rig.store, task.ref)).state is TaskState.FAILED


async def test_a_person_may_still_believe_a_callback_against_a_forged_end(rig: Rig) -> None:
    task = await forged(rig, task_id=None)
    await rig.receive(task, foreign(Ending.COMPLETED), TOLD)
    async with rig.store.write() as tx:
        [kept] = [it for it in await tx.callbacks.page(ref=task.ref) if it.verdict is Verdict.CONFLICT]
    assert await rig.an_ingest(TOLD).replay(kept.id, accept=True) is Verdict.ACCEPTED
    after = await got(rig.store, task.ref)
    assert (after.state, after.settled_by) == (TaskState.COMPLETED, OutcomeSource.PERSON)


async def test_made_up_ends_without_an_id_keep_out_no_callback_that_names_one(rig: Rig) -> None:
    task = a_task(task_id=None, unsure=True)
    await put(rig.store, task)
    for number in range(KEPT_MOST + ENDS_MOST):
        await rig.receive(task, foreign(Ending.FAILED, job_id=str(number)), TOLD)
    with pytest.raises(StoreUnavailable):
        await rig.receive(task, foreign(Ending.FAILED, job_id="one more"), TOLD)
    assert await rig.receive(task, says(Ending.COMPLETED, "job-7"), TOLD) is Verdict.HINT
    rig.provider.reply = heard(says(Ending.COMPLETED, "job-7"))
    await sweep_once(rig)
    assert (await got(rig.store, task.ref)).state is TaskState.COMPLETED


@pytest.mark.parametrize("outcome", [says(Ending.RUNNING, "job-7"), None], ids=["running", "unreadable"])
async def test_any_call_for_a_refused_submission_is_told_and_opens_it_again(rig: Rig, outcome: Any) -> None:
    """A gateway answered 404 for a provider that took the task; the ping says: submit it again."""
    task = a_task(TaskState.FAILED, task_id=None, settled_by=OutcomeSource.ANSWER, settled_at=NOW)
    await put(rig.store, task)
    await rig.receive(task, outcome, TOLD)
    assert f"taken:{task.ref}" in await attention(rig.store)
    assert (await got(rig.store, task.ref)).state is TaskState.WAITING


@pytest.mark.parametrize(
    "outcome", [says(Ending.RUNNING), says(Ending.COMPLETED, images=()), None], ids=["running", "bare", "unreadable"]
)
async def test_any_call_for_a_withdrawn_task_is_told(rig: Rig, outcome: Any) -> None:
    task = a_task(TaskState.CANCELLED, task_id=None, settled_by=OutcomeSource.PERSON, settled_at=NOW)
    await put(rig.store, task)
    await rig.receive(task, outcome, TOLD)
    assert await attention(rig.store) == [f"withdrawn:{task.ref}"]


async def test_a_second_task_of_the_providers_for_one_submission_is_told(rig: Rig) -> None:
    """A gateway refused it in the provider's name, so it was sent again: both are paid for."""
    task, minted = a_task(submitted_at=NOW), a_task(task_id="job-9", origin=TaskOrigin.MINTED)
    await put(rig.store, task, minted)
    await rig.receive(task, says(Ending.RUNNING, "job-2"), TOLD)
    await rig.receive(task, foreign(Ending.COMPLETED), TOLD)
    await rig.receive(minted, says(Ending.COMPLETED, "job-3"), TOLD)
    assert await attention(rig.store) == []
    assert await rig.receive(task, says(Ending.COMPLETED, "job-2"), TOLD) is Verdict.HINT
    [told] = await notices(rig.store, event=NoticeEvent.ATTENTION)
    assert told.report.cause == f"another-id:{task.ref}"
    assert "job-2" in (told.report.text or "")
    await rig.receive(task, says(Ending.COMPLETED), TOLD)
    await rig.receive(task, says(Ending.COMPLETED, "job-4"), TOLD)
    assert len(await attention(rig.store)) == 1, "once an hour for each task"


async def test_the_callback_that_corrects_an_end_is_stored_whatever_came_before(rig: Rig) -> None:
    task = await forged(rig)
    full = replace(task, kept=KEPT_MOST, kept_ends=ENDS_MOST)
    async with rig.store.write() as tx:
        await tx.tasks.update([(task, full)])
    await rig.receive(task, says(Ending.COMPLETED), TOLD)
    newest = (await rig.store.callbacks.page(ref=task.ref))[0]
    assert newest.verdict is Verdict.ACCEPTED
