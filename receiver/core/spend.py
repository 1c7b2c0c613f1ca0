"""What a task adds to the books, in each of its states. Pure.

The books (the tables `spend` and `spend_totals`) always hold the sum of `contribution` over all tasks, those deleted
since included: each change of a task adds what it contributes now, and takes away what it contributed before. So
nothing has to be remembered, whatever the order of events, and a crash can lose nothing.
"""

from datetime import date, timedelta
from functools import lru_cache
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

    @property
    def priced(self) -> int:
        """How many completed with a known cost, as far as sums can tell: refused ones have none, and that is known."""
        return max(0, min(self.completed, self.completed + self.failed + self.lost - self.unknown))


SpendDeltas = dict[SpendKey, list[int]]
"""Changes of the books, in the order of `SpendCounts`."""

_Parts = tuple[tuple[int, int], ...]
_COMPLETED, _FAILED, _LOST, _UNKNOWN, _IN_HAND, _UNPRICED, _COST, _RESERVED, _PRESUMED = range(9)
_DAY_MS = 86_400_000


def contribution(task: Task) -> SpendCounts | None:
    """What the task adds to its line of the books now; None for nothing.

    One that was not claimed here (minted, adopted, sent before there were books) counts from its end.
    """
    counts = [0] * len(SpendCounts._fields)
    parts = _parts(task)
    for place, value in parts:
        counts[place] = value
    return SpendCounts(*counts) if parts else None


def _parts(task: Task) -> _Parts:
    """What the task adds, as (place in `SpendCounts`, amount): every callback that settles one comes here twice."""
    match task.state:
        case TaskState.COMPLETED:
            cost = _known_cost(task)
            if cost is None:
                return (_COMPLETED, 1), (_UNKNOWN, 1), (_PRESUMED, task.reserved or 0)
            return (_COMPLETED, 1), (_COST, cost)
        case TaskState.FAILED | TaskState.CANCELLED:
            if task.state is TaskState.CANCELLED and task.submitted_at is None:
                return ()
            cost = _known_cost(task)
            free = task.settled_by is OutcomeSource.ANSWER and task.task_id is None  # it was refused at once
            if cost is None and not free:  # it may be billed
                return (_FAILED, 1), (_UNKNOWN, 1), (_PRESUMED, task.reserved or 0)
            return (_FAILED, 1), (_COST, cost or 0)
        case TaskState.SUBMITTING | TaskState.WAITING if task.spend_day is not None:
            return (_IN_HAND, 1), (_UNPRICED, int(task.reserved is None)), (_RESERVED, task.reserved or 0)
        case TaskState.LOST if task.spend_day is not None:
            return _lost_parts(task)
    return ()


def add_change(deltas: SpendDeltas, old: Task | None, new: Task) -> None:
    """Add to `deltas` what the change of a task means; `old` None: it is new.

    A task that may have been taken and is queued again, by a person, may be paid for twice: the first time stays in the
    books as lost.
    """
    if old is not None and (before := _parts(old)):
        again = new.state is TaskState.QUEUED and old.state in (TaskState.WAITING, TaskState.LOST)
        if again and old.spend_day is not None:
            _add(deltas, old, _lost_parts(old), 1)
        _add(deltas, old, before, -1)
    if after := _parts(new):
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


def model_changes(deltas: SpendDeltas) -> list[tuple[str, int, int, int, int]]:
    """The changes of (model, completed, ended, unknown, cost) that follow, where there are any."""
    models: dict[str, list[int]] = {}
    for key, values in deltas.items():
        counts = SpendCounts(*values)
        ended = counts.completed + counts.failed + counts.lost
        if counts.completed or ended or counts.unknown or counts.cost:
            total = models.setdefault(key.model, [0, 0, 0, 0])
            for place, value in enumerate((counts.completed, ended, counts.unknown, counts.cost)):
                total[place] += value
    return [(model, completed, ended, unknown, cost) for model, (completed, ended, unknown, cost) in models.items()]


def lane_scope(lane: int) -> str:
    """The scope of a batch's total; a day's is its date."""
    return f"lane {lane}"


def spend_key(task: Task) -> SpendKey:
    """The line to which a task belongs."""
    day = task.spend_day or _utc_day((task.created_at if task.submitted_at is None else task.submitted_at) // _DAY_MS)
    return SpendKey(day, task.provider, task.model or "", task.lane, task.label or "")


def _add(deltas: SpendDeltas, task: Task, parts: _Parts, sign: int) -> None:
    key = spend_key(task)
    line = deltas.get(key)
    if line is None:
        line = deltas[key] = [0] * len(SpendCounts._fields)
    for place, value in parts:
        line[place] += sign * value


def _lost_parts(task: Task) -> _Parts:
    return (_LOST, 1), (_UNKNOWN, 1), (_PRESUMED, task.reserved or 0)


def _known_cost(task: Task) -> int | None:
    return to_nano(task.usage.cost) if task.usage is not None else None


@lru_cache(maxsize=8)
def _utc_day(days: int) -> str:
    """The date that lies so many days after the first of 1970."""
    return (date(1970, 1, 1) + timedelta(days)).isoformat()
