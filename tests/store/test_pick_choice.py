"""Which of the tasks that wait for a picture go on when a person picks, from which, and what a batch of them can do."""

import pytest

from kit.batches import BatchBench
from kit.chains import ChainBench, a_child, check_counts
from kit.fakes import put
from receiver.core.errors import RequestRefused
from receiver.core.types import PauseCause
from receiver.store import Store

pytestmark = pytest.mark.anyio


async def test_a_batch_that_only_waits_for_picks_can_be_paused_and_resumed(store: Store) -> None:
    bench, rows = ChainBench(store), BatchBench(store)
    [root] = await rows.open(lines=1)
    child = a_child(root, None, lane=root.lane, turn=3, row_key=b"child", quiet=True)
    await put(store, child)
    await rows.control.close("rows")
    await bench.end(root)
    await bench.follow_all()
    assert (await rows.lane()).finished_at is not None
    assert (await rows.control.pause("rows")).paused_by is PauseCause.PERSON

    await bench.picks.pick(child.ref, [0])
    assert await store.tasks.next_queued(bench.clock()) is None, "what is picked waits with its batch"
    assert (await rows.control.resume("rows")).paused_at is None
    assert await store.tasks.next_queued(bench.clock()) is not None

    await bench.end(child)
    for change in (rows.control.pause, rows.control.resume):
        with pytest.raises(RequestRefused) as caught:
            await change("rows")
        assert caught.value.code == "batch_finished"
    await check_counts(store)


async def test_one_that_is_paused_while_it_waits_for_picks_is_resumed_before_any_pick(store: Store) -> None:
    bench, rows = ChainBench(store), BatchBench(store)
    [root] = await rows.open(lines=1)
    child = a_child(root, None, lane=root.lane, turn=3, row_key=b"child", quiet=True)
    await put(store, child)
    await rows.control.close("rows")
    await bench.end(root)
    await bench.follow_all()
    await rows.control.pause("rows")
    assert (await rows.control.resume("rows")).paused_at is None
    await bench.picks.pick(child.ref, [0])
    assert await store.tasks.next_queued(bench.clock()) is not None
