"""Two processes end, cancel and repeat the rows of one batch at once: it ends once, and each row has one task."""

import asyncio

import pytest
from msgspec.structs import replace

from kit.batches import BatchBench, a_row
from kit.lock_waits import somebody_waits
from receiver.client.batch_schemas import NewBatch
from receiver.core.errors import RequestRefused
from receiver.core.types import Ending, TaskState
from receiver.store import Store
from receiver.tasks.judge_requests import CreatedTask

pytestmark = pytest.mark.anyio

TIMES = 8


@pytest.fixture
def benches(store: Store, other: Store) -> tuple[BatchBench, BatchBench]:
    return BatchBench(store), BatchBench(other)


Benches = tuple[BatchBench, BatchBench]


async def test_the_last_two_rows_end_at_once_and_the_batch_ends_once(benches: Benches) -> None:
    one, two = benches
    for time in range(TIMES):
        name = f"batch {time}"
        first, second = await one.open(name, 2)
        await one.control.close(name)
        await asyncio.gather(one.end(first), two.end(second) if time % 2 else two.lose(second))
        assert (await one.lane(name)).finished_at is not None
    assert sorted(it.report.batch or "" for it in await one.told()) == [f"batch {time}" for time in range(TIMES)]


async def test_a_batch_that_is_closed_when_its_last_row_ends_has_ended(benches: Benches) -> None:
    one, two = benches
    for time in range(TIMES):
        name = f"batch {time}"
        [row] = await one.open(name, 1)
        await asyncio.gather(one.end(row), two.control.close(name))
        assert (await one.lane(name)).finished_at is not None
    assert len(await one.told()) == TIMES


async def test_one_name_makes_one_batch(benches: Benches, store: Store) -> None:
    one, two = benches
    for time in range(TIMES):
        opened = await asyncio.gather(*(it.control.open(NewBatch(f"batch {time}")) for it in (one, two, one, two)))
        assert len({lane.id for lane in opened}) == 1
    assert len(await store.lanes.page(None, 100)) == TIMES


async def test_a_row_that_two_ask_for_is_made_once(benches: Benches) -> None:
    one, two = benches
    await one.open()
    for line in range(2, 2 + TIMES):
        asked = [a_row(line), a_row(line + 100)]
        made = await asyncio.gather(
            one.intake.create_many(asked, batch="rows"), two.intake.create_many(asked[::-1], batch="rows")
        )
        [here, there] = [{it.task.ref for it in some if isinstance(it, CreatedTask) and it.task} for some in made]
        assert here == there
        assert len(here) == 2
    assert len(await one.rows()) == 2 * TIMES


async def test_no_row_is_added_to_a_batch_that_is_closed(benches: Benches, store: Store) -> None:
    one, two = benches
    for time in range(TIMES):
        name = f"batch {time}"
        [row] = await one.open(name, 1)
        await one.end(row)
        [made], _ = await asyncio.gather(one.intake.create_many([a_row(9)], batch=name), two.control.close(name))
        lane = await one.lane(name)
        rows = await one.rows(name)
        if isinstance(made, RequestRefused):
            assert made.code == "batch_closed"
            assert (len(rows), lane.finished_at is None) == (1, False)
        else:
            assert (len(rows), lane.finished_at is None) == (2, True)


@pytest.mark.parametrize("ending", [TaskState.SUBMITTING, TaskState.FAILED])
async def test_what_changes_while_the_batch_is_cancelled_is_not_withdrawn(
    benches: Benches, store: Store, ending: TaskState
) -> None:
    """Else what the provider has would be paid for and forgotten."""
    one, two = benches
    rows = await one.open("rows", 2 * TIMES)
    async with store.write() as tx:
        found = await tx.tasks.get([it.ref for it in rows[::2]])
        await tx.tasks.update([(it, replace(it, state=ending, due_at=None, claim=1)) for it in found.values()])
        assert await tx.batch_rows.count_states(rows[0].lane) == {TaskState.QUEUED: TIMES, ending: TIMES}
        cancelling = asyncio.create_task(two.control.cancel("rows"))
        await somebody_waits(store)
    change = await cancelling
    assert change.changed == TIMES
    assert [it.state for it in await one.rows()] == [ending, TaskState.CANCELLED] * TIMES


async def test_two_who_repeat_what_failed_make_one_task_a_row(benches: Benches) -> None:
    one, two = benches
    rows = await one.open("rows", 2 * TIMES)
    for row in rows:
        await one.end(row, Ending.FAILED)
    changes = await asyncio.gather(one.control.retry("rows"), two.control.retry("rows"))
    assert sum(it.changed for it in changes) == len(rows)
    now = await one.rows()
    assert [it.again_of for it in now] == [it.ref for it in rows]
    assert {it.state for it in now} == {TaskState.QUEUED}
