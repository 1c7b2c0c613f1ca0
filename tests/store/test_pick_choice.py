"""Which of the tasks that wait for a picture go on when a person picks, from which, and what a batch of them can do."""

import msgspec
import pytest

from kit.batches import BatchBench
from kit.chains import REROLL, UPSCALE, ChainBench, a_child, check_counts, pictures
from kit.fakes import a_task, notices, put
from receiver.core.errors import RequestRefused
from receiver.core.types import HoldReason, Image, NoticeEvent, PauseCause, Task
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


async def pick(bench: ChainBench, ref: str, *numbers: int, job_id: str | None = None) -> list[tuple[str, object]]:
    """Which labels go on, and with which picture or job."""
    made = await bench.picks.pick(ref, numbers, job_id=job_id)
    params = [msgspec.json.decode(it.params) for it in made]
    return [(it.label or "", p.get("imageNo", p["jobId"])) for it, p in zip(made, params, strict=True)]


async def refused(bench: ChainBench, ref: str, *numbers: int, job_id: str | None = None) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        await bench.picks.pick(ref, numbers, job_id=job_id)
    return caught.value


async def ended(
    bench: ChainBench, *wanted: tuple[str, int | None, str], images: tuple[Image, ...] | None = None
) -> tuple[Task, ...]:
    """A completed task and, by label, number and model, what goes on from it."""
    root = a_task(label="make")
    root, *children = await bench.plant(root, *(a_child(root, no, model, label=name) for name, no, model in wanted))
    await bench.end(root, images=images)
    await bench.follow_all()
    return (root, *children)


def four(model: str = UPSCALE) -> list[tuple[str, int | None, str]]:
    return [(f"v #{no}", no, model) for no in range(4)]


async def test_with_the_job_each_goes_on_from_the_picture_that_it_wanted(store: Store) -> None:
    bench = ChainBench(store)
    root, *_ = await ended(bench, *four(), images=pictures(4, job_id=None))
    [notice] = await notices(store, event=NoticeEvent.ATTENTION)
    text = notice.report.text or ""
    assert f"`receiver tasks pick {root.ref} 0 --job-id ID`: each goes on from the picture that it wanted" in text
    picked = await bench.picks.pick(root.ref, [0], job_id="known")
    assert [msgspec.json.decode(it.params) for it in picked] == [
        {"jobId": "known", "imageNo": no, "type": 0} for no in range(4)
    ]
    assert [it.parent_image for it in picked] == [0, 1, 2, 3]
    await check_counts(store)


async def test_a_picture_that_did_not_come_is_replaced_for_each_by_itself(store: Store) -> None:
    bench = ChainBench(store)
    root, two, three = await ended(bench, ("v #2", 2, UPSCALE), ("v #3", 3, UPSCALE), images=pictures(2))
    [notice] = await notices(store, event=NoticeEvent.ATTENTION)
    text = notice.report.text or ""
    assert f"`receiver tasks pick {two.ref} N`" in text
    assert f"the others: {three.ref} (“v #3”, picture 3)" in text
    error = await refused(bench, root.ref, 0, 1)
    assert (error.status, error.code) == (409, "nothing_to_pick")
    assert f"{two.ref} (“v #2”, picture 2), {three.ref}" in error.problem
    assert f"`receiver tasks pick {two.ref} N`" in (error.remedy or "")
    assert "--job-id" in ((await refused(bench, root.ref, 0, job_id="j")).remedy or "")
    assert await pick(bench, two.ref, 0, 1) == [("v #2", 0), ("v #2 #1", 1)]
    assert await pick(bench, root.ref, 0) == [("v #3", 0)], "nothing else waits"
    await check_counts(store)


async def test_of_one_job_there_is_one_task_whatever_is_picked(store: Store) -> None:
    bench = ChainBench(store)
    wanted = [("again", 63, REROLL), ("again", 62, REROLL), ("print", None, UPSCALE), ("web", None, UPSCALE)]
    root, again, other, *_ = await ended(bench, *wanted, images=pictures(2, job_id=None))
    picked = [("again", "known"), ("print", 1), ("web", 1)]
    assert sorted(await pick(bench, root.ref, 1, job_id="known"), key=str) == picked
    [held] = [it for it in await bench.read(again, other) if it.held_by is HoldReason.PICK]
    assert (await refused(bench, root.ref, 1, job_id="known")).code == "picked"
    assert await pick(bench, held.ref, 1, job_id="other") == [("again", "other")]
    await check_counts(store)


async def test_several_pictures_make_one_task_of_what_takes_the_whole_job(store: Store) -> None:
    bench = ChainBench(store)
    root, again, one = await ended(bench, ("again", None, REROLL), ("print", None, UPSCALE))
    assert await pick(bench, root.ref, 2, 1) == [("again", "job of 2"), ("print", 2), ("print #1", 1)]
    lone = a_task(task_id="job-2")
    lone, again = await bench.plant(lone, a_child(lone, None, REROLL, label="again"))
    await bench.end(lone)
    await bench.follow_all()
    assert await pick(bench, again.ref, 2, 1) == [("again", "job of 2")]
    await check_counts(store)


async def test_equal_tasks_share_the_pictures_and_a_pick_given_again_pays_nothing_twice(store: Store) -> None:
    bench = ChainBench(store)
    root, *_ = await ended(bench, *(("same", None, UPSCALE) for _ in range(3)))
    assert sorted(await pick(bench, root.ref, 0, 1)) == [("same", 0), ("same", 1)]
    for numbers in ((0,), (1, 0)):
        error = await refused(bench, root.ref, *numbers)
        assert (error.status, error.code) == (409, "picked")
    assert await pick(bench, root.ref, 1, 2, 3) == [("same", 2), ("same #3", 3)]
    assert (await refused(bench, root.ref, 3)).code == "picked"
    await check_counts(store)


async def test_own_pictures_are_not_made_for_those_that_are_picked_for_others(store: Store) -> None:
    """One whose link has expired goes on from its own picture only."""
    bench = ChainBench(store)
    root, any_, own, other = await ended(
        bench, ("any", None, UPSCALE), ("own", 5, UPSCALE), ("other", 6, UPSCALE), images=pictures(3)
    )
    assert await pick(bench, root.ref, 1) == [("any", 1)]
    assert {it.held_by for it in await bench.read(own, other)} == {HoldReason.PICK}
    assert (await bench.read(any_))[0].held_by is None


@pytest.mark.parametrize("lost", [True, False])
async def test_whoever_knows_the_job_lets_a_fixed_picture_of_a_doubtful_end_go_on(store: Store, lost: bool) -> None:
    bench = ChainBench(store)
    root = a_task(label="make")
    root, *children = await bench.plant(root, *(a_child(root, no, UPSCALE, label=f"v #{no}") for no in range(3)))
    await (bench.lose(root) if lost else bench.end(root, unconfirmed="nothing confirms it"))
    for ref in (root.ref, children[1].ref):
        assert (await refused(bench, ref, 1)).code == "not_ended"
    error = await refused(bench, root.ref, 3, job_id="known")
    assert (error.code, "--job-id" in (error.remedy or "")) == ("nothing_to_pick", True)
    assert await pick(bench, root.ref, 1, job_id="known") == [("v #1", 1)]
    assert await pick(bench, children[0].ref, 0, job_id="known") == [("v #0", 0)]
    assert (await refused(bench, root.ref, 1, job_id="known")).code == "nothing_to_pick", "one still waits for its own"
    assert await pick(bench, root.ref, 2, job_id="known") == [("v #2", 2)]
    assert (await refused(bench, root.ref, 2, job_id="known")).code == "picked"
    await check_counts(store)


async def test_a_lost_task_for_which_nothing_waits_has_nothing_to_release(store: Store) -> None:
    bench = ChainBench(store)
    root = a_task(label="make")
    await put(store, root)
    await bench.lose(root)
    with pytest.raises(RequestRefused) as caught:
        await bench.picks.release(root.ref)
    assert (caught.value.code, caught.value.problem) == ("nothing_waits", "nothing waits for “make”")
