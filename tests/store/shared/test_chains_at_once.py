"""Two processes let the children of tasks go at once, and people pick: each child is told once, and the counts hold."""

import asyncio
import contextlib

import pytest
from msgspec.structs import replace

from kit.chain_requests import an_intake
from kit.chains import ChainBench, a_child, check_counts
from kit.fakes import POLICY, a_task, attention, got
from receiver.core.errors import RequestRefused
from receiver.core.types import Ending, HoldReason, Task, TaskState
from receiver.notify.attention import SINGLY_MOST, raise_task_attention
from receiver.store import Store
from receiver.store.tables.hours import HourKind

pytestmark = pytest.mark.anyio

PARENTS, CHILDREN = 30, 3  # more than one turn takes
Benches = tuple[ChainBench, ChainBench]


@pytest.fixture
def benches(store: Store, other: Store) -> Benches:
    return ChainBench(store), ChainBench(other)


async def follow_all(bench: ChainBench) -> None:
    """Let one process go on until nothing is left, also if the other one is at it."""
    for _ in range(10_000):
        if not await bench.store.chains.next_followups(1):
            return
        await bench.follow.claim()
        bench.clock.forward(1_000)  # past the pause while the other one has all
        await asyncio.sleep(0)
    raise AssertionError("something is never told")


async def plant(bench: ChainBench, ending: Ending) -> list[Task]:
    """Tasks that have ended, and whose children are to be told; these children."""
    found: list[Task] = []
    for number in range(PARENTS):
        parent = a_task(task_id=f"job-{number}")
        parent, *children = await bench.plant(parent, *(a_child(parent, None) for _ in range(CHILDREN)))
        await bench.end(parent, ending)
        found += children
    return found


async def test_each_child_is_told_once_of_a_failure(store: Store, benches: Benches) -> None:
    children = await plant(benches[0], Ending.FAILED)
    await asyncio.gather(*map(follow_all, benches))
    assert {it.state for it in await benches[0].read(*children)} == {TaskState.CANCELLED}
    settled = {it.name: it.count for it in await store.hours.counts_since(HourKind.SETTLED, 0)}
    assert settled == {"poll": PARENTS, "parent": len(children)}
    await check_counts(store)


async def test_each_child_goes_on_once(store: Store, benches: Benches) -> None:
    children = await plant(benches[0], Ending.COMPLETED)
    await asyncio.gather(*map(follow_all, benches))
    assert {it.held_by for it in await benches[0].read(*children)} == {HoldReason.PICK}
    await check_counts(store)


async def test_children_that_people_cancel_meanwhile_are_counted_once(store: Store, benches: Benches) -> None:
    children = await plant(benches[0], Ending.COMPLETED)
    intake = an_intake(benches[1].store)

    async def cancel(task: Task) -> None:
        with contextlib.suppress(RequestRefused):
            await intake.cancel_task(task.ref)

    await asyncio.gather(*map(follow_all, benches), *map(cancel, children[:: CHILDREN * 4]))
    now = await benches[0].read(*children)
    assert {it.state for it in now[:: CHILDREN * 4]} == {TaskState.CANCELLED}
    await check_counts(store)


async def test_of_two_who_pick_at_once_one_does(store: Store, benches: Benches) -> None:
    async def pick(bench: ChainBench, ref: str, number: int) -> bool:
        with contextlib.suppress(RequestRefused):
            return bool(await bench.picks.pick(ref, [number]))
        return False

    for number in range(6):
        parent = a_task(task_id=f"job-{number}")
        parent, child = await benches[0].plant(parent, a_child(parent, None))
        await benches[0].end(parent)
        await follow_all(benches[0])
        asked = [(benches[0], parent.ref, 0), (benches[1], parent.ref, 1), (benches[1], child.ref, 2)]
        picked = await asyncio.gather(*(pick(*it) for it in asked))
        assert sum(picked) == 1
        assert (await got(store, child.ref)).parent_image == picked.index(True)
    await check_counts(store)


async def test_a_pick_that_nobody_makes_is_reported_once(store: Store, benches: Benches) -> None:
    parent = a_task(task_id="job-1")
    parent, _ = await benches[0].plant(parent, a_child(parent, None))
    await benches[0].end(parent)
    await follow_all(benches[0])
    for bench in benches:
        bench.clock.forward(3 * 86_400_000)
    await asyncio.gather(*(it.follow.carry_out("remind") for it in benches))
    assert await attention(store) == [f"pick-open:{parent.ref}"]


async def test_many_doubts_at_once_are_told_singly_only_so_often(store: Store, benches: Benches) -> None:
    """Twenty of a kind are told one by one, over all processes."""

    async def doubt(bench: ChainBench, place: int) -> None:
        for turn in range(6):
            some = [a_task() for _ in range(5)]
            async with bench.store.write() as tx:
                texts = {it.ref: (replace(it, label=f"{place} {turn}"), "is odd") for it in some}
                await raise_task_attention(tx, "doubted", texts, "{count} {singly}", POLICY, bench.clock())

    await asyncio.gather(*(doubt(bench, place) for place, bench in enumerate(benches)))
    singly = [it for it in await attention(store) if it.startswith("doubted:")]
    assert len(singly) == SINGLY_MOST
