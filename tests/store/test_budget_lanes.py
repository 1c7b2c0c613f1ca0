"""Who goes when a budget has no room for the first in line: other batches, other models, what a person put first."""

import pytest
from msgspec.structs import replace

from kit.fakes import MINUTE, MODEL, NOW, Clock, a_task, got, notices, put
from kit.spending import CENT, PRICED, Spender, a_spender, check_books
from receiver.core.budgets import Budget, BudgetRules, no_price_text
from receiver.core.errors import RequestRefused
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
    assert (wait.why, wait.detail) == (QueueReason.PRICE, no_price_text(MODEL))
    [told] = await notices(store, event=NoticeEvent.ATTENTION)
    assert told.report.text == (
        f"The provider does not say what {MODEL} costs: set its price under [prices] in receiver.toml, and restart the "
        "service. Without it a budget cannot hold, so until then no more of its tasks are submitted."
    )
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


# -- batches --


async def test_a_batch_that_has_used_up_its_own_budget_is_paused_and_others_go_on(store: Store, clock: Clock) -> None:
    spender = a_spender(store, clock, BudgetRules(prices=PRICED))
    async with store.write() as tx:
        low = (await tx.lanes.by_name(["low"]))["low"]
        await tx.lanes.insert(replace(low, name="rows", batch=True, budget="0.10"))
    lane = (await store.lanes.by_name(["rows"]))["rows"]
    await put(store, *[a_task(TaskState.QUEUED, lane=lane.id, turn=turn) for turn in range(4)])
    for _ in range(2):
        [task] = await spender.send_all(1)
        await spender.end(task, "0.05")
    assert await spender.send() is None
    paused = (await store.lanes.get([lane.id]))[lane.id]
    assert (paused.paused_at, paused.paused_why) == (
        NOW,
        "its budget of $0.10 is used up: $0.10 is spent; $0.20 is enough",
    )
    [told] = await notices(store, event=NoticeEvent.ATTENTION)
    assert told.report.text == (
        "The batch rows is paused, because its budget of $0.10 is used up: $0.10 is spent. 2 of its tasks wait. "
        "To let them go, run `receiver costs raise rows 0.20`."
    )
    await spender.queue()
    assert len(await spender.send_all()) == 1
    for name, limit, code in (
        ("rows", CENT, "invalid_parameter"),
        ("low", NANO, "not_found"),
        ("x", NANO, "not_found"),
    ):
        with pytest.raises(RequestRefused) as refused:
            async with store.write() as tx:
                await spender.budget.raise_lane(tx, name, limit)
        assert refused.value.code == code
    async with store.write() as tx:
        await spender.budget.raise_lane(tx, "rows", 15 * CENT)
    assert len(await spender.send_all()) == 1


async def test_a_batch_whose_budget_is_in_hand_waits_alone(store: Store, clock: Clock) -> None:
    """Neither a single task nor a batch behind it waits for its money."""
    spender = a_spender(store, clock, BudgetRules(prices=PRICED))
    async with store.write() as tx:
        low = (await tx.lanes.by_name(["low"]))["low"]
        for name, budget in (("rows", "0.12"), ("more", None)):
            await tx.lanes.insert(replace(low, name=name, batch=True, priority=1, budget=budget))
    lanes = await store.lanes.by_name(["rows", "more"])
    rows, more = (
        [a_task(TaskState.QUEUED, lane=lanes[name].id, turn=turn) for turn in range(3)] for name in ("rows", "more")
    )
    [single] = await spender.queue()
    await put(store, *rows, *more)
    sent = {task.ref for task in await spender.send_all()}
    assert sent == {single.ref, *(it.ref for it in (*rows[:2], *more))}
    [waits, none] = await spender.submit.queue.find_waits([await got(store, rows[2].ref), await got(store, single.ref)])
    assert none is None
    assert waits is not None
    assert waits.why is QueueReason.BUDGET


async def test_a_batch_gets_a_budget_later_and_a_lower_one_as_far_as_it_is_not_spent(
    store: Store, clock: Clock
) -> None:
    spender = a_spender(store, clock, BudgetRules(prices=PRICED), width=2)
    rows = await a_batch(spender, "rows", 9)

    async def set_to(limit: int) -> None:
        async with store.write() as tx:
            await spender.budget.raise_lane(tx, "rows", limit)

    assert len(await spender.send_all()) == 2
    with pytest.raises(RequestRefused, match=r"\$0\.10 of the budget of the batch rows is spent or reserved already"):
        await set_to(9 * CENT)
    await set_to(NANO)
    await set_to(15 * CENT)
    for row in rows[:2]:
        await spender.end(await got(store, row.ref), "0.05")
    assert len(await spender.send_all()) == 1
    assert await spender.committed() == 15 * CENT
