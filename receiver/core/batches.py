"""Batches: what is said at their end, and when their failures pause them. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from receiver.core.decide import owed_notices
from receiver.core.errors import RequestRefused
from receiver.core.money import format_usd
from receiver.core.sanitize import format_duration, one_line
from receiver.core.types import (
    Notice,
    NoticeEvent,
    PauseCause,
    Policy,
    QueueLane,
    Report,
    Task,
    TaskError,
    TaskState,
)

HALT_AFTER = 10  # failures in a row for the same reason
CANCELLED_WHY = "it was cancelled"
OPEN_MOST = 200  # unfinished batches
GROUPS_MOST = 20
LINES_MOST = 10  # that are named of a group
_NAME_MOST = 200
_NAME = re.compile(r"(?!\.{1,2}$)[^\s/\x00-\x1f\x7f-](?:[^/\x00-\x1f\x7f]*[^\s/\x00-\x1f\x7f])?")
_TAKEN_NAMES = frozenset({"high", "normal", "low", "day", "month"})  # of lanes, and of budgets
_REASON_MOST = 200
_WITHOUT_PICTURES = (TaskState.FAILED, TaskState.CANCELLED, TaskState.LOST)
_TOLD_GROUPS = 3
_TOLD_MOST = 60


class FailureGroup(Struct):
    """Tasks of a batch that failed for the same reason, and the first of their lines."""

    code: str | None
    message: str
    count: int
    lines: list[int]


class BatchFigures(Struct, frozen=True):
    """What a batch came to: how many of its rows are in each state, why some failed, and what it cost."""

    states: Mapping[TaskState, int]
    failures: Sequence[FailureGroup] = ()
    cost: Decimal | None = None  # None: no end told its cost
    unknown: int = 0  # tasks that ended without a known cost
    priced: int = 0  # tasks that ended with one
    picks: int = 0  # queued tasks that wait until a person picks a picture

    @property
    def earlier(self) -> int:
        """How many tasks are in the cost whose rows have a newer one."""
        ended = sum(self.states.get(it, 0) for it in (TaskState.COMPLETED, TaskState.FAILED, TaskState.LOST))
        return max(0, self.priced + self.unknown - ended)

    @property
    def total(self) -> int:
        """All rows."""
        return sum(self.states.values())


def check_name(name: str, *, field: str = "name") -> None:
    """Raises RequestRefused, about `field`, if a batch cannot have this name, which is part of paths and commands."""
    if name in _TAKEN_NAMES:
        problem = f"{name!r} is the name of a priority or of a budget"
        raise RequestRefused(422, "invalid_parameter", problem, field, remedy="give the batch another name")
    if len(name) > _NAME_MOST or not _NAME.fullmatch(name) or not name.isprintable():
        problem = f"a batch's name must have 1 to {_NAME_MOST} characters of plain text in one line, without /"
        raise RequestRefused(422, "invalid_parameter", problem, field)


def group_failures(failed: Iterable[tuple[int, TaskError | None]]) -> list[FailureGroup]:
    """The failures of these (line, error), by what the provider said, the most frequent first; the rest is one group
    without a code."""
    groups: dict[tuple[str | None, str], FailureGroup] = {}
    for line, error in failed:
        message = one_line(error.message if error else "", _REASON_MOST) or "no reason was given"
        key = (error.code if error else None, message)
        group = groups.setdefault(key, FailureGroup(*key, 0, []))
        group.count += 1
        if len(group.lines) < LINES_MOST:
            group.lines.append(line)
    ranked = sorted(groups.values(), key=lambda it: (-it.count, it.lines[0]))
    rest = ranked[GROUPS_MOST:]
    if rest:
        lines = sorted(line for group in rest for line in group.lines)[:LINES_MOST]
        ranked[GROUPS_MOST:] = [FailureGroup(None, "other reasons", sum(it.count for it in rest), lines)]
    return ranked


def count_streak(lane: QueueLane, ended: Iterable[Task]) -> QueueLane:
    """The batch after these ends, in their order: how many have failed in a row for one reason. What a person cancelled
    says nothing."""
    streak, why = lane.streak, lane.streak_why
    for task in ended:
        if task.state is TaskState.COMPLETED:
            streak, why = 0, None
        elif task.state is TaskState.FAILED:
            reason = failure_reason(task.error)
            streak, why = (streak + 1, why) if reason == why else (1, reason)
    return lane if (streak, why) == (lane.streak, lane.streak_why) else replace(lane, streak=streak, streak_why=why)


def is_halted(lane: QueueLane) -> bool:
    """Whether so many of its tasks failed alike that the cause is probably in the file."""
    return lane.streak >= HALT_AFTER and lane.paused_at is None and lane.finished_at is None


def pause_lane(lane: QueueLane, cause: PauseCause, at: int, why: str | None = None) -> QueueLane:
    """The batch, paused since `at`; `why` in words, unless a person did it."""
    return replace(lane, paused_at=at, paused_by=cause, paused_why=why)


def resume_lane(lane: QueueLane) -> QueueLane:
    """The batch, not paused."""
    return replace(lane, paused_at=None, paused_by=None, paused_why=None)


def open_again(lane: QueueLane, now: int) -> QueueLane:
    """The batch of which a task that had ended is open again: so its end, once it comes, is news."""
    opened = lane if lane.told_rows is None else replace(lane, told_rows=None)
    return opened if lane.finished_at is None else _unfinished(opened, now)


def reopen_lane(lane: QueueLane, rows: int, now: int) -> QueueLane:
    """The closed batch of so many `rows`, which takes tasks again: if none comes, its end is no news."""
    opened = replace(lane, closed_at=None, closed_why=None)
    return opened if lane.finished_at is None else replace(_unfinished(opened, now), told_rows=rows)


def cancel_lane(lane: QueueLane, now: int) -> QueueLane:
    """The closed batch, of which a person has cancelled tasks; one that waited only for people has ended with these."""
    if lane.finished_at is None:
        return replace(lane, closed_why=CANCELLED_WHY)
    return replace(_unfinished(lane, now), closed_why=CANCELLED_WHY, finished_at=now)


def _unfinished(lane: QueueLane, now: int) -> QueueLane:
    idle = max(0, now - (lane.finished_at or now))
    return replace(lane, finished_at=None, idle_ms=lane.idle_ms + idle)


def failure_reason(error: TaskError | None) -> str:
    """By what failures are the same: the code, else the words; for a person too."""
    code = one_line((error and error.code) or "", 40)
    words = one_line((error and error.message) or "", _TOLD_MOST)
    return f"{code} {words}".strip() or "no reason"


def describe_end(figures: BatchFigures, took_ms: int | None) -> str:
    """What a batch came to, in one line: "493 of 500 completed, 7 failed (5 × …), $24.65 in 52 min"."""
    total, completed = figures.total, figures.states.get(TaskState.COMPLETED, 0)
    parts = [f"{figures.states[it]:,} {it.value}" for it in _WITHOUT_PICTURES if figures.states.get(it)]
    if failed := figures.states.get(TaskState.FAILED, 0):
        parts[0] += f" ({_describe_failures(figures.failures, failed)})"
    if held := figures.states.get(TaskState.QUEUED, 0):  # what goes on from a pick, or from a lost task
        if not figures.picks:
            parts.append(f"{held:,} wait for a person")
        else:
            parts.append(f"{figures.picks:,} {'waits' if figures.picks == 1 else 'wait'} for you to pick a picture")
            if (later := held - figures.picks) > 0:
                parts.append(f"{later:,} more {'goes' if later == 1 else 'go'} on after that")
    if len(parts) == (completed == 0):  # all are in one state
        counts = f"{'all ' if total > 1 else ''}{parts[0] if parts else f'{total:,} completed'}"
    else:
        done = f"{completed:,}" if completed else "none"
        counts = ", ".join((f"{done} of {total:,} completed", *parts))
    money, took = format_usd(figures.cost), format_duration(took_ms)
    costs = f", {' in '.join(filter(None, (money, took)))}" if money else f", in {took}" if took else ""
    return f"{counts}{costs}"


def end_notices(
    lane: QueueLane, figures: BatchFigures, policy: Policy, now: int, *, awaits_pictures: bool = False
) -> tuple[Notice, ...]:
    """The notices that a batch has ended, for those that it names, else for all that want its label; none if it had no
    rows, or if it was reopened and nothing came of that. `awaits_pictures`: some of its pictures are on their way."""
    if not figures.total or lane.told_rows == figures.total:
        return ()
    took = max(0, now - lane.created_at - lane.idle_ms)
    report = Report(
        event=NoticeEvent.BATCH,
        batch=lane.name,
        label=lane.label,
        text=describe_end(figures, took),
        failed=any(figures.states.get(state) for state in _WITHOUT_PICTURES),
        rows={state.value: count for state, count in figures.states.items()},
        cost=figures.cost,
        duration_ms=took,
        picks=figures.picks,
    )
    stands_for = Task(ref="", created_at=lane.created_at, provider="", label=lane.label, targets=lane.targets)
    return owed_notices(stands_for, report, policy, now, awaits_pictures=awaits_pictures)


def _describe_failures(groups: Sequence[FailureGroup], failed: int) -> str:
    told = [f"{it.count:,} × {failure_reason(TaskError(it.code, it.message))}" for it in groups[:_TOLD_GROUPS]]
    left = failed - sum(it.count for it in groups[:_TOLD_GROUPS])
    return ", ".join(told + ([f"{left:,} × others"] if left > 0 else []))
