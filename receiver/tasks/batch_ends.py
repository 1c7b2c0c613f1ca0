"""What the ends of its tasks mean for a batch, in the transaction that writes them: it finishes, or it is halted.

A batch has finished once it is closed and the last of its rows has ended. Each way to an end passes here: so no batch
is left closed, without open rows and unfinished, whatever is killed when.
"""

import shlex
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from receiver.core.batches import (
    BatchFigures,
    count_streak,
    end_notices,
    group_failures,
    is_halted,
    open_again,
    pause_lane,
)
from receiver.core.money import to_decimal
from receiver.core.types import LOW_LANE, NORMAL_LANE, TURNS_PER_MS, PauseCause, Policy, QueueLane, Task, TaskState
from receiver.notify.attention import raise_attention
from receiver.store import Store, Tx

_FAILURES_MOST = 2_000  # that are read to say why
_PRUNED = "RETENTION has deleted some of its rows, which are not known any more"
_HALTED = (
    "{count} tasks of the batch {name} failed in a row with {why}, so it is paused: the cause is probably in its file. "
    "`receiver batch resume {quoted}` lets it go on; `receiver batch cancel {quoted}` withdraws what waits."
)


def is_row(task: Task) -> bool:
    """Whether the task counts as a row of a batch."""
    return task.lane > LOW_LANE and task.row_key is not None


async def record_ends(tx: Tx, ended: Sequence[Task], policy: Policy, now: int) -> None:
    """Finish the batches of which these were the last open rows, and halt those in which too many failed alike.

    `ended` are the rows that ended in this transaction, in their order; their changes are written.
    """
    lanes = await tx.lanes.get(sorted({task.lane for task in ended}))
    for lane in lanes.values():
        counted = count_streak(lane, (task for task in ended if task.lane == lane.id and is_row(task)))
        if is_halted(counted):
            why = f"{counted.streak} tasks in a row failed with {counted.streak_why}"
            counted = pause_lane(counted, PauseCause.FAILURES, now, why)
            await _raise_halt(tx, counted, policy, now)
        await write_lane(tx, lane, counted, policy, now)


async def write_lane(tx: Tx, old: QueueLane, new: QueueLane, policy: Policy, now: int) -> QueueLane:
    """Write a changed batch, finished if it is closed and none of its rows is open any more; as it is then."""
    if new.closed_at is not None and new.finished_at is None and not await tx.batch_rows.any_open(new.id):
        new = replace(new, finished_at=now)
        awaits_pictures = await tx.batch_rows.awaits_pictures(new.id)
        figures = await read_figures(tx, new)
        await tx.notices.insert(end_notices(new, figures, policy, now, awaits_pictures=awaits_pictures))
    if new is not old and new != old:
        await tx.lanes.update(new)
    return new


async def close_pruned(tx: Tx, lanes: Sequence[int], policy: Policy, now: int) -> None:
    """Rows of these batches were deleted: they are not known any more, and would be paid for again."""
    for lane in (await tx.lanes.get(lanes)).values():
        if lane.closed_at is None:
            await write_lane(tx, lane, replace(lane, closed_at=now, closed_why=_PRUNED), policy, now)


async def finish_closed(store: Store, policy: Policy, now: int) -> None:
    """Finish the batches that a restore closed and that have no open row, when the service starts."""
    if not await store.lanes.closed_unfinished():
        return
    async with store.write() as tx:
        for lane in await tx.lanes.closed_unfinished():
            await write_lane(tx, lane, lane, policy, now)


async def check_lanes(tx: Tx, lanes: Iterable[int], policy: Policy, now: int) -> None:
    """Finish those of these batches that are closed and of which no row is open any more."""
    for lane in (await tx.lanes.get(sorted(lanes))).values():
        if lane.closed_at is not None and lane.finished_at is None:
            await write_lane(tx, lane, lane, policy, now)


async def mute_reopened(tx: Tx, before: Iterable[QueueLane]) -> None:
    """Of these batches, as they were before people picked pictures for some of their rows: the next end of one that
    had finished, and whose end was no news since, is news only if nothing waits for a pick in it by now."""
    ended = [it.id for it in before if it.finished_at is not None or it.told_rows is not None]
    for lane in (await tx.lanes.get(ended)).values() if ended else ():
        if lane.finished_at is None and await tx.batch_rows.any_pick(lane.id):
            rows = sum((await tx.batch_rows.count_states(lane.id)).values())
            await tx.lanes.update(replace(lane, told_rows=rows))


async def place_again(tx: Tx, task: Task, now: int) -> Task:
    """A task of a batch that is to be submitted once more: its batch is not finished any more. One whose row has a
    newer task goes by itself."""
    placed = own_place(task, now)
    await open_batch_again(tx, placed, now)
    return placed


def own_place(task: Task, now: int) -> Task:
    """A task that is to be submitted once more, in its batch, or by itself if its row has a newer one."""
    if task.lane <= LOW_LANE or is_row(task):
        return task
    return replace(task, lane=NORMAL_LANE, turn=now * TURNS_PER_MS)


async def open_batch_again(tx: Tx, task: Task, now: int) -> None:
    """The batch of this task is not finished any more, if it is in one."""
    for lane in (await tx.lanes.get([task.lane])).values() if task.lane > LOW_LANE else ():
        if (opened := open_again(lane, now)) is not lane:
            await tx.lanes.update(opened)


async def read_figures(tables: Tx | Store, lane: QueueLane) -> BatchFigures:
    """What a batch came to so far."""
    states = await tables.batch_rows.count_states(lane.id)
    failures = group_failures(await tables.batch_rows.failures(lane.id, _FAILURES_MOST))
    cost, priced, unknown = await tables.batch_rows.spent(lane.id, lane.created_at)
    picks = await tables.batch_rows.count_picks(lane.id) if states.get(TaskState.QUEUED) else 0
    return BatchFigures(states, failures, to_decimal(cost) if cost or priced else None, unknown, priced, picks)


def rows_that_ended(changes: Iterable[tuple[Task, Task]], ended: frozenset[object]) -> list[Task]:
    """Of these changes, the rows of batches that came into one of the `ended` states."""
    return [new for old, new in changes if new.lane > LOW_LANE and new.state in ended and old.state not in ended]


async def _raise_halt(tx: Tx, lane: QueueLane, policy: Policy, now: int) -> None:
    text = _HALTED.format(count=lane.streak, name=lane.name, why=lane.streak_why, quoted=shlex.quote(lane.name))
    await raise_attention(tx, f"batch-halted:{lane.id}.{now}", text, policy, now)
