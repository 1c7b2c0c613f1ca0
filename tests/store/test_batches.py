"""Batches: filled, closed, finished with one notice, paused, cancelled, and tried again; whatever dies in between."""

import asyncio

import pytest
from msgspec.structs import replace

from kit.batches import FAILED, BatchBench, a_row
from kit.fakes import HOUR, MAIL, NOW, POLICY, SLACK, FakeProvider, a_task, attention, claimed, got, notices, put
from kit.sweep_loop import a_sweep
from receiver.client.batch_schemas import NewBatch
from receiver.core.batches import HALT_AFTER, OPEN_MOST, pause_lane
from receiver.core.decide import mark_unsure
from receiver.core.errors import RequestRefused
from receiver.core.types import Decision, Ending, NoticeEvent, PauseCause, TaskError, TaskState, Verdict
from receiver.store import Store
from receiver.tasks.batch_ends import close_pruned
from receiver.tasks.judge_requests import CreatedTask
from receiver.tasks.new_tasks import repeat_task
from receiver.tasks.settle import TaskBatch

pytestmark = pytest.mark.anyio


async def test_the_last_end_finishes_a_closed_batch_with_one_notice(store: Store) -> None:
    bench = BatchBench(store)
    one, two, three = await bench.open(lines=3)
    await bench.end(one)
    await bench.end(two, Ending.FAILED)
    await bench.control.close("rows")
    assert (await bench.lane()).finished_at is None
    await bench.end(three)
    assert (await bench.lane()).finished_at == bench.clock()
    [notice] = await bench.told()
    assert notice.report.batch == "rows"
    assert notice.report.text == "2 of 3 completed, 1 failed (1 × 004007098 generation failed), in 3.0 s"
    assert await notices(store) == [notice], "its rows are not reported one by one"


async def test_one_whose_rows_have_all_ended_finishes_when_it_is_closed(store: Store) -> None:
    bench = BatchBench(store)
    for task in await bench.open(lines=2):
        await bench.end(task)
    assert (await bench.lane()).finished_at is None
    assert (await bench.control.close("rows")).finished_at is not None
    await bench.control.close("rows")
    assert len(await bench.told()) == 1


async def test_an_empty_one_finishes_silently(store: Store) -> None:
    bench = BatchBench(store)
    await bench.open()
    assert (await bench.control.close("rows")).finished_at is not None
    assert await notices(store) == []


async def test_each_row_is_reported_too_if_wanted(store: Store) -> None:
    bench = BatchBench(store, replace(POLICY, targets=(SLACK, MAIL)))
    [task] = await bench.open(lines=1, each=True, targets=("mail",))
    await bench.control.close("rows")
    await bench.end(task)
    assert [(it.target, it.event) for it in await notices(store)] == [
        ("mail", NoticeEvent.BATCH),
        ("mail", NoticeEvent.COMPLETED),
    ]


async def test_a_lost_row_is_an_end_and_a_late_result_afterwards_moves_the_counts_only(store: Store) -> None:
    bench = BatchBench(store)
    [task] = await bench.open(lines=1)
    await bench.control.close("rows")
    await bench.lose(task)
    lane = await bench.lane()
    assert lane.finished_at is not None
    assert await store.batch_rows.count_states(lane.id) == {TaskState.LOST: 1}
    await bench.end(task)
    assert await store.batch_rows.count_states(lane.id) == {TaskState.COMPLETED: 1}
    assert len(await bench.told()) == len(await notices(store)) == 1


async def test_a_lost_row_that_is_sent_again_opens_its_batch_once_more(store: Store) -> None:
    """A finished batch is not looked at for tasks to submit."""
    bench = BatchBench(store)
    [task] = await bench.open(lines=1)
    await bench.control.close("rows")
    async with store.write() as tx:
        batch = await TaskBatch.read_tasks(tx, [task.ref], bench.policy, bench.clock())
        batch.set_task(mark_unsure(task, bench.clock(), 1_000))
        await batch.write_back()
    await bench.lose(task)
    assert (await bench.lane()).finished_at is not None
    await bench.intake.resubmit_task(task.ref)
    assert (await bench.lane()).finished_at is None
    assert await store.tasks.next_queued(bench.clock()) is not None
    await bench.end(task)
    assert (await bench.lane()).finished_at is not None


async def test_two_open_the_same_batch_and_it_is_one(store: Store) -> None:
    bench = BatchBench(store)
    one, two = await asyncio.gather(bench.control.open(NewBatch("rows")), bench.control.open(NewBatch("rows")))
    assert one == two


async def test_a_closed_one_takes_rows_again_once_it_is_reopened(store: Store) -> None:
    bench = BatchBench(store)
    [task] = await bench.open(lines=1)
    await bench.control.close("rows")
    await bench.end(task)
    assert (await bench.control.open(NewBatch("rows"))).closed_at is not None
    assert await bench.add("rows", 3) == []
    await bench.control.open(NewBatch("rows", reopen=True))
    assert (await bench.add("rows", 2, 3))[0].ref == task.ref
    await bench.control.close("rows")
    [_, three] = await bench.rows()
    await bench.end(three)
    assert len(await bench.told()) == 2


async def test_one_that_is_reopened_and_closed_again_is_not_reported_twice(store: Store) -> None:
    bench = BatchBench(store)
    one, two = await bench.open(lines=2)
    await bench.control.close("rows")
    await bench.end(one)
    await bench.end(two, Ending.FAILED)
    for _ in range(2):
        bench.clock.forward(HOUR)
        await bench.control.open(NewBatch("rows", reopen=True))
        await bench.add("rows", 2, 3)  # they are there already
        assert (await bench.control.close("rows")).finished_at == bench.clock()
    assert len(await bench.told()) == 1
    await bench.control.open(NewBatch("rows", reopen=True))
    await bench.control.retry("rows")
    await bench.control.close("rows")
    await bench.end((await bench.rows())[1], Ending.FAILED)
    [_, again] = await bench.told()
    assert again.report.duration_ms == 3_000, "the hours in which it had ended do not count"


async def test_there_are_only_so_many_unfinished_ones(store: Store) -> None:
    bench = BatchBench(store)
    for at in range(OPEN_MOST):
        await bench.open(str(at))
    with pytest.raises(RequestRefused, match="200 batches are not finished") as refused:
        await bench.open("more")
    assert refused.value.status == 409
    await bench.open("7")
    await bench.control.close("7")
    await bench.open("more")
    with pytest.raises(RequestRefused, match="200 batches"):
        await bench.control.open(NewBatch("7", reopen=True))


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (NewBatch("a/b"), "name"),
        (NewBatch("high"), "name"),
        (NewBatch("a", priority="urgent"), "priority"),
        (NewBatch("a", targets=("nobody",)), "targets"),
        (NewBatch("a", targets=()), "targets"),
        (NewBatch("a", label=""), "label"),
        (NewBatch("a", budget="0"), "budget"),
        (NewBatch("a", budget="1,5"), "budget"),
    ],
)
async def test_what_cannot_be_a_batch_is_refused_by_its_field(store: Store, asked: NewBatch, field: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        await BatchBench(store).control.open(asked)
    assert (refused.value.status, refused.value.field) == (422, field)
    assert await store.lanes.page(None, 10) == []


async def test_one_that_has_used_up_its_budget_is_not_resumed_but_given_more(store: Store) -> None:
    bench = BatchBench(store)
    await bench.open()
    lane = await bench.lane()
    async with store.write() as tx:
        await tx.lanes.update(pause_lane(lane, PauseCause.BUDGET, NOW, "its budget of $1.00 is used up"))
    with pytest.raises(RequestRefused, match=r"run `receiver costs raise rows AMOUNT`") as refused:
        await bench.control.resume("rows")
    assert refused.value.code == "budget_used_up"


async def test_a_paused_one_submits_nothing_until_it_is_resumed(store: Store) -> None:
    bench = BatchBench(store)
    [task] = await bench.open(lines=1)
    paused = await bench.control.pause("rows")
    assert (paused.paused_at, paused.paused_by, paused.paused_why) == (bench.clock(), PauseCause.PERSON, None)
    assert await bench.control.pause("rows") == paused
    assert await store.tasks.next_queued(bench.clock()) is None
    assert (await bench.control.resume("rows")).paused_at is None
    assert await store.tasks.next_queued(bench.clock()) == task
    await bench.control.close("rows")
    await bench.end(task)
    with pytest.raises(RequestRefused, match="has ended"):
        await bench.control.pause("rows")
    for change in (bench.control.pause, bench.control.resume, bench.control.close):
        with pytest.raises(RequestRefused, match="no batch 'unknown'"):
            await change("unknown")


async def test_ten_equal_failures_in_a_row_pause_it_and_tell_a_person(store: Store) -> None:
    bench = BatchBench(store)
    tasks = await bench.open(lines=HALT_AFTER + 12)
    for task in tasks[: HALT_AFTER - 1]:
        await bench.end(task, Ending.FAILED)
    await bench.end(tasks[HALT_AFTER], Ending.FAILED, TaskError(None, "another reason"))
    assert (await bench.lane()).paused_at is None
    for task in tasks[HALT_AFTER + 1 : 2 * HALT_AFTER + 1]:
        await bench.end(task, Ending.FAILED)
    lane = await bench.lane()
    assert lane.paused_why == "10 tasks in a row failed with 004007098 generation failed"
    [cause] = await attention(store)
    assert cause.startswith("batch-halted:")
    [notice] = await notices(store)
    assert "`receiver batch resume rows`" in (notice.report.text or "")
    await bench.control.resume("rows")
    assert (await bench.lane()).streak == 0


async def test_all_failures_of_one_transaction_count(store: Store) -> None:
    bench = BatchBench(store)
    tasks = await bench.open(lines=HALT_AFTER)
    async with store.write() as tx:
        batch = await TaskBatch.read_tasks(tx, [it.ref for it in tasks], bench.policy, bench.clock())
        for task in tasks:
            failed = replace(task, state=TaskState.FAILED, due_at=None, settled_at=bench.clock(), error=FAILED)
            batch.apply_decision(task.ref, Decision(Verdict.ACCEPTED, failed))
        await batch.write_back()
    assert (await bench.lane()).paused_at is not None


async def test_cancelling_withdraws_what_waits_and_says_how_many(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.tasks.batches.TURN", 3)
    bench = BatchBench(store)
    tasks = await bench.open(lines=8)
    async with store.write() as tx:
        sent = mark_unsure(tasks[0], bench.clock(), 1_000)
        await tx.tasks.update([(tasks[0], sent)])
    lane, count, _ = await bench.control.cancel("rows")
    assert count == 7
    assert lane.closed_at is not None
    assert lane.finished_at is None, "one is with the provider"
    assert await store.batch_rows.count_states(lane.id) == {TaskState.CANCELLED: 7, TaskState.WAITING: 1}
    assert lane.closed_why == "it was cancelled"
    assert (await bench.control.cancel("rows"))[1] == 0
    await bench.end(tasks[0])
    assert (await bench.told())[0].report.text == "1 of 8 completed, 7 cancelled, in 1.0 s"


async def test_many_rows_are_cancelled_and_tried_again_by_several_calls(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of which none tries again what failed once more in the meantime."""
    monkeypatch.setattr("receiver.tasks.batches.TURN", 2)
    monkeypatch.setattr("receiver.tasks.batches.TURNS_MOST", 2)
    bench = BatchBench(store)
    await bench.open(lines=9)
    parts = [await bench.control.cancel("rows") for _ in range(3)]
    assert [(it.changed, it.after is None) for it in parts] == [(4, False), (4, False), (1, True)]
    first = await bench.control.retry("rows")
    assert (first.changed, first.after is None) == (4, False)
    for task in [it for it in await bench.rows() if it.state is TaskState.QUEUED]:
        await bench.end(task, Ending.FAILED)
    assert first.after is not None
    second = await bench.control.retry("rows", first.after)
    assert (second.changed, second.after is None) == (4, False)
    assert second.after is not None
    assert (await bench.control.retry("rows", second.after))[1:] == (1, None)


async def test_what_failed_or_was_cancelled_is_tried_again_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.tasks.batches.TURN", 2)
    bench = BatchBench(store)
    tasks = await bench.open(lines=6)
    for task, ending in zip(tasks, [Ending.COMPLETED, *[Ending.FAILED] * 4], strict=False):
        await bench.end(task, ending)
    await bench.control.cancel("rows")
    assert (await bench.lane()).finished_at is not None
    counts = await asyncio.gather(bench.control.retry("rows"), bench.control.retry("rows"))
    assert sum(it.changed for it in counts) == 5
    lane = await bench.lane()
    assert lane.finished_at is None
    assert await store.batch_rows.count_states(lane.id) == {TaskState.COMPLETED: 1, TaskState.QUEUED: 5}
    again = [it for it in await bench.rows() if it.state is TaskState.QUEUED]
    assert [(it.again_of, it.turn, it.params) for it in again] == [(it.ref, it.turn, it.params) for it in tasks[1:]]
    assert (await bench.control.retry("rows"))[1] == 0, "those are under way"
    known = await bench.add("rows", *range(2, 8))
    assert [it.ref for it in known] == [tasks[0].ref, *(it.ref for it in again)], "a row is its newest task"
    for task in again:
        await bench.end(task)
    [_, second] = await bench.told()
    assert (second.report.text or "").startswith("all 6 completed")


async def test_what_is_tried_again_is_all_that_was_asked_for(store: Store) -> None:
    bench = BatchBench(store, replace(POLICY, targets=(SLACK, MAIL)))
    await bench.open()
    asked = replace(a_row(2), label="hero", targets=("mail",), poll_only=True, name="sea", ping=True)
    [made] = await bench.intake.create_many([asked], batch="rows")
    assert isinstance(made, CreatedTask)
    assert made.task is not None
    again = repeat_task(made.task, bench.clock() + 5)
    own = {"ref": again.ref, "created_at": bench.clock() + 5, "due_at": bench.clock() + 5, "again_of": made.task.ref}
    assert again == replace(made.task, **own)


async def test_a_row_that_a_person_submitted_again_is_not_tried_once_more(store: Store) -> None:
    from receiver.client.schemas import AgainRequest

    bench = BatchBench(store)
    one, two = await bench.open(lines=2)
    await bench.end(one, Ending.FAILED)
    await bench.end(two, Ending.FAILED)
    await bench.intake.submit_again(one.ref, AgainRequest(), None)
    assert (await bench.control.retry("rows"))[1] == 1
    assert [it.again_of for it in await bench.rows()] == [None, two.ref]


async def test_an_unsure_or_unconfirmed_row_is_not_tried_again(store: Store) -> None:
    bench = BatchBench(store)
    one, two = await bench.open(lines=2)
    async with store.write() as tx:
        await tx.tasks.update([(one, mark_unsure(one, bench.clock(), 1_000))])
        failed = replace(two, state=TaskState.FAILED, due_at=None, confirmed=False, settled_at=bench.clock())
        await tx.tasks.update([(two, failed)])
    assert (await bench.control.retry("rows"))[1] == 0


async def test_many_unsure_rows_ask_once_and_many_single_tasks_not_each_for_itself(store: Store) -> None:
    """As after a backup was restored, or an outage."""
    bench = BatchBench(store)
    rows = await bench.open(lines=100)
    singles = [a_task(TaskState.QUEUED) for _ in range(50)]
    await put(store, *singles)
    async with store.write() as tx:
        await tx.tasks.update(
            [(it, replace(mark_unsure(it, NOW, 1_000), poll_at=bench.clock())) for it in (*rows, *singles)]
        )
    sweep = a_sweep(store, FakeProvider(), bench.clock)
    bench.clock.forward(HOUR // 2)
    for _ in range(150):
        await sweep.carry_out(await claimed(sweep.claim))
    causes = await attention(store)
    assert sum(it.startswith("unsure:batch") for it in causes) == 1
    assert sum(it.startswith("unsure-many:") for it in causes) == 1
    assert len(causes) == 21, "one about the batch, the first ones singly, and one about the rest"
    [asked] = [it for it in await notices(store) if (it.report.cause or "").startswith("unsure:batch")]
    assert "of which 100 are unsure now" in (asked.report.text or "")


async def test_a_batch_of_which_rows_were_deleted_is_closed(store: Store) -> None:
    """Else they would be made and paid for once more."""
    bench = BatchBench(store)
    one, two = await bench.open(lines=2)
    await bench.end(one)
    async with store.write() as tx:
        gone = await tx.pruning.drop_tasks([one.ref], bench.clock(), 100)
        if not gone.lanes:  # its notices go first
            gone = await tx.pruning.drop_tasks([one.ref], bench.clock(), 100)
        await close_pruned(tx, gone.lanes, bench.policy, bench.clock())
    lane = await bench.lane()
    assert (lane.closed_at, lane.finished_at) == (bench.clock(), None)
    assert "RETENTION has deleted" in (lane.closed_why or "")
    assert [it.ref for it in await bench.add("rows", 2, 3)] == [two.ref]
    await bench.end(two)
    assert (await bench.lane()).finished_at is not None


async def test_the_pages_of_rows_go_by_line_whatever_their_states(store: Store) -> None:
    bench = BatchBench(store)
    await bench.open()
    tasks = [it for line in (9, 2, 7, 2_000, 3, 8) for it in await bench.add("rows", line)]
    [same_line] = await bench.intake.create_many([a_row(7, row_key="another")], batch="rows")
    await bench.end(tasks[1])
    await bench.end(tasks[2], Ending.FAILED)
    lane, after, found = await bench.lane(), (0, ""), list[tuple[int, str]]()
    while page := await store.batch_rows.in_states(lane.id, list(TaskState), after, limit=2):
        found += [(task.turn, task.ref) for task in page]
        after = found[-1]
    assert found == sorted(found)
    assert [line for line, _ in found] == [2, 3, 7, 7, 8, 9, 2_000]


async def test_a_row_as_it_is_stored(store: Store) -> None:
    bench = BatchBench(store)
    [task] = await bench.open(lines=1, label="all")
    assert await got(store, task.ref) == task
    assert (task.label, task.quiet, task.turn) == ("all", True, 2)
