"""Somebody holds the next task of the queue, as a person with psql may for hours: others go meanwhile."""

import pytest
from msgspec.structs import replace

from kit.fakes import Clock, a_task, claimed, put
from kit.spending import CENT, PRICED, Spender, a_spender
from receiver.core.budgets import Budget, BudgetRules
from receiver.core.errors import StaleUpdate
from receiver.core.types import HIGH_LANE, PauseCause, Task, TaskState
from receiver.store import Store

pytestmark = pytest.mark.anyio


async def queue(store: Store, clock: Clock, *lanes: int) -> list[Task]:
    """A task in each of these lanes, in this order."""
    tasks = [a_task(TaskState.QUEUED, due_at=clock(), lane=lane, turn=turn) for turn, lane in enumerate(lanes)]
    await put(store, *tasks)
    return tasks


async def claim_beside(spender: Spender, held: list[Task]) -> Task | None:
    """What is claimed while somebody holds these tasks."""
    async with spender.store.write() as tx:
        assert len(await tx.tasks.get([it.ref for it in held])) == len(held)
        return await spender.submit.claim()


async def test_the_next_one_of_its_lane_goes(store: Store, clock: Clock) -> None:
    spender = a_spender(store, clock, BudgetRules())
    first, second, third = await queue(store, clock, 2, 2, 2)
    work = await claim_beside(spender, [first, second])
    assert work is not None
    assert work.ref == third.ref
    assert (await claimed(spender.submit.claim)).ref == first.ref


async def test_another_lane_goes_if_all_of_the_first_is_held(store: Store, clock: Clock) -> None:
    spender = a_spender(store, clock, BudgetRules())
    *held, free = await queue(store, clock, HIGH_LANE, HIGH_LANE, 2)
    work = await claim_beside(spender, held)
    assert work is not None
    assert work.ref == free.ref


async def test_if_all_are_held_the_claim_is_tried_again(store: Store, clock: Clock) -> None:
    spender = a_spender(store, clock, BudgetRules())
    held = await queue(store, clock, HIGH_LANE, 2)
    with pytest.raises(StaleUpdate):
        await claim_beside(spender, held)
    assert (await claimed(spender.submit.claim)).ref == held[0].ref


@pytest.mark.parametrize("cents", [9, 20])
async def test_the_next_one_is_judged_by_what_its_own_model_costs(store: Store, clock: Clock, cents: int) -> None:
    rules = BudgetRules(Budget(cents * CENT), prices={**PRICED, "dear": 10 * CENT})
    spender = a_spender(store, clock, rules)
    [first] = await queue(store, clock, 2)
    dear = replace(a_task(TaskState.QUEUED, due_at=clock(), lane=2, turn=7), model="dear")
    await put(store, dear)
    work = await claim_beside(spender, [first])
    if cents == 9:
        assert work is None
    else:
        assert work is not None
        assert (work.ref, work.reserved) == (dear.ref, 10 * CENT)


async def test_a_batch_that_is_used_up_is_paused_though_all_others_are_held(store: Store, clock: Clock) -> None:
    spender = a_spender(store, clock, BudgetRules(prices=PRICED))
    async with store.write() as tx:
        low = (await tx.lanes.by_name(["low"]))["low"]
        await tx.lanes.insert(replace(low, name="rows", batch=True, budget="0"))
    lane = (await store.lanes.by_name(["rows"]))["rows"].id
    held, _ = await queue(store, clock, 2, lane)
    assert await claim_beside(spender, [held]) is None
    assert (await store.lanes.by_name(["rows"]))["rows"].paused_by is PauseCause.BUDGET
    with pytest.raises(StaleUpdate):
        await claim_beside(spender, [held])
