"""Many tasks in one transaction: each is judged by itself, and a repeated one is never made twice."""

import asyncio
from itertools import count
from typing import Any

import pytest
from msgspec.structs import replace

from kit.fakes import NOW, POLICY, Clock
from receiver.client.schemas import NewTask
from receiver.core.errors import RequestRefused, StaleUpdate, StoreUnavailable
from receiver.core.types import LanePriority, Policy, QueueLane, Task
from receiver.store import Store
from receiver.store.insist import DECIDE_TRIES
from receiver.tasks.intake import TaskIntake
from receiver.tasks.judge_requests import CreatedTask, CreationResult
from receiver.telemetry.metrics import Metrics
from receiver.tokens import Ring, new_ref

pytestmark = pytest.mark.anyio


def an_intake(store: Store, policy: Policy = POLICY) -> TaskIntake:
    ring, metrics = Ring(["k" * 32]), Metrics()
    return TaskIntake(store, policy, ring, Clock(), metrics, public_url="https://me.example", unreachable=None)


def wanted(job: str = "j", **more: Any) -> NewTask:
    return NewTask("midjourney_outpaint", {"jobId": job, "imageNo": 0, "scale": 1.5}, **more)


def row(job: str, line: int, **more: Any) -> NewTask:
    return wanted(job, line=line, row_key=f"key of {job}", **more)


def made(result: CreationResult) -> Task:
    assert isinstance(result, CreatedTask)
    assert result.task is not None
    assert not result.replayed
    return result.task


def replayed(result: CreationResult) -> Task:
    assert isinstance(result, CreatedTask)
    assert result.task is not None
    assert result.replayed
    return result.task


def refused(result: CreationResult) -> RequestRefused:
    assert isinstance(result, RequestRefused)
    return result


async def open_batch(store: Store, name: str = "rows", **more: Any) -> QueueLane:
    async with store.write() as tx:
        await tx.lanes.insert(QueueLane(id=0, name=name, batch=True, priority=LanePriority.LOW, created_at=NOW, **more))
    return (await store.lanes.by_name([name]))[name]


async def test_a_bad_item_keeps_no_other_from_being_accepted(store: Store) -> None:
    bad = RequestRefused(422, "invalid_parameter", "no JSON object")
    scale = replace(wanted(), params={"jobId": "j", "imageNo": 0, "scale": 99})
    results = await an_intake(store).create_many(
        [wanted("a"), bad, scale, wanted("b", targets=("nobody",)), wanted(new_ref(NOW)), wanted("c")]
    )
    tasks = [made(results[place]) for place in (0, 4, 5)]
    assert [refused(results[place]).status for place in (1, 2, 3)] == [422] * 3
    assert results[1] is bad
    assert await store.tasks.get([task.ref for task in tasks]) == {task.ref: task for task in tasks}
    assert len(await store.tasks.page()) == 3


async def test_the_tasks_of_a_call_go_out_in_its_order(store: Store) -> None:
    """Refs of one millisecond sort at random, turns do not."""
    tasks = [made(it) for it in await an_intake(store).create_many([wanted(str(at)) for at in range(100)])]
    assert [task.turn for task in tasks] == sorted({task.turn for task in tasks})


async def test_a_key_of_a_call_is_that_of_a_single_request(store: Store) -> None:
    intake = an_intake(store)
    first, _ = await intake.create_task(wanted("a"), "one")
    again, changed, other = await intake.create_many(
        [wanted("a", idempotency_key="one"), wanted("b", idempotency_key="one"), wanted("a", idempotency_key="two")]
    )
    assert replayed(again) == first
    assert (refused(changed).status, refused(changed).code) == (409, "idempotency_key_reused")
    assert made(other).ref != first.ref
    assert await intake.create_task(wanted("a"), "two") == (made(other), True)


async def test_a_key_that_stands_twice_in_one_call_makes_one_task(store: Store) -> None:
    first, same, changed = await an_intake(store).create_many(
        [wanted("a", idempotency_key="k"), wanted("a", idempotency_key="k"), wanted("b", idempotency_key="k")]
    )
    assert replayed(same) == made(first)
    assert refused(changed).code == "idempotency_key_reused"
    assert len(await store.tasks.page()) == 1


async def test_a_refused_item_uses_up_no_key(store: Store) -> None:
    no_target = wanted("a", idempotency_key="k", targets=("nobody",))
    first, second = await an_intake(store).create_many([no_target, wanted("a", idempotency_key="k")])
    assert refused(first).code == "unknown_target"
    made(second)


async def test_a_key_whose_task_was_removed_makes_no_other_in_a_call_either(store: Store) -> None:
    intake = an_intake(store)
    first, _ = await intake.create_task(wanted(), "key")
    await intake.cancel_task(first.ref)
    async with store.write() as tx:
        await tx.pruning.drop_tasks([first.ref], NOW, 10)
    one, two = await intake.create_many([wanted(idempotency_key="key"), wanted("b")])
    assert refused(one).status == 409
    assert first.ref in str(one)
    made(two)


async def test_a_repeated_item_gets_its_task_whatever_the_settings_are(store: Store) -> None:
    asked = wanted(idempotency_key="key")
    [first] = await an_intake(store).create_many([asked])
    [again] = await an_intake(store, replace(POLICY, can_poll=False)).create_many([asked])
    assert replayed(again) == made(first)


async def test_our_ref_in_place_of_the_provider_s_id_is_refused(store: Store) -> None:
    intake = an_intake(store)
    task, _ = await intake.create_task(wanted(), None)
    ours, theirs = await intake.create_many([wanted(task.ref), wanted("job")])
    assert refused(ours).field == "jobId"
    assert task.ref in str(ours)
    made(theirs)


async def test_two_calls_at_once_make_each_task_once(store: Store) -> None:
    intake = an_intake(store)
    asked = [wanted(str(at), idempotency_key=str(at)) for at in range(50)]
    one, two = await asyncio.gather(intake.create_many(asked), intake.create_many(asked[::-1]))
    refs = {it.task.ref for it in (*one, *two) if isinstance(it, CreatedTask) and it.task}
    assert len(refs) == len(await store.tasks.page(limit=200)) == 50


async def test_a_call_that_cannot_be_stored_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count()

    async def fail(*_: object) -> None:
        next(calls)
        raise StaleUpdate("killed here")

    monkeypatch.setattr("receiver.store.tables.tasks.TaskTable.remember_keys", fail)
    with pytest.raises(StoreUnavailable):
        await an_intake(store).create_many([wanted("a"), wanted("b", idempotency_key="k")])
    monkeypatch.undo()
    assert await store.tasks.page() == []
    assert next(calls) == DECIDE_TRIES


# -- rows of a batch --


async def test_a_row_is_made_once_however_often_and_with_whatever_label_it_is_sent(store: Store) -> None:
    lane = await open_batch(store)
    intake = an_intake(store)
    first, twin = await intake.create_many([row("a", 2), row("a", 9)], batch="rows")
    task = made(first)
    assert (task.lane, task.turn, task.quiet) == (lane.id, 2, True)
    assert replayed(twin) == task
    [again] = await intake.create_many([row("a", 3, label="corrected")], batch="rows")
    assert replayed(again) == task
    other = await open_batch(store, "others", each=True, label="l", targets=("slack",))
    [same_row] = await intake.create_many([row("a", 2)], batch="others")
    assert (made(same_row).lane, made(same_row).quiet) == (other.id, False)
    assert (made(same_row).label, made(same_row).targets) == ("l", ("slack",))


async def test_a_closed_batch_knows_its_rows_and_takes_no_others(store: Store) -> None:
    intake = an_intake(store)
    lane = await open_batch(store)
    [first] = await intake.create_many([row("a", 2)], batch="rows")
    async with store.write() as tx:
        await tx.lanes.update(replace(lane, closed_at=NOW))
    known, new = await intake.create_many([row("a", 2), row("b", 3)], batch="rows")
    assert replayed(known) == made(first)
    assert (refused(new).status, refused(new).code) == (409, "batch_closed")


async def test_a_row_needs_its_line_and_its_key_and_a_single_task_has_none(store: Store) -> None:
    await open_batch(store)
    intake = an_intake(store)
    for asked, field in (
        (wanted(line=2), "row_key"),
        (wanted(row_key="k"), "line"),
        (row("a", 2, idempotency_key="k"), "idempotency_key"),
        (row("a", 2, priority="high"), "priority"),
    ):
        [result] = await intake.create_many([asked], batch="rows")
        assert refused(result).field == field
    [result] = await intake.create_many([row("a", 2)])
    assert refused(result).field == "line"
    with pytest.raises(RequestRefused, match="no batch 'unknown'"):
        await intake.create_many([row("a", 2)], batch="unknown")
    with pytest.raises(RequestRefused, match="no batch 'normal'"):
        await intake.create_many([row("a", 2)], batch="normal")
    assert await store.tasks.page() == []


async def test_a_dry_run_says_all_and_stores_nothing(store: Store) -> None:
    intake = an_intake(store)
    results = await intake.create_many([row("a", 2), row("b", 3, targets=("nobody",))], batch="rows", dry_run=True)
    assert results[0] == CreatedTask(None)
    assert refused(results[1]).code == "unknown_target"
    await open_batch(store)
    [first] = await intake.create_many([row("a", 2)], batch="rows")
    results = await intake.create_many([row("a", 2), row("b", 3)], batch="rows", dry_run=True)
    assert replayed(results[0]) == made(first)
    assert results[1] == CreatedTask(None)
    assert len(await store.tasks.page()) == 1


async def test_two_submitters_of_one_file_make_each_row_once(store: Store) -> None:
    """2,000 rows, one of them in another order, in calls of 100 under way at once."""
    await open_batch(store)
    intake = an_intake(store)
    rows = [row(str(at), at + 2) for at in range(2_000)]
    calls = [whole[at : at + 100] for whole in (rows, rows[::-1]) for at in range(0, 2_000, 100)]
    answers = await asyncio.gather(*(intake.create_many(call, batch="rows") for call in calls))
    results = [it for answer in answers for it in answer]
    assert sum(isinstance(it, CreatedTask) and it.replayed for it in results) == 2_000
    assert len({it.task.ref for it in results if isinstance(it, CreatedTask) and it.task}) == 2_000
