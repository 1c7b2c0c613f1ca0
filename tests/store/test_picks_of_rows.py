"""A person picks pictures for rows of a batch: they go on in it, and it ends when only picks are open."""

import pytest

from kit.batches import BatchBench
from kit.chains import UPSCALE, ChainBench, a_child, check_counts
from kit.fakes import a_task, put
from receiver.core.chains import CHAIN_MOST
from receiver.core.types import Ending, TaskState
from receiver.store import Store

pytestmark = pytest.mark.anyio


async def test_a_picked_row_goes_on_in_its_batch(store: Store) -> None:
    bench, rows = ChainBench(store), BatchBench(store)
    [root] = await rows.open(lines=1)
    lane = root.lane
    child = a_child(root, None, lane=lane, turn=2, row_key=b"child", quiet=True)
    below = a_child(child, 0, UPSCALE, lane=lane, turn=2, row_key=b"below", quiet=True)
    await put(store, child, below)
    await rows.control.close("rows")
    await bench.end(root)
    await bench.follow_all()
    picked = await bench.picks.pick(root.ref, [0, 1])
    assert len({it.row_key for it in picked}) == 2
    assert await store.tasks.next_queued(bench.clock()) is not None
    for it in picked:
        await bench.end(it)
    await bench.follow_all()
    assert (await store.batch_rows.count_states(lane))[TaskState.QUEUED] == 2
    for it in await store.chains.tasks_of(root.ref, CHAIN_MOST):
        if it.model == UPSCALE:
            await bench.end(it)
    assert (await rows.lane()).finished_at is not None
    await check_counts(store)


async def test_each_step_of_a_row_may_be_picked_for_with_several_pictures(store: Store) -> None:
    bench, rows = ChainBench(store), BatchBench(store)
    [root] = await rows.open(lines=1)
    wide = a_child(root, None, lane=root.lane, turn=2, row_key=b"wide", quiet=True)
    big = a_child(wide, None, UPSCALE, lane=root.lane, turn=3, row_key=b"big", quiet=True)
    await put(store, wide, big)
    await bench.end(root)
    await bench.follow_all()
    for it in await bench.picks.pick(root.ref, [0, 1, 2]):
        await bench.end(it)
        await bench.follow_all()
        assert len(await bench.picks.pick(it.ref, [2, 1, 0])) == 3
    tasks = await store.chains.tasks_of(root.ref, CHAIN_MOST)
    assert len({it.row_key for it in tasks}) == len(tasks) == 3 + 9
    await check_counts(store)


async def test_a_batch_ends_when_only_picks_are_open_and_says_so_once_more_when_the_last_one_is_through(
    store: Store,
) -> None:
    bench, rows = ChainBench(store), BatchBench(store)
    roots = await rows.open(lines=2)
    lane = roots[0].lane
    steps = []
    for root in roots:
        wide = a_child(root, None, lane=lane, turn=root.turn, row_key=b"wide %d" % root.turn, quiet=True)
        big = a_child(wide, 0, UPSCALE, lane=lane, turn=root.turn, row_key=b"big %d" % root.turn, quiet=True)
        await put(store, wide, big)
        steps.append((wide, big))
    await rows.control.close("rows")
    for root in roots:
        await bench.end(root)
        assert (await rows.lane()).finished_at is None, "what waits was not told yet"
    await bench.follow_all()
    assert (await rows.lane()).finished_at is not None
    [first] = await rows.told()
    assert (first.report.failed, first.report.text) == (
        False,
        "2 of 6 completed, 2 wait for you to pick a picture, 2 more go on after that, in 0.0 s",
    )

    for (wide, big), told in zip(steps, (1, 2), strict=True):
        await bench.picks.pick(wide.ref, [2])
        assert (await rows.lane()).finished_at is None
        await bench.end(wide)
        assert (await rows.lane()).finished_at is None
        await bench.follow_all()
        await bench.end(big)
        assert (await rows.lane()).finished_at is not None
        assert len(await rows.told()) == told
    assert "all 6 completed" in ((await rows.told())[-1].report.text or "")
    await check_counts(store)


async def test_several_picks_in_a_batch_while_it_is_under_way_are_no_news_until_the_last_one_is_through(
    store: Store,
) -> None:
    bench, rows = ChainBench(store), BatchBench(store)
    roots = await rows.open(lines=3)
    steps = [a_child(it, None, lane=it.lane, turn=it.turn, row_key=b"w %d" % it.turn, quiet=True) for it in roots]
    await put(store, *steps)
    await rows.control.close("rows")
    for root in roots:
        await bench.end(root)
    await bench.follow_all()
    assert len(await rows.told()) == 1
    for wide in steps[:2]:  # the second one while the first is at the provider
        await bench.picks.pick(wide.ref, [2])
    for wide in steps[:2]:
        await bench.end(wide)
    await bench.follow_all()
    assert (await rows.lane()).finished_at is not None
    assert len(await rows.told()) == 1
    await bench.picks.pick(steps[2].ref, [2])
    await bench.end(steps[2])
    await bench.follow_all()
    assert "all 6 completed" in ((await rows.told())[-1].report.text or "")


async def test_a_lost_row_holds_up_neither_its_batch_nor_for_ever_what_waits_for_it(store: Store) -> None:
    bench, rows = ChainBench(store), BatchBench(store)
    [root] = await rows.open(lines=1)
    child = a_child(root, lane=root.lane, turn=2, row_key=b"child", quiet=True)
    await put(store, child)
    await rows.control.close("rows")
    await rows.lose(root)
    assert (await rows.lane()).finished_at is not None
    await bench.end(root)
    await bench.follow_all()
    assert (await rows.lane()).finished_at is None
    assert await store.tasks.next_queued(bench.clock()) is not None
    await bench.end(child)
    assert (await rows.lane()).finished_at is not None


async def test_a_row_that_waits_for_a_task_elsewhere_keeps_its_batch_open(store: Store) -> None:
    bench, rows = ChainBench(store), BatchBench(store)
    await rows.open()
    lane = (await rows.lane()).id
    outside = a_task()
    outside, child = await bench.plant(outside, a_child(outside, lane=lane, turn=2, row_key=b"child", quiet=True))
    await rows.control.close("rows")
    assert (await rows.lane()).finished_at is None
    await bench.end(outside, Ending.FAILED)
    await bench.follow_all()
    assert (await rows.lane()).finished_at is not None
