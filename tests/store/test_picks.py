"""A person picks the picture from which a chain goes on, or says that an unconfirmed end is right; once."""

import asyncio
import contextlib

import msgspec
import pytest
from msgspec.structs import replace

from kit.chains import OUTPAINT, RETEXTURE, UPSCALE, ChainBench, a_child, check_counts, pictures
from kit.fakes import HOUR, NOW, a_task, got, notices, put
from receiver.core.chains import CHAIN_MOST
from receiver.core.errors import RequestRefused
from receiver.core.types import Ending, HoldReason, NoticeEvent, Task, TaskState
from receiver.store import Store
from receiver.tasks.follow import REMIND_AFTER_MS

pytestmark = pytest.mark.anyio


async def waiting(bench: ChainBench) -> tuple[Task, Task]:
    """A completed task, and one that waits for a pick of its pictures."""
    root = a_task(label="make", task_id=None)
    root, child = await bench.plant(root, a_child(root, None, label="wide"))
    await bench.end(root)
    await bench.follow_all()
    return root, child


async def refused(bench: ChainBench, ref: str, *numbers: int, job_id: str | None = None) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        await bench.picks.pick(ref, numbers, job_id=job_id)
    return caught.value


@pytest.mark.parametrize("by_parent", [True, False])
async def test_the_picked_picture_fills_what_waits_and_queues_it(store: Store, by_parent: bool) -> None:
    bench = ChainBench(store)
    root, child = await waiting(bench)
    [picked] = await bench.picks.pick(root.ref if by_parent else child.ref, [3], by="link")
    [child] = await bench.read(child)
    assert child == picked
    assert (child.held_by, child.due_at, child.parent_image, child.picked_by) == (None, bench.clock(), 3, "link")
    assert msgspec.json.decode(child.params) == {"jobId": "job of 3", "imageNo": 3, "scale": 1.5}
    assert ((await got(store, root.ref)).children, (await got(store, root.ref)).picks) == (0, 0)
    again = await refused(bench, root.ref if by_parent else child.ref, 3)
    assert (again.status, again.code, again.problem) == (409, "picked", "picture 3 was picked already")
    await check_counts(store)


async def test_of_two_who_pick_at_once_one_does(store: Store) -> None:
    bench = ChainBench(store)
    root, child = await waiting(bench)

    async def pick(number: int) -> bool:
        with contextlib.suppress(RequestRefused):
            return bool(await bench.picks.pick(root.ref, [number]))
        return False

    assert sum(await asyncio.gather(*(pick(number % 4) for number in range(8)))) == 1
    assert (await got(store, child.ref)).held_by is None
    await check_counts(store)


async def test_all_that_wait_for_a_pick_of_a_task_go_on_from_the_one_that_is_picked(store: Store) -> None:
    bench = ChainBench(store)
    root = a_task()
    root, one, two, fixed = await bench.plant(root, a_child(root, None), a_child(root, None, UPSCALE), a_child(root, 0))
    await bench.end(root)
    await bench.follow_all()
    picked = await bench.picks.pick(root.ref, [1])
    assert {it.ref for it in picked} == {one.ref, two.ref}
    assert {it.parent_image for it in await bench.read(one, two)} == {1}
    assert (await got(store, fixed.ref)).parent_image == 0


async def test_several_picks_copy_all_that_waits_below(store: Store) -> None:
    bench = ChainBench(store)
    root, wide = await waiting(bench)
    big, small = a_child(wide, 0, UPSCALE, label="big"), a_child(wide, None)
    last = a_child(big)
    gone = a_child(wide, held_by=None, state=TaskState.CANCELLED, settled_at=NOW)
    await put(store, big, small, last, gone)
    picked = await bench.picks.pick(wide.ref, [2, 0, 2, 1])
    assert [it.parent_image for it in picked] == [2, 0, 1]
    assert [it.label for it in picked] == ["wide", "wide #0", "wide #1"]
    tasks = await store.chains.tasks_of(root.ref, CHAIN_MOST)
    assert len(tasks) == 1 + 3 * 4 + 1
    for top in picked:
        below = [it for it in tasks if it.parent == top.ref and it.state is TaskState.QUEUED]
        assert sorted((it.model or "", it.parent_image) for it in below if it.parent_image is not None) == [
            (UPSCALE, 0)
        ]
        assert len(below) == 2
        assert (await got(store, top.ref)).children == 2
        [again] = [it for it in tasks if it.parent in {it.ref for it in below}]
        assert again.depth == 3
    await check_counts(store)
    for top in picked:
        await bench.end(top)
    await bench.follow_all()
    done = await store.chains.tasks_of(root.ref, CHAIN_MOST)
    assert sum(it.model == UPSCALE and it.held_by is None for it in done) == 3
    await check_counts(store)


async def test_a_chain_keeps_its_bound_when_several_are_picked(store: Store) -> None:
    bench = ChainBench(store)
    root, wide = await waiting(bench)
    await put(store, *(a_child(wide) for _ in range(15)))
    error = await refused(bench, wide.ref, 0, 1, 2, 3)
    assert (error.status, error.code) == (422, "chain_too_large")
    assert (await got(store, wide.ref)).held_by is HoldReason.PICK, "nothing was picked"
    assert len(await bench.picks.pick(wide.ref, [0, 1, 2])) == 3
    await check_counts(store)


@pytest.mark.parametrize("numbers", [(), (-1,), (64,), tuple(range(17))])
async def test_what_is_not_a_choice_of_pictures_is_refused(store: Store, numbers: tuple[int, ...]) -> None:
    bench = ChainBench(store)
    _, child = await waiting(bench)
    assert (await refused(bench, child.ref, *numbers)).status == 422


async def test_a_picture_that_was_not_made_is_refused_by_name(store: Store) -> None:
    bench = ChainBench(store)
    _, child = await waiting(bench)
    error = await refused(bench, child.ref, 0, 5)
    assert (error.status, error.code, error.field) == (422, "no_picture", "image_no")
    assert error.problem == "there is no picture 5 of “make”: it came with 0, 1, 2, 3"
    assert (await got(store, child.ref)).held_by is HoldReason.PICK


async def test_what_is_missing_can_be_given_by_a_person(store: Store) -> None:
    bench = ChainBench(store)
    root = a_task(label="make")
    root, child = await bench.plant(root, a_child(root, 2))
    await bench.end(root, images=pictures(2, job_id=None))
    await bench.follow_all()
    error = await refused(bench, child.ref, 1)
    assert (error.status, error.code) == (409, "not_usable")
    assert "picture 1 came without a jobId" in error.problem
    assert (await refused(bench, child.ref, 1, 2, job_id="j")).field == "job_id"
    [picked] = await bench.picks.pick(child.ref, [2], job_id="a-job-that-I-know")
    assert msgspec.json.decode(picked.params)["jobId"] == "a-job-that-I-know"
    assert picked.why is None
    await check_counts(store)


async def test_nothing_can_be_picked_before_there_are_pictures(store: Store) -> None:
    bench = ChainBench(store)
    root = a_task(label="make")
    root, child = await bench.plant(root, a_child(root, None))
    for ref in (root.ref, child.ref):
        error = await refused(bench, ref, 0)
        assert (error.status, error.code) == (409, "not_ended")
        assert error.problem == "“make” has no pictures yet: it is waiting"
    await bench.end(root)
    assert (await refused(bench, child.ref, 0)).remedy == "try it again", "it was not followed yet"
    alone = a_task(task_id="job-2")
    await put(store, alone)
    assert (await refused(bench, alone.ref, 0)).code == "nothing_to_pick"
    assert (await refused(bench, "0" * 36, 0)).status == 404


@pytest.mark.parametrize("lost", [True, False])
async def test_of_a_doubtful_end_a_person_who_knows_the_job_can_pick(store: Store, lost: bool) -> None:
    bench = ChainBench(store)
    root = a_task(label="make")
    root, child = await bench.plant(root, a_child(root, None))
    await (bench.lose(root) if lost else bench.end(root, unconfirmed="nothing confirms it"))
    error = await refused(bench, child.ref, 0)
    assert error.code == "not_ended"
    assert error.remedy is not None
    assert "job_id" in error.remedy
    [picked] = await bench.picks.pick(root.ref, [0], job_id="a-job-that-I-know")
    assert (picked.ref, picked.held_by) == (child.ref, None)
    await check_counts(store)


# -- release --


@pytest.mark.parametrize("ending", [Ending.COMPLETED, Ending.FAILED])
async def test_a_person_releases_what_waits_for_an_unconfirmed_end(store: Store, ending: Ending) -> None:
    bench = ChainBench(store)
    root = a_task()
    root, pick, fixed = await bench.plant(root, a_child(root, None), a_child(root, 0))
    await bench.end(root, ending, unconfirmed="nothing confirms it")
    before = len(await notices(store))
    for _ in range(2):
        assert (await bench.picks.release(root.ref)).ref == root.ref
    asked = (await notices(store))[before:]
    await bench.follow_all()
    pick, fixed = await bench.read(pick, fixed)
    if ending is Ending.COMPLETED:
        assert (pick.held_by, fixed.held_by) == (HoldReason.PICK, None)
        assert [(it.report.picks, it.report.picks_for) for it in asked] == [(1, ("outpaint",))]
        await bench.picks.release(root.ref)
        assert len(await notices(store)) == before + 1, "the picks are asked for once"
    else:
        assert pick.state is fixed.state is TaskState.CANCELLED
        assert asked == []
    await check_counts(store)


async def test_what_cannot_be_released_is_refused_with_what_to_do(store: Store) -> None:
    bench = ChainBench(store)
    root, lost, alone = a_task(), a_task(task_id="job-2"), a_task(TaskState.COMPLETED, task_id="job-3")
    root, child = await bench.plant(root, a_child(root))
    await bench.plant(lost, a_child(lost))
    await put(store, alone)
    await bench.lose(lost)
    _, pick = await waiting(bench)
    for ref, code, says in (
        (root.ref, "not_ended", "goes on by itself"),
        (child.ref, "not_ended", f"receiver tasks release {root.ref}"),
        (pick.ref, "not_ended", f"receiver tasks pick {pick.ref} N"),
        (lost.ref, "not_ended", "--job-id"),
        (alone.ref, "nothing_waits", "nothing waits"),
        ("0" * 36, "not_found", "there is no task"),
    ):
        with pytest.raises(RequestRefused) as caught:
            await bench.picks.release(ref)
        assert caught.value.code == code
        assert says in f"{caught.value.problem} {caught.value.remedy}"


# -- reminders --


async def test_a_pick_that_is_open_for_two_days_is_said_once(store: Store) -> None:
    bench = ChainBench(store)
    root, child = await waiting(bench)

    async def remind() -> int:
        bench.clock.forward(HOUR)
        assert await bench.follow.claim() == "remind"
        await bench.follow.carry_out("remind")
        return len(await notices(store, event=NoticeEvent.ATTENTION))

    assert await bench.follow.claim() is None, "that was done when the loop began"
    bench.clock.forward(REMIND_AFTER_MS - 2 * HOUR)
    assert await remind() == 0
    assert await remind() == 1
    assert await remind() == 1
    [notice] = await notices(store, event=NoticeEvent.ATTENTION)
    assert f"receiver tasks pick {root.ref} N" in (notice.report.text or "")
    child = await got(store, child.ref)
    assert (child.held_by, child.why) == (HoldReason.PICK, "nobody has picked a picture for two days")
    [picked] = await bench.picks.pick(child.ref, [0])
    assert picked.why is None


async def test_a_pick_is_open_since_there_are_pictures_and_since_it_is_wanted(store: Store) -> None:
    bench = ChainBench(store)
    root, _ = await waiting(bench)
    bench.clock.forward(REMIND_AFTER_MS - 1)
    await put(store, replace(a_child(root, None, held_by=HoldReason.PICK), created_at=bench.clock()))
    slow = a_task(task_id="job-2")
    await bench.plant(slow, a_child(slow, None))
    await bench.end(slow)
    await bench.follow_all()
    bench.clock.forward(1)
    await bench.follow.carry_out("remind")
    [notice] = await notices(store, event=NoticeEvent.ATTENTION)
    assert notice.ref == root.ref
    assert [it.why is None for it in await store.chains.open_picks(10)] == [True, True, False]


# -- in batches --


async def test_one_by_its_address_may_be_picked_whatever_the_age(store: Store) -> None:
    bench = ChainBench(store, public=False)
    root = a_task()
    root, child, _ = await bench.plant(root, a_child(root, None, RETEXTURE), a_child(root, 0, OUTPAINT))
    await bench.end(root)
    await bench.follow_all()
    bench.clock.forward(10 * HOUR)
    [picked] = await bench.picks.pick(root.ref, [1])
    assert msgspec.json.decode(picked.params)["imgUrl"] == "https://pics.example/1.png"
