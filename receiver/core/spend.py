"""What a task adds to the books, in each of its states. Pure.

The books (the tables `spend` and `spend_totals`) always hold the sum of `contribution` over all tasks, those deleted
since included: each change of a task adds what it contributes now, and takes away what it contributed before. So
nothing has to be remembered, whatever the order of events, and a crash can lose nothing.
"""

from datetime import UTC, datetime
from typing import NamedTuple

from receiver.core.money import to_nano
from receiver.core.types import OutcomeSource, Task, TaskState


class SpendKey(NamedTuple):
    """A line of the books. `day` is the date on which the tasks were submitted; empty texts stand for none."""

    day: str
    provider: str
    model: str
    lane: int
    label: str


class SpendCounts(NamedTuple):
    """What a line adds up: numbers of tasks, then nano-USD.

    `lost` counts those of which no end is known, resubmitted ones among them; `unknown` those that have ended (or are
    lost) without a known cost. `reserved` is for those in hand, `presumed` for those that are unknown; `unpriced` are
    in hand without a reservation, because nobody knows what they may cost.
    """

    completed: int = 0
    failed: int = 0
    lost: int = 0
    unknown: int = 0
    in_hand: int = 0
    unpriced: int = 0
    cost: int = 0
    reserved: int = 0
    presumed: int = 0

    @property
    def spent(self) -> int:
        """What counts against a budget, besides what is reserved."""
        return self.cost + self.presumed


SpendDeltas = dict[SpendKey, list[int]]
"""Changes of the books, in the order of `SpendCounts`."""


def contribution(task: Task) -> SpendCounts | None:
    """What the task adds to its line of the books now.

    One that was not claimed here (minted, adopted, sent before there were books) counts from its end.
    """
    reserved = task.reserved or 0
    match task.state:
        case TaskState.COMPLETED:
            cost = _known_cost(task)
            if cost is None:
                return SpendCounts(completed=1, unknown=1, presumed=reserved)
            return SpendCounts(completed=1, cost=cost)
        case TaskState.FAILED | TaskState.CANCELLED:
            if task.state is TaskState.CANCELLED and task.submitted_at is None:
                return None
            cost = _known_cost(task)
            free = task.settled_by is OutcomeSource.ANSWER and task.task_id is None  # it was refused at once
            return SpendCounts(failed=1, unknown=int(cost is None and not free), cost=cost or 0)
        case TaskState.SUBMITTING | TaskState.WAITING if task.spend_day is not None:
            return SpendCounts(in_hand=1, unpriced=int(task.reserved is None), reserved=reserved)
        case TaskState.LOST if task.spend_day is not None:
            return _as_lost(task)
    return None


def add_change(deltas: SpendDeltas, old: Task | None, new: Task) -> None:
    """Add to `deltas` what the change of a task means; `old` None: it is new.

    A task that may have been taken and is queued again, by a person, may be paid for twice: the first time stays in the
    books as lost.
    """
    if old is not None and (before := contribution(old)) is not None:
        again = new.state is TaskState.QUEUED and old.state in (TaskState.WAITING, TaskState.LOST)
        if again and old.spend_day is not None:
            _add(deltas, old, _as_lost(old), 1)
        _add(deltas, old, before, -1)
    if (after := contribution(new)) is not None:
        _add(deltas, new, after, 1)


def total_changes(deltas: SpendDeltas, batch_lanes_after: int) -> list[tuple[str, int, int, int]]:
    """The changes of (scope, spent, reserved, unpriced) that follow, by day and by batch, where there are any."""
    totals: dict[str, list[int]] = {}
    for key, values in deltas.items():
        counts = SpendCounts(*values)
        scopes = (key.day, lane_scope(key.lane)) if key.lane > batch_lanes_after else (key.day,)
        for scope in scopes if counts.spent or counts.reserved or counts.unpriced else ():
            total = totals.setdefault(scope, [0, 0, 0])
            total[0] += counts.spent
            total[1] += counts.reserved
            total[2] += counts.unpriced
    return [(scope, spent, reserved, unpriced) for scope, (spent, reserved, unpriced) in totals.items()]


def lane_scope(lane: int) -> str:
    """The scope of a batch's total; a day's is its date."""
    return f"lane {lane}"


def spend_key(task: Task) -> SpendKey:
    """The line to which a task belongs."""
    day = task.spend_day or _utc_day(task.created_at if task.submitted_at is None else task.submitted_at)
    return SpendKey(day, task.provider, task.model or "", task.lane, task.label or "")


def _add(deltas: SpendDeltas, task: Task, counts: SpendCounts, sign: int) -> None:
    key = spend_key(task)
    line = deltas.get(key)
    if line is None:
        deltas[key] = [sign * it for it in counts]
        return
    for place, value in enumerate(counts):
        if value:
            line[place] += sign * value


def _as_lost(task: Task) -> SpendCounts:
    return SpendCounts(lost=1, unknown=1, presumed=task.reserved or 0)


def _known_cost(task: Task) -> int | None:
    return to_nano(task.usage.cost) if task.usage is not None else None


def _utc_day(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).date().isoformat()
