"""How many rows of batches are in each state, however many there are: counted along the index, never grouped."""

import pytest

from kit.batches import BatchBench
from kit.fakes import NOW
from receiver.core.types import TaskState
from receiver.store import Store

pytestmark = pytest.mark.anyio


async def test_the_rows_of_several_batches_are_counted_by_state_at_once(store: Store) -> None:
    bench = BatchBench(store)
    lanes = []
    for name, lines, ends in (("one", 3, 2), ("two", 3, 0), ("none", 0, 0)):
        for task in (await bench.open(name, lines=lines))[:ends]:
            await bench.end(task)
        lanes.append(await bench.lane(name))
    one, two, none = [it.id for it in lanes]
    expected: dict[int, dict[TaskState, int]] = {
        one: {TaskState.COMPLETED: 2, TaskState.QUEUED: 1},
        two: {TaskState.QUEUED: 3},
        none: {},
    }
    assert await store.batch_rows.states_by_lane([one, two, none]) == expected
    assert [it.states for it in await store.gallery.batch_news(lanes)] == list(expected.values())
    assert [it.states for it in await store.gallery.batch_cards(NOW)] == list(expected.values())[::-1]
    assert await store.tasks.count_by_state() == [("queued", 4)], "states without tasks are left out"
