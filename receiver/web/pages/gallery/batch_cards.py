"""A batch as the gallery and its own page show it: how far it is, what it cost, how long it still takes. Pure."""

from collections.abc import Sequence

from msgspec import Struct

from receiver.core.batches import BatchFigures
from receiver.core.money import format_usd
from receiver.core.sanitize import one_line
from receiver.core.types import PauseCause, QueueLane, Task, TaskState

TITLE_MOST = 120
_MINUTE_MS = 60_000
_IN_HAND = (TaskState.SUBMITTING, TaskState.WAITING)
_ENDED = (TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED, TaskState.LOST)
_PAUSED = {
    PauseCause.FAILURES: "many failed in a row for one reason",
    PauseCause.BUDGET: "its budget is used up",
}


class BatchCard(Struct, frozen=True, kw_only=True):
    """A batch: counts by state, and the rest in words."""

    name: str
    title: str
    created_at: int
    kind: str  # of its state's mark
    word: str
    total: int
    ended: int
    completed: int = 0
    failed: int = 0  # and lost
    in_hand: int = 0
    queued: int = 0
    cancelled: int = 0
    cost: str = ""
    left: str = ""  # how long it may still take
    why: str = ""  # it is paused
    strip: tuple[str, ...] = ()  # its newest pictures

    @property
    def percent(self) -> int:
        """How many of its tasks have ended."""
        return 100 * self.ended // self.total if self.total else 0


def make_batch_card(
    lane: QueueLane, figures: BatchFigures, newest: Sequence[Task], now: int, strip: Sequence[str] = ()
) -> BatchCard:
    """The card of a batch; `newest` are its newest completed tasks, by which its pace is known."""
    count = figures.states.get
    queued = count(TaskState.QUEUED, 0)
    in_hand = sum(count(it, 0) for it in _IN_HAND)
    kind, word = _describe_state(lane, queued + in_hand)
    return BatchCard(
        name=lane.name,
        title=one_line(lane.name, TITLE_MOST),
        created_at=lane.created_at,
        kind=kind,
        word=word,
        total=figures.total,
        ended=sum(count(it, 0) for it in _ENDED),
        completed=count(TaskState.COMPLETED, 0),
        failed=count(TaskState.FAILED, 0) + count(TaskState.LOST, 0),
        in_hand=in_hand,
        queued=queued,
        cancelled=count(TaskState.CANCELLED, 0),
        cost="" if figures.cost is None else format_usd(figures.cost),
        left="" if lane.paused_at else describe_time_left(queued + in_hand, newest, now),
        why=_PAUSED.get(lane.paused_by, "by a person") if lane.paused_at and lane.paused_by else "",
        strip=tuple(strip),
    )


def describe_time_left(open_tasks: int, newest: Sequence[Task], now: int) -> str:
    """How long `open_tasks` take if they end as fast as the `newest` did; empty if that is unknown."""
    ends = [it.settled_at for it in newest if it.settled_at is not None]
    if not open_tasks or len(ends) < 2:
        return ""
    each_ms = max(0, now - min(ends)) / len(ends)
    minutes = round(open_tasks * each_ms / _MINUTE_MS)
    if minutes < 1:
        return "less than a minute left"
    if minutes < 90:
        return f"about {minutes} min left"
    return f"about {round(minutes / 60)} h left"


def _describe_state(lane: QueueLane, open_tasks: int) -> tuple[str, str]:
    if lane.finished_at is not None:
        return "good", "done"
    if lane.paused_at is not None:
        return "hold", "paused"
    return ("busy", "under way") if open_tasks or lane.closed_at is None else ("busy", "ending")
