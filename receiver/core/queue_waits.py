"""What a queued task waits for, since when, and when something is tried next. Pure.

Its words are said here once, so that the list, a task's own page, what watches it and the doctor agree.
"""

import shlex
from collections.abc import Mapping, Sequence
from enum import StrEnum

from msgspec import Struct

from receiver.core.budgets import BudgetWait
from receiver.core.proven_limit import ProvenLimit
from receiver.core.provider_pace import ProviderPace
from receiver.core.types import HoldReason, PauseCause, QueueLane, Task, TaskState


class QueueReason(StrEnum):
    """What a queued task waits for. A newer service may know others."""

    NO_KEY = "no_key"
    KEY = "key"  # or the balance, or the plan
    DOWN = "down"
    BUSY = "busy"  # the provider asked for a pause
    SUSPECT = "suspect"
    RETRY = "retry"  # this task was put off
    ROOM = "room"
    TURN = "turn"
    PERSON = "person"
    PAUSED = "paused"  # the queue, or the task's batch
    PARENT = "parent"
    PICK = "pick"
    BUDGET = "budget"
    PRICE = "price"  # a budget cannot hold without one


_WORDS: dict[str, str] = {
    QueueReason.NO_KEY: "the service has no provider key",
    QueueReason.KEY: "the provider refuses the key or the balance",
    QueueReason.DOWN: "the provider cannot be reached",
    QueueReason.BUSY: "the provider asks for a pause",
    QueueReason.SUSPECT: "the provider refused it, and another task goes first",
    QueueReason.RETRY: "the provider was too busy",
    QueueReason.ROOM: "the provider has no room",
    QueueReason.TURN: "submitted in turn",
    QueueReason.PERSON: "it needs you: the provider did not take it, again and again",
    QueueReason.PAUSED: "submitting is paused",
    QueueReason.PARENT: "the task that it builds on has not ended",
    QueueReason.PICK: "a person picks the picture that it goes on from",
    QueueReason.BUDGET: "the budget has no room",
    QueueReason.PRICE: "there is a budget, and its model needs a price",
}
_BY_HOLD = {
    HoldReason.PARENT: QueueReason.PARENT,
    HoldReason.PICK: QueueReason.PICK,
    HoldReason.BUDGET: QueueReason.BUDGET,
    HoldReason.PERSON: QueueReason.PERSON,
    HoldReason.SUSPECT: QueueReason.SUSPECT,
    HoldReason.PAUSE: QueueReason.KEY,
}


class QueueWait(Struct, frozen=True):
    """Why a task waits; `since` when, if that is known, and `until` when at least. Milliseconds UTC.

    `detail` says more: the provider's words, or what is paused.
    """

    why: QueueReason
    since: int | None = None
    until: int | None = None
    detail: str | None = None


class QueueScene(Struct, frozen=True):
    """What all queued tasks wait for: the pace of the submissions, how many of the `places` are `taken`, since when the
    queue is paused, the paused ones of its lanes, and why there is no money for the next task."""

    pace: ProviderPace
    taken: int
    places: int
    has_key: bool
    now: int
    paused_at: int | None = None
    paused_why: str = ""  # empty: a person did it
    paused_lanes: Mapping[int, QueueLane] = {}
    budget: BudgetWait | None = None
    lane_budgets: Mapping[int, BudgetWait] = {}  # of lanes whose next task alone has no money


class QueueState(Struct, frozen=True):
    """How submitting stands: `scene` and `limit`, what a task that came now would wait for, and how many tasks are
    queued in each lane."""

    scene: QueueScene
    limit: ProvenLimit
    wait: QueueWait | None
    lanes: Sequence[tuple[QueueLane, int]]


def explain_wait(task: Task, scene: QueueScene) -> QueueWait | None:
    """What a queued task waits for: first what no other task's end can change. None for a task that is not queued."""
    if task.state is not TaskState.QUEUED:
        return None
    pace, now = scene.pace, scene.now
    if task.held_by in (HoldReason.PERSON, HoldReason.PARENT, HoldReason.PICK, HoldReason.BUDGET):
        return QueueWait(_BY_HOLD[task.held_by], detail=task.why)
    if scene.paused_at is not None:
        why = f"{scene.paused_why}; " if scene.paused_why else ""
        return QueueWait(QueueReason.PAUSED, scene.paused_at, detail=f"the whole queue: {why}`receiver queue resume`")
    if (lane := scene.paused_lanes.get(task.lane)) is not None:
        return QueueWait(QueueReason.PAUSED, lane.paused_at, detail=_describe_pause(lane))
    if not scene.has_key:
        return QueueWait(QueueReason.NO_KEY)
    own = task.due_at if task.due_at is not None and task.due_at > now else None
    if pace.unauthorized or task.held_by is HoldReason.PAUSE:
        until = pace.unauthorized_until if pace.is_unauthorized(now) else own if task.held_by else None
        return QueueWait(QueueReason.KEY, pace.refused_since or task.refused_at, until, task.why)
    if pace.failures:
        return QueueWait(QueueReason.DOWN, pace.down_since or None, pace.down_until if pace.is_down(now) else None)
    if pace.is_busy(now):
        return QueueWait(QueueReason.BUSY, until=pace.busy_until if own is None else max(pace.busy_until, own))
    if task.held_by is HoldReason.SUSPECT:
        return QueueWait(QueueReason.SUSPECT, task.refused_at, own, task.why)
    if own is not None:
        return QueueWait(QueueReason.RETRY, until=own, detail=task.why)
    if (short := scene.budget or scene.lane_budgets.get(task.lane)) is not None:
        why = QueueReason.PRICE if short.needs_price else QueueReason.BUDGET
        return QueueWait(why, short.since, short.until, short.text)
    if scene.taken >= scene.places:
        return QueueWait(QueueReason.ROOM, detail=f"{scene.taken} of {scene.places} places are taken")
    return QueueWait(QueueReason.TURN)


def count_waits(state: QueueState, queued: int) -> dict[QueueReason, int]:
    """How many of the `queued` tasks wait for what, as far as their lanes tell; those that are due in none are held."""
    counts = dict.fromkeys(QueueReason, 0)
    for lane, count in state.lanes:
        if (wait := wait_of_lane(lane, state.scene)) is not None:
            counts[wait.why] += count
    counts[QueueReason.PERSON] += max(0, queued - sum(counts.values()))
    return counts


def _describe_pause(lane: QueueLane) -> str:
    why = f"{lane.paused_why}; " if lane.paused_why else ""
    return f"the batch {lane.name}: {why}`{resume_command(lane.name, lane.paused_by)}`"


def resume_command(name: str, paused_by: str | None) -> str:
    """The command that lets a batch go on which is paused for this cause."""
    quoted = shlex.quote(name)
    if paused_by == PauseCause.BUDGET:
        return f"receiver costs raise {quoted} AMOUNT"
    return f"receiver batch resume {quoted}"


def reason_for(waits_for: str | None, held_by: str | None) -> str | None:
    """What a task waits for, as the API says it; of an older service, as far as `held_by` tells."""
    by_hold: dict[str, QueueReason] = {str(hold): why for hold, why in _BY_HOLD.items()}
    return waits_for or by_hold.get(held_by or "", held_by)


def describe_reason(why: str) -> str:
    """What a task waits for, in words; a reason of a newer service as it is."""
    return _WORDS.get(why, why)


def describe_wait(why: str, since: str | None = None, until: str | None = None, detail: str | None = None) -> str:
    """The same with its times, which are given as they are to be shown, and its detail."""
    times = [f"{word} {time}" for word, time in (("since", since), ("next try at", until)) if time]
    words = f"{describe_reason(why)} ({'; '.join(times)})" if times else describe_reason(why)
    return f"{words}: {detail}" if detail else words


def wait_of_lane(lane: QueueLane, scene: QueueScene) -> QueueWait | None:
    """What the next task of a lane waits for, unless that is its own."""
    return explain_wait(Task(ref="", created_at=0, provider="", lane=lane.id), scene)
