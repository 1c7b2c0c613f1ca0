"""Batches as people handle them: open, close, pause, resume, cancel, and try again what failed.

Each can be repeated: what is done already stays as it is. What touches many tasks goes in turns of some hundred, each a
transaction, and some turns a call; killed between two, the command is given again.
"""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from receiver.client.batch_schemas import PRIORITIES, NewBatch
from receiver.core.batches import OPEN_MOST, cancel_lane, check_name, open_again, pause_lane, reopen_lane, resume_lane
from receiver.core.decide import withdraw_task
from receiver.core.errors import RequestRefused
from receiver.core.money import amount_text, parse_usd
from receiver.core.queue_waits import resume_command
from receiver.core.types import Clock, LanePriority, PauseCause, Policy, QueueLane, Task, TaskState
from receiver.store import Store, Tx
from receiver.store.insist import decide_again
from receiver.tasks.batch_ends import record_ends, write_lane
from receiver.tasks.batch_names import require_batch
from receiver.tasks.chain_returns import ask_again, repeat_rows
from receiver.tasks.new_tasks import check_label, check_targets
from receiver.telemetry.metrics import Metrics

TURN = 200  # tasks in one transaction
_LAST_REF = "ffffffff-ffff-7fff-bfff-ffffffffffff"  # no ref sorts after it
TURNS_MOST = 25  # of one call, so that it is answered in time
_REPEATED_STATES = (TaskState.FAILED, TaskState.CANCELLED)
_PRIORITIES = {word: LanePriority[word.upper()] for word in PRIORITIES}


class LaneChange(NamedTuple):
    """A batch after a change, how many tasks that touched, and after which row it is to go on if there are more."""

    lane: QueueLane
    changed: int
    after: tuple[int, str] | None = None


class BatchControl:
    """What a person does with batches."""

    def __init__(self, store: Store, policy: Policy, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._metrics = metrics

    @decide_again
    async def open(self, asked: NewBatch) -> QueueLane:
        """The batch of this name, made unless it is there; `reopen` lets one that is closed take tasks again.

        Raises RequestRefused.
        """
        self._check(asked)
        async with self._store.write() as tx:
            found = await tx.lanes.find_batch(asked.name)
            if found is not None and (found.closed_at is None or not asked.reopen):
                return found
            if (found is None or found.finished_at is not None) and await tx.lanes.count_unfinished() >= OPEN_MOST:
                remedy = "see `receiver batch list`; close or cancel some of them"
                problem = f"{OPEN_MOST} batches are not finished, and there can be no more"
                raise RequestRefused(409, "too_many_batches", problem, remedy=remedy)
            if found is not None:
                rows = sum((await tx.batch_rows.count_states(found.id)).values())
                await tx.lanes.update(reopen_lane(found, rows, self._clock()))
            else:
                await tx.lanes.insert(self._new_lane(asked))
            return await require_batch(tx, asked.name)

    @decide_again
    async def close(self, name: str) -> QueueLane:
        """No more tasks will come. Raises RequestRefused, as all of these."""
        async with self._store.write() as tx:
            lane = await require_batch(tx, name)
            now = self._clock()
            closed = lane if lane.closed_at is not None else replace(lane, closed_at=now)
            return await write_lane(tx, lane, closed, self._policy, now)

    @decide_again
    async def pause(self, name: str) -> QueueLane:
        """Submit none of its tasks for now."""
        async with self._store.write() as tx:
            lane = await require_batch(tx, name)
            await _refuse_finished(tx, lane)
            if lane.paused_by is not PauseCause.PERSON:
                await tx.lanes.update(pause_lane(lane, PauseCause.PERSON, lane.paused_at or self._clock()))
            return await require_batch(tx, name)

    @decide_again
    async def resume(self, name: str) -> QueueLane:
        """Submit its tasks again."""
        async with self._store.write() as tx:
            lane = await require_batch(tx, name)
            await _refuse_finished(tx, lane)
            if lane.paused_by is PauseCause.BUDGET:
                problem = f"the batch {name!r} waits, because {lane.paused_why}"
                raise RequestRefused(
                    409, "budget_used_up", problem, remedy=f"run `{resume_command(name, lane.paused_by)}`"
                )
            if lane.paused_at is not None:
                await tx.lanes.update(replace(resume_lane(lane), streak=0, streak_why=None))
            return await require_batch(tx, name)

    async def cancel(self, name: str) -> LaneChange:
        """Close it, and withdraw what was not sent: so many tasks that this is done soon. If there are more, it is to
        be called again."""
        await self.close(name)
        count = 0
        for _ in range(TURNS_MOST):
            lane, cancelled = await self._cancel_turn(name)
            self._metrics.count_settled(cancelled)
            count += len(cancelled)
            if len(cancelled) < TURN:
                return LaneChange(lane, count)
        return LaneChange(lane, count, (cancelled[-1].turn, cancelled[-1].ref))

    @decide_again
    async def _cancel_turn(self, name: str) -> tuple[QueueLane, list[Task]]:
        """Withdraw some of its tasks. They are locked before the batch, as by whatever ends one."""
        batch = (await require_batch(self._store, name)).id
        async with self._store.write() as tx:
            queued = await tx.batch_rows.in_states(batch, [TaskState.QUEUED], limit=TURN)
            now = self._clock()
            cancelled = [withdraw_task(task, now) for task in queued]
            await tx.tasks.update(list(zip(queued, cancelled, strict=True)))
            if cancelled:
                await record_ends(tx, cancelled, self._policy, now)
                await tx.lanes.update(cancel_lane(await require_batch(tx, name), now))
            return await require_batch(tx, name), cancelled

    async def retry(self, name: str, after: tuple[int, str] = (0, "")) -> LaneChange:
        """Queue another task for each row that failed or was cancelled: for so many that this is done soon. It goes on
        `after` a row, so that none is tried again which fails meanwhile.

        Not for an unconfirmed failure, which may have succeeded, nor for a task that was submitted again by itself.
        """
        count = 0
        for _ in range(TURNS_MOST):
            lane, changed, goes_on = await self._retry_turn(name, after)
            count += changed
            if goes_on is None:
                return LaneChange(lane, count)
            after = goes_on
        return LaneChange(lane, count, after)

    @decide_again
    async def _retry_turn(self, name: str, after: tuple[int, str]) -> LaneChange:
        """Queue another task for some of them, which are locked before the batch."""
        batch = (await require_batch(self._store, name)).id
        async with self._store.write() as tx:
            page = await tx.batch_rows.in_states(batch, _REPEATED_STATES, after, limit=TURN + 1)
            ended, goes_on = _cut_at_line(page)
            repeated = await tx.batch_rows.refs_repeated([task.ref for task in ended]) if ended else set()
            old = [it for it in ended if it.confirmed and it.ref not in repeated]
            if old and not self._policy.can_poll:
                remedy = "set PROVIDER_KEY where the service runs"
                raise RequestRefused(422, "no_key", "submitting needs a provider key", remedy=remedy)
            pairs = await repeat_rows(tx, old, self._clock())
            lane = await require_batch(tx, name)
            if pairs:
                gone = [(task, replace(task, row_key=None, turn=-task.turn)) for task, _ in pairs]
                await tx.tasks.update(gone)
                await ask_again(tx, [new for _, new in pairs], self._policy, self._clock())
                await tx.tasks.insert([new for _, new in pairs])
                opened = replace(open_again(lane, self._clock()), streak=0, streak_why=None)
                if opened != lane:
                    await tx.lanes.update(opened)
                lane = await require_batch(tx, name)
        return LaneChange(lane, len(pairs), goes_on if len(page) > TURN else None)

    def _check(self, asked: NewBatch) -> None:
        check_name(asked.name)
        check_label(asked.label)
        check_targets(asked.targets, self._policy)
        if asked.priority not in _PRIORITIES:
            problem = f"unknown priority {asked.priority[:80]!r}: it must be one of {', '.join(_PRIORITIES)}"
            raise RequestRefused(422, "invalid_parameter", problem, "priority")
        if asked.budget is not None:
            _read_budget(asked.budget)

    def _new_lane(self, asked: NewBatch) -> QueueLane:
        return QueueLane(
            id=0,
            name=asked.name,
            batch=True,
            priority=_PRIORITIES[asked.priority],
            created_at=self._clock(),
            label=asked.label,
            targets=asked.targets,
            each=asked.each,
            budget=None if asked.budget is None else _read_budget(asked.budget),
        )


def _cut_at_line(page: Sequence[Task]) -> tuple[Sequence[Task], tuple[int, str]]:
    """The tasks of whole lines of a page, which is full if it has more than `TURN`, and after which row to go on: a
    task that is tried again has the line of the old one, and must not be met once more."""
    if len(page) <= TURN:
        return page, (0, "")
    whole = [task for task in page if task.turn != page[-1].turn]
    if not whole:  # all are of one line
        return page, (page[-1].turn, page[-1].ref)
    return whole, (whole[-1].turn, _LAST_REF)


async def _refuse_finished(tx: Tx, lane: QueueLane) -> None:
    """Raises RequestRefused if the batch has ended, and nothing in it waits for a person either."""
    if lane.finished_at is not None and not (await tx.batch_rows.count_states(lane.id)).get(TaskState.QUEUED):
        raise RequestRefused(409, "batch_finished", f"the batch {lane.name!r} has ended")


def _read_budget(text: str) -> str:
    amount = parse_usd(text)
    if amount is None:
        problem = f"budget must be an amount in USD, such as 25 or 12.50, not {text[:80]!r}"
        raise RequestRefused(422, "invalid_parameter", problem, "budget")
    return amount_text(amount)
