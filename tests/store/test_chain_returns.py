"""Chains that come back: after a restore, resubmitted, or as failed rows of a batch that are tried again; and what
retention leaves of them."""

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from kit.batches import BatchBench
from kit.chains import UPSCALE, ChainBench, a_child, check_counts
from kit.fakes import DAY, NOW, a_task, got, notices, put
from kit.new_database import place_database
from receiver.core.decide import mark_unsure
from receiver.core.errors import RequestRefused
from receiver.core.types import Ending, HoldReason, NoticeEvent, Task, TaskState
from receiver.store import Store, open_store
from receiver.store.sqlite.backup import prepare_restored
from receiver.tasks.intake import TaskIntake
from receiver.telemetry.metrics import Metrics
from receiver.tokens import Ring

pytestmark = pytest.mark.anyio


def an_intake(bench: ChainBench) -> TaskIntake:
    ring = Ring(["k" * 32])
    return TaskIntake(
        bench.store, bench.policy, ring, bench.clock, Metrics(), public_url="https://me.example", unreachable=None
    )


async def restored(bench: ChainBench, path: Path, *, queue: bool = False) -> ChainBench:
    """What a service finds that is started on a backup made now."""
    await bench.store.close()
    prepare_restored(path, NOW, queue=queue, batches_closed="restored")
    store = await open_store(path)
    async with store.write() as tx:
        for task in await tx.tasks.overdue_answers(NOW + 1):
            await tx.tasks.update([(task, mark_unsure(task, NOW, 1_000))])
    return ChainBench(store)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    return await place_database(tmp_path / "own.db")


async def test_after_a_restore_a_held_child_is_unsure_and_waits_again_once_it_is_resubmitted(path: Path) -> None:
    bench = ChainBench(await open_store(path))
    root = a_task()
    root, fixed, pick = await bench.plant(root, a_child(root, 1), a_child(root, None))
    bench = await restored(bench, path)
    root, fixed, pick = await bench.read(root, fixed, pick)
    assert (root.children, root.picks) == (0, 0)
    assert (fixed.state, fixed.unsure, fixed.held_by) == (TaskState.WAITING, True, None)
    intake = an_intake(bench)
    await intake.resubmit_task(fixed.ref)
    root, fixed = await bench.read(root, fixed)
    assert (fixed.state, fixed.held_by, fixed.due_at) == (TaskState.QUEUED, HoldReason.PARENT, None)
    assert (root.children, root.picks) == (1, 0)
    await check_counts(bench.store)
    await bench.end(root)
    await intake.resubmit_task(pick.ref)
    await bench.follow_all()
    fixed, pick = await bench.read(fixed, pick)
    assert msgspec.json.decode(fixed.params)["jobId"] == "job of 1"
    assert (pick.held_by, pick.due_at) == (HoldReason.PICK, None)
    await check_counts(bench.store)
    await bench.store.close()


async def test_a_restored_child_whose_parent_ended_before_follows_it_at_once(path: Path) -> None:
    bench = ChainBench(await open_store(path))
    root = a_task()
    root, child, other = await bench.plant(root, a_child(root, 1), a_child(root, 2))
    await bench.end(root)
    bench = await restored(bench, path)
    assert await bench.store.chains.next_followups(10) == []
    await an_intake(bench).resubmit_task(child.ref)
    await bench.follow_all()
    child, other = await bench.read(child, other)
    assert (child.held_by, child.due_at) == (None, NOW)
    assert other.unsure, "nobody has asked for that one"
    await check_counts(bench.store)
    await bench.store.close()


async def test_a_restored_child_that_had_been_filled_is_submitted_as_it_is(path: Path) -> None:
    bench = ChainBench(await open_store(path))
    root = a_task()
    root, child = await bench.plant(root, a_child(root, 1))
    await bench.end(root)
    await bench.follow_all()
    filled = await got(bench.store, child.ref)
    bench = await restored(bench, path)
    again = await an_intake(bench).resubmit_task(child.ref)
    assert (again.held_by, again.due_at, again.params) == (None, NOW, filled.params)
    await bench.store.close()


async def test_with_its_queue_a_restored_chain_goes_on_where_it_was(path: Path) -> None:
    bench = ChainBench(await open_store(path))
    root = a_task()
    root, child = await bench.plant(root, a_child(root, 1))
    await bench.end(root)
    bench = await restored(bench, path, queue=True)
    assert await bench.follow_all() == 1
    assert (await got(bench.store, child.ref)).held_by is None
    await bench.store.close()


@pytest.mark.parametrize("gone", [True, False])
async def test_a_child_is_not_resubmitted_without_what_it_goes_on_from(store: Store, gone: bool) -> None:
    bench = ChainBench(store)
    root = a_task(TaskState.FAILED)
    child = replace(a_child(root), state=TaskState.WAITING, held_by=None, unsure=True)
    await put(store, *(() if gone else (root,)), child)
    with pytest.raises(RequestRefused) as caught:
        await an_intake(bench).resubmit_task(child.ref)
    assert (caught.value.status, caught.value.code) == (409, "parent_gone" if gone else "parent_failed")
    assert await got(store, child.ref) == child


async def test_a_resubmitted_parent_keeps_its_children(store: Store) -> None:
    bench = ChainBench(store)
    root = a_task(unsure=True, task_id=None)
    root, child = await bench.plant(root, a_child(root))
    await an_intake(bench).resubmit_task(root.ref)
    assert (await got(store, root.ref)).children == 1
    assert (await got(store, child.ref)).held_by is HoldReason.PARENT
    await check_counts(store)


# -- retention --


async def test_a_task_for_which_others_wait_is_not_removed(store: Store) -> None:
    bench = ChainBench(store)
    root, lost, free = a_task(), a_task(task_id="job-2"), a_task(task_id="job-3")
    root, pick = await bench.plant(root, a_child(root, None))
    lost, held = await bench.plant(lost, a_child(lost))
    free, fixed = await bench.plant(free, a_child(free))
    await bench.lose(lost)
    for it in (root, free):
        await bench.end(it, images=())
    await bench.follow_all()
    assert (await got(store, fixed.ref)).held_by is HoldReason.PICK, "its picture is missing"
    refs = [root.ref, lost.ref, free.ref]
    assert await store.pruning.closed_tasks(refs, NOW + DAY) == []
    for it in (pick, held, fixed):
        await bench.withdraw(it)
    async with store.write() as tx:  # no notice is owed any more
        await tx.notices._db.run_statement("UPDATE notices SET state = 'sent'")
    assert sorted(await store.pruning.closed_tasks(refs, NOW + DAY)) == sorted(refs)


# -- batches that are tried again --


async def rows_of_a_chain(bench: ChainBench, rows: BatchBench) -> tuple[Task, Task, Task]:
    """Three steps in one row of a closed batch."""
    [root] = await rows.open(lines=1)
    wide = a_child(root, 1, lane=root.lane, turn=2, row_key=b"wide", quiet=True, step="wide")
    big = a_child(wide, None, UPSCALE, lane=root.lane, turn=2, row_key=b"big", quiet=True, step="big")
    await put(bench.store, wide, big)
    async with bench.store.write() as tx:
        await tx.tasks.update([(root, replace(root, root=root.ref))])
    await rows.control.close("rows")
    return root, wide, big


async def newest(store: Store, *tasks: Task) -> list[Task]:
    found = await store.chains.repeated_by([it.ref for it in tasks])
    return [found[it.ref] for it in tasks]


async def test_a_failed_chain_of_a_batch_is_tried_again_as_a_chain(store: Store) -> None:
    bench, rows = ChainBench(store), BatchBench(store)
    root, wide, big = await rows_of_a_chain(bench, rows)
    await bench.end(root, Ending.FAILED)
    await bench.follow_all()
    assert (await rows.lane()).finished_at is not None
    _, count, _ = await rows.control.retry("rows")
    assert count == 3
    again, wider, bigger = await newest(store, root, wide, big)
    assert (again.held_by, wider.held_by, bigger.held_by) == (None, HoldReason.PARENT, HoldReason.PARENT)
    assert (wider.parent, bigger.parent) == (again.ref, wider.ref)
    assert {it.root for it in (again, wider, bigger)} == {again.ref}
    assert (wider.parent_image, bigger.parent_image, bigger.depth, bigger.step) == (1, None, 2, "big")
    await check_counts(store)
    await bench.end(again)
    await bench.follow_all()
    assert b"job of 1" in (await got(store, wider.ref)).params
    assert (await rows.control.retry("rows"))[1] == 0


async def test_only_what_failed_of_a_chain_is_tried_again(store: Store) -> None:
    bench, rows = ChainBench(store), BatchBench(store)
    root, wide, big = await rows_of_a_chain(bench, rows)
    await bench.end(root)
    await bench.follow_all()
    await bench.end(wide, Ending.FAILED)
    await bench.follow_all()
    assert (await rows.control.retry("rows"))[1] == 2
    wider, bigger = await newest(store, wide, big)
    assert (wider.held_by, wider.params) == (None, (await got(store, wide.ref)).params)
    assert bigger.parent == wider.ref
    await check_counts(store)


async def test_a_step_that_was_withdrawn_is_tried_again_on_the_one_that_completed(store: Store) -> None:
    bench, rows = ChainBench(store), BatchBench(store)
    root, wide, big = await rows_of_a_chain(bench, rows)
    await rows.intake.cancel_task(wide.ref)
    await bench.follow_all()
    await bench.end(root)
    assert (await rows.control.retry("rows"))[1] == 2
    await bench.follow_all()
    wider, bigger = await newest(store, wide, big)
    assert (wider.parent, wider.held_by) == (root.ref, None)
    assert bigger.parent == wider.ref
    await check_counts(store)


async def test_a_row_is_tried_again_with_the_one_that_it_waits_for_wherever_a_turn_ends(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.tasks.batches.TURN", 1)
    bench, rows = ChainBench(store), BatchBench(store)
    root, wide, big = await rows_of_a_chain(bench, rows)
    await bench.end(root, Ending.FAILED)
    await bench.follow_all()
    assert (await rows.control.retry("rows"))[1] == 3
    again, wider, bigger = await newest(store, root, wide, big)
    assert (wider.parent, bigger.parent) == (again.ref, wider.ref)
    await check_counts(store)


async def test_a_row_whose_parent_failed_elsewhere_is_left_and_the_batch_stays_finished(store: Store) -> None:
    bench, rows = ChainBench(store), BatchBench(store)
    outside = a_task()
    await rows.open()
    lane = await rows.lane()
    child = a_child(outside, lane=lane.id, turn=2, row_key=b"child", quiet=True)
    await bench.plant(outside, child)
    await rows.control.close("rows")
    await bench.end(outside, Ending.FAILED)
    await bench.follow_all()
    assert (await rows.lane()).finished_at is not None
    assert (await rows.control.retry("rows"))[1] == 0
    assert (await rows.lane()).finished_at is not None
    assert await got(store, child.ref)


async def test_a_batch_that_is_tried_again_after_it_was_cancelled_asks_for_its_picks_again(store: Store) -> None:
    bench, rows = ChainBench(store), BatchBench(store)
    [root] = await rows.open(lines=1)
    pick = a_child(root, None, lane=root.lane, turn=root.turn, row_key=b"wide", step="wide", quiet=True)
    await put(store, pick)
    await rows.control.close("rows")
    await bench.end(root)
    await bench.follow_all()
    asked = [it.report.picks for it in await notices(store, event=NoticeEvent.COMPLETED)]
    assert asked == [1]
    await rows.control.cancel("rows")
    for _ in range(2):  # the second one finds nothing
        await rows.control.retry("rows")
        await bench.follow_all()
    first, second = await notices(store, event=NoticeEvent.COMPLETED)
    assert (second.report.picks, second.report.picks_for) == (1, ("wide",))
    assert second.report.images == first.report.images
