"""Who goes when a budget has no room for the first in line: other batches, other models, what a person put first."""

import pytest
from msgspec.structs import replace

from kit.fakes import MINUTE, MODEL, NOW, Clock, a_task, got, notices, put
from kit.spending import CENT, PRICED, Spender, a_spender, check_books
from receiver.core.budgets import Budget, BudgetRules
from receiver.core.money import NANO
from receiver.core.queue_waits import QueueReason
from receiver.core.types import HIGH_LANE, Ending, LanePriority, NoticeEvent, QueueLane, Task, TaskState
from receiver.store import Store

pytestmark = pytest.mark.anyio

OTHER = "midjourney_imagine"


async def a_batch(
    spender: Spender, name: str, rows: int, *, priority: int = -1, budget: str | None = None, model: str = MODEL
) -> list[Task]:
    """A batch of so many queued rows."""
    lane = QueueLane(id=0, name=name, batch=True, priority=LanePriority(priority), created_at=NOW, budget=budget)
    async with spender.store.write() as tx:
        await tx.lanes.insert(lane)
    made = (await spender.store.lanes.by_name([name]))[name]
    tasks = [
        replace(a_task(TaskState.QUEUED, lane=made.id, turn=turn, created_at=spender.clock()), model=model)
        for turn in range(1, rows + 1)
    ]
    await put(spender.store, *tasks)
    return tasks


async def test_however_many_batches_wait_for_their_own_money_the_next_one_goes(store: Store, clock: Clock) -> None:
    spender = a_spender(store, clock, BudgetRules(prices=PRICED), width=200)
    stuck = [await a_batch(spender, f"stuck-{number}", 2, budget="0.06") for number in range(60)]
    clock.forward(1)
    free = await a_batch(spender, "free", 3)
    sent = await spender.send_all(200)
    assert {it.ref for it in sent} == {*(first.ref for first, _ in stuck), *(it.ref for it in free)}
    waits = await spender.submit.queue.find_waits([await got(store, second.ref) for _, second in stuck])
    assert {it and it.why for it in waits} == {QueueReason.BUDGET}
    clock.forward(MINUTE)
    assert await spender.send() is None
    again = await spender.submit.queue.find_waits([await got(store, second.ref) for _, second in stuck])
    assert [it and it.since for it in again] == [it and it.since for it in waits]
    first = next(it for it in sent if it.ref == stuck[41][0].ref)
    await spender.end(first, "0.01")
    assert {it.ref for it in await spender.send_all(200)} == {second.ref for _, second in stuck}, "as cheap as the last"
    await check_books(store)


async def test_a_single_task_of_a_priority_goes_before_the_batches_of_that_priority(store: Store, clock: Clock) -> None:
    spender = a_spender(store, clock, BudgetRules(prices=PRICED), width=3)
    rows = await a_batch(spender, "rows", 3, priority=1)
    clock.forward(MINUTE)
    single = a_task(TaskState.QUEUED, lane=HIGH_LANE, created_at=clock(), turn=1)
    await put(store, single)
    assert [it.ref for it in await spender.send_all()] == [single.ref, rows[0].ref, rows[1].ref]


# -- a provider that does not say what its tasks cost --


@pytest.mark.parametrize("of_batch", [False, True])
async def test_a_model_whose_costs_are_not_told_waits_for_a_price(store: Store, clock: Clock, of_batch: bool) -> None:
    """A budget over costs that nobody knows would stop nothing."""
    spender = a_spender(store, clock, BudgetRules(None if of_batch else Budget(NANO)))
    if of_batch:
        tasks = await a_batch(spender, "rows", 40, budget="1")
    else:
        tasks = await spender.queue(40)
    [first] = await spender.send_all()
    await spender.end(first, None)
    for _ in range(3):
        assert await spender.send() is None
        clock.forward(70 * MINUTE)
    [wait] = await spender.submit.queue.find_waits([tasks[1]])
    assert wait is not None
    assert wait.why is QueueReason.BUDGET
    assert wait.detail == (
        f"the provider did not say what a task of {MODEL} cost, so a budget cannot hold: nothing more of it is "
        f"submitted until {MODEL} has a price under [prices] in receiver.toml and the service is restarted"
    )
    [told] = await notices(store, event=NoticeEvent.ATTENTION)
    assert (told.report.text or "").lower().startswith("the provider did not say what a task of")
    priced = a_spender(store, clock, replace(spender.budget.rules, prices=PRICED))
    assert len(await priced.send_all()) == 10
    await check_books(store)


async def test_what_is_not_told_of_one_model_holds_up_neither_another_lane_nor_a_priced_model(
    store: Store, clock: Clock
) -> None:
    spender = a_spender(store, clock, BudgetRules(Budget(NANO), prices={OTHER: 5 * CENT}))
    await spender.queue(3)
    other = await a_batch(spender, "other", 3, model=OTHER)
    first, *rest = await spender.send_all()
    assert [it.ref for it in rest] == [it.ref for it in other]
    await spender.end(first, None)
    assert await spender.send() is None
    more = await a_batch(spender, "more", 2, model=OTHER)
    assert [it.ref for it in await spender.send_all()] == [it.ref for it in more]


async def test_failures_that_cost_nobody_knows_what_are_waited_for_after_the_third(store: Store, clock: Clock) -> None:
    spender = a_spender(store, clock, BudgetRules(Budget(NANO)))
    await spender.queue(9)
    for _ in range(3):
        [task] = await spender.send_all()
        await spender.end(task, None, Ending.FAILED)
    assert await spender.send() is None
    spender = a_spender(store, clock, BudgetRules())
    assert len(await spender.send_all()) == 6, "without a budget nothing waits"
