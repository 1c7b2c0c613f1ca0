"""Everything at once, by two processes: ends, picks, cancellations. Whatever comes first, the sums hold."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import pytest

from kit.batches import BatchBench, a_row
from kit.chain_requests import wide
from kit.chains import ChainBench, a_child, check_counts
from kit.fakes import a_task
from kit.spending import check_books
from receiver.client.schemas import WaitFor
from receiver.core.errors import RequestRefused
from receiver.core.types import Ending, Task, TaskState
from receiver.store import Store
from receiver.store.insist import decide_again

pytestmark = pytest.mark.anyio

ROWS, PARENTS = 16, 8


class Process:
    """What one process does, with a mind of its own."""

    def __init__(self, store: Store, seed: int) -> None:
        self.batches, self.chains, self.store = BatchBench(store), ChainBench(store), store
        self.random = random.Random(seed)  # noqa: S311 - the same each time

    @decide_again
    async def end(self, task: Task) -> None:
        """Let a task end in some way, unless it has."""
        async with self.store.write() as tx:
            if (await tx.tasks.get([task.ref]))[task.ref].state.is_final:
                return
        await self.batches.end(task, self.random.choice([Ending.COMPLETED, Ending.FAILED]))

    async def act(self, rows: list[Task], parents: list[Task], children: list[Task]) -> None:
        """Do all that can be done, in an order of its own; what is refused was somebody else's."""
        intake, control, picks = self.batches.intake, self.batches.control, self.chains.picks

        def add(number: int) -> Callable[[], Awaitable[object]]:
            asked = [a_row(number), a_row(number + 1)]
            return lambda: intake.create_many(asked, batch="rows")

        def follow_on(parent: Task) -> Callable[[], Awaitable[object]]:
            asked = wide(wait_for=WaitFor(parent.ref, image_no=0), anyway=True)
            return lambda: intake.create_many([asked])

        acts: list[Callable[[], Awaitable[object]]] = [
            *(lambda it=it: self.end(it) for it in (*rows, *parents)),
            *(lambda it=it: intake.cancel_task(it.ref) for it in (*rows[::3], *children[::5])),
            *(lambda it=it: picks.pick(it.ref, [0]) for it in (*parents, *children[::4])),
            *(self.chains.follow.claim for _ in range(PARENTS)),
            *map(add, range(100, 108)),
            *map(follow_on, parents),
            *(lambda: control.retry("rows") for _ in range(3)),
            lambda: control.pause("rows"),
            lambda: control.resume("rows"),
        ]
        self.random.shuffle(acts)
        for act in acts:
            with contextlib.suppress(RequestRefused):
                await act()


@pytest.mark.parametrize("seed", range(3))
async def test_the_sums_hold_whatever_comes_first(store: Store, other: Store, seed: int) -> None:
    one, two = Process(store, seed), Process(other, seed + 100)
    rows = await one.batches.open("rows", ROWS)
    parents, children = [], []
    for number in range(PARENTS):
        parent = a_task(task_id=f"job-{number}")
        parent, *below = await one.chains.plant(parent, *(a_child(parent, None if at else 0) for at in range(4)))
        parents.append(parent)
        children += below
    await asyncio.gather(one.act(rows, parents, children), two.act(rows, parents, children))
    one.chains.clock.forward(1_000)  # past a pause that it made while the other one had all
    await one.chains.follow_all()
    await check_counts(store)
    await check_books(store)
    lane = await one.batches.lane()
    keys = [it.row_key for it in await one.batches.rows()]
    assert len(keys) == len(set(keys)) == ROWS + 9
    await asyncio.gather(one.batches.control.cancel("rows"), two.batches.control.close("rows"))
    states = await store.batch_rows.count_states(lane.id)
    assert set(states) <= {TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED}
    assert (await one.batches.lane()).finished_at is not None
    assert len(await one.batches.told()) == 1
    await check_counts(store)
    await check_books(store)
