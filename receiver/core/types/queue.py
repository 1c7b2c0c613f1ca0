"""The queue: lanes by priority. A batch is a lane with a name; single tasks share three fixed ones."""

from enum import IntEnum, StrEnum
from typing import Final

from msgspec import Struct


class LanePriority(IntEnum):
    """Which lanes go first."""

    HIGH = 1
    NORMAL = 0
    LOW = -1


class PauseCause(StrEnum):
    """What paused a batch."""

    PERSON = "person"
    FAILURES = "failures"  # too many in a row, for the same reason
    BUDGET = "budget"  # its own is used up


HIGH_LANE: Final = 1
NORMAL_LANE: Final = 2
LOW_LANE: Final = 3
TURNS_PER_MS: Final = 1_000
"""The turn of a single task is the time of its creation, and then its place in its call."""
FIXED_LANES: Final = {"high": HIGH_LANE, "normal": NORMAL_LANE, "low": LOW_LANE}
"""The lanes of single tasks, by the name of their priority."""


class QueueLane(Struct, frozen=True, kw_only=True, gc=False):
    """A lane. Times are milliseconds UTC; `budget` is USD as text."""

    id: int
    name: str
    batch: bool
    priority: LanePriority
    created_at: int
    label: str | None = None
    targets: tuple[str, ...] | None = None  # who gets the batch's digest; None: as settings say
    each: bool = False  # its tasks are reported one by one as well
    budget: str | None = None
    closed_at: int | None = None  # no more tasks will come
    closed_why: str | None = None  # None: whoever filled it closed it
    paused_at: int | None = None
    paused_by: PauseCause | None = None
    paused_why: str | None = None  # in words, unless a person paused it
    finished_at: int | None = None  # closed, and the last of its tasks has ended
    idle_ms: int = 0  # how long it had ended before it was opened again, all times together
    told_rows: int | None = None  # reopened after an end that was about so many rows; None once a task of these is open
    streak: int = 0  # how many of its tasks failed in a row for the same reason
    streak_why: str | None = None
