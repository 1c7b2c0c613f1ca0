"""Claims beside ends, over one batch: both lock its tasks and books before the batch, so neither waits in a circle; and
a claim pauses a batch only as it is once nobody else changes it."""

import asyncio

import pytest
from msgspec.structs import replace

from kit.fakes import NOW, POLICY, Clock, a_task, got, notices, put
from kit.lock_waits import somebody_waits
from kit.spending import CENT, PRICED, Spender, a_spender, check_books
from kit.submit_loop import put_state
from receiver.core.batches import pause_lane
from receiver.core.budgets import BudgetRules, BudgetWait, BudgetWaits
from receiver.core.types import LanePriority, NoticeEvent, PauseCause, QueueLane, Task, TaskState
from receiver.store import Store, Tx
from receiver.store.tables.tasks import TaskTable
from receiver.tasks.batch_ends import record_ends

pytestmark = pytest.mark.anyio


@pytest.fixture
def spender(store: Store, clock: Clock) -> Spender:
    return a_spender(store, clock, BudgetRules(prices=PRICED))


async def a_batch(
    store: Store, rows: int, *, name: str = "rows", budget: str | None = None
) -> tuple[QueueLane, list[Task]]:
    """A batch of so many queued rows; one that is made later comes later in the queue."""
    lane = QueueLane(id=0, name=name, batch=True, priority=LanePriority.LOW, created_at=NOW, budget=budget)
    async with store.write() as tx:
        await tx.lanes.insert(lane)
    made = await the_lane(store, name)
    tasks = [a_task(TaskState.QUEUED, lane=made.id, turn=turn, created_at=NOW) for turn in range(1, rows + 1)]
    await put(store, *tasks)
    return made, tasks


async def the_lane(store: Store, name: str = "rows") -> QueueLane:
    return (await store.lanes.by_name([name]))[name]


async def write_end(tx: Tx, sent: Task) -> Task:
    """End a task: it is written, and its books."""
    task = (await tx.tasks.get([sent.ref]))[sent.ref]
    ended = replace(task, state=TaskState.FAILED, settled_at=NOW, poll_at=None, place_until=None)
    await tx.tasks.update([(task, ended)])
    assert (await tx.batch_rows.count_states(task.lane))[TaskState.FAILED] == 1
    return ended


async def test_a_claim_and_an_end_of_one_batch_do_not_wait_in_a_circle(
    store: Store, other: Store, spender: Spender
) -> None:
    """The end has written its books, for which the claim waits, when it comes to lock the batch."""
    _, [_, second] = await a_batch(store, 2)
    [sent] = await spender.send_all(1)
    async with other.write() as tx:
        ended = await write_end(tx, sent)
        claim = asyncio.create_task(spender.submit.claim())
        await somebody_waits(other)
        await record_ends(tx, [ended], POLICY, NOW)
    work = await claim
    assert work is not None
    assert work.ref == second.ref
    assert (await got(store, sent.ref)).state is TaskState.FAILED
    await check_books(store)


async def use_up(spender: Spender) -> None:
    """A batch whose budget two of its three rows have used up."""
    await a_batch(spender.store, 3, budget="0.10")
    for _ in range(2):
        [sent] = await spender.send_all(1)
        await spender.end(sent, "0.05")


async def test_a_batch_that_a_person_pauses_at_that_moment_is_paused_by_the_person(
    store: Store, other: Store, spender: Spender
) -> None:
    await use_up(spender)
    async with other.write() as tx:
        lane = (await tx.lanes.by_name(["rows"]))["rows"]
        claim = asyncio.create_task(spender.submit.claim())
        await somebody_waits(other)
        await tx.lanes.update(pause_lane(lane, PauseCause.PERSON, NOW))
    assert await claim is None
    assert (await the_lane(store)).paused_by is PauseCause.PERSON
    assert await notices(store, event=NoticeEvent.ATTENTION) == []


async def test_a_claim_that_pauses_a_batch_does_not_wait_in_a_circle_either(
    store: Store, other: Store, spender: Spender
) -> None:
    """It pauses the batch in front, and claims a task of the next one; rows of both end at that moment."""
    await use_up(spender)
    _, [_, second] = await a_batch(store, 2, name="behind")
    async with store.write() as tx:  # so that the row behind goes first
        front = (await tx.lanes.by_name(["rows"]))["rows"]
        await tx.lanes.update(pause_lane(front, PauseCause.PERSON, NOW))
    [sent] = await spender.send_all(1)
    async with store.write() as tx:
        await tx.lanes.update(front)
    async with other.write() as tx:
        ended = await write_end(tx, sent)
        claim = asyncio.create_task(spender.submit.claim())
        await somebody_waits(other)
        await record_ends(tx, [replace(ended, lane=front.id), ended], POLICY, NOW)
    work = await claim
    assert work is not None
    assert work.ref == second.ref
    assert (await the_lane(store)).paused_by is PauseCause.BUDGET
    await check_books(store)


@pytest.mark.parametrize("change", ["nothing", "no budget", "finished"])
async def test_a_batch_that_has_money_or_has_ended_by_then_is_not_paused(
    store: Store, spender: Spender, change: str
) -> None:
    lane, _ = await a_batch(store, 1, budget="0.10")
    changed = {"nothing": lane, "no budget": replace(lane, budget=None), "finished": replace(lane, finished_at=NOW)}
    async with store.write() as tx:
        await tx.lanes.update(changed[change])
        await spender.budget.pause_used_up(tx, {lane.id: 5 * CENT}, NOW)
    assert await the_lane(store) == changed[change]
    assert await notices(store, event=NoticeEvent.ATTENTION) == []


@pytest.mark.parametrize("waited", [False, True])
async def test_a_pause_just_before_the_claim_looks_at_the_batch_counts(
    store: Store, other: Store, spender: Spender, monkeypatch: pytest.MonkeyPatch, waited: bool
) -> None:
    """Also if all waited for money before. Over SQLite there is no such moment: there the pause came before."""
    lane, _ = await a_batch(store, 1)
    _, [behind] = await a_batch(store, 1, name="behind")
    if waited:
        await put_state(store, waits=BudgetWaits(BudgetWait("there was none", NOW)))
    heads = TaskTable.queue_heads

    async def pause() -> None:
        async with other.write() as tx:
            await tx.lanes.update(pause_lane(lane, PauseCause.PERSON, NOW))

    async def heads_before_the_pause(table: TaskTable, now: int, *, limit: int) -> list[Task]:
        found = await heads(table, now, limit=limit)
        if store.shared and limit == 1 and table is not store.tasks:
            await pause()
        return found

    if not store.shared:
        await pause()
    monkeypatch.setattr(TaskTable, "queue_heads", heads_before_the_pause)
    work = await spender.submit.claim()
    assert work is not None
    assert work.ref == behind.ref
    assert (await the_lane(store)).paused_by is PauseCause.PERSON
