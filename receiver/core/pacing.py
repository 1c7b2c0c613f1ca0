"""When may a target be told: what goes first, quiet hours, windows of digests, rests, rates. Pure.

`plan` says what a target's next send is, from what the store knows of it; `quiet_until` whether it may be told at all.
Times are milliseconds UTC, spans milliseconds. A clock may be put back: a rest or a window further ahead than it can be
counts as over, and `ahead` says how far ahead the times of rows can be.
"""

from collections import deque
from collections.abc import Sequence
from datetime import date, datetime, timedelta, tzinfo
from enum import Enum, StrEnum

from msgspec import Struct

from receiver.core.types import Notice, NoticeState, Quiet, Rate, Target

HOUR = 3_600_000
DIGEST_MOST = 200  # notices in one message
DIGEST_LENGTH = 1 << 20  # characters of their reports, beyond which it takes no more of them
HELD_AT_ONCE = 200  # rows that are put off in one go
FAILURES_MOST = 3  # one after the other; from then on a target rests after each
REST_MOST = 300_000  # so that one message that is always refused does not hold up the others
RETRY_AFTER_MOST = HOUR  # what a service may ask of us at most
PUT_OFF_MS = 5_000  # until we try again what we could not even begin


class Standing(Struct, frozen=True, gc=False):
    """What the store knows of a target: the first time of each kind of row that is open, of leases the last;
    what is kept from its messages before."""

    name: str
    lease_last: int | None = None  # of sends under way, or whose process died
    send_first: int | None = None  # sends to be tried again
    held_first: int | None = None  # notices that are held
    due_first: int | None = None  # notices that are due, now or later
    window_at: int | None = None  # when the window of its digest ends
    failures: int = 0  # one after the other
    rest_until: int | None = None


class Step(Enum):
    """What a target's next send is."""

    WAIT = "wait"  # there is none now
    RETRY = "retry"  # one that failed, or whose process died
    DIGEST = "digest"  # those that were held
    FIRST = "first"  # a notice of its own
    HOLD = "hold"  # none: those that are due are held until the window's end


class Plan(Struct, frozen=True, gc=False):
    """A step; of WAIT, `at` is when to look again (None: nothing is to come)."""

    step: Step
    at: int | None = None


class Ahead(Struct, frozen=True, gc=False):
    """The last times that a target's rows can have at some moment: those that are later were set by another clock."""

    target: str
    retries: tuple[int, ...]  # of sends, by how many tries of them failed; the last also for more
    due: int  # of notices that are due
    held: int  # of those that are held


def ahead(target: Target, now: int, schedule: Sequence[int], picture_wait: int) -> Ahead:
    """How far ahead a target's times can be at `now`, by the gaps between tries and its own wishes."""
    quiet = quiet_until(target.quiet, now) if target.quiet is not None else None
    gaps = (PUT_OFF_MS, *(int(gap * 1.2) for gap in schedule))
    return Ahead(
        target=target.name,
        retries=tuple(max(now + gap, quiet or 0) for gap in gaps),
        due=now + max(picture_wait, PUT_OFF_MS),
        held=max(now + (target.digest_ms or 0), quiet or 0),
    )


def plan(standing: Standing, target: Target, now: int, free_at: int) -> Plan:
    """What the target's next send is at `now`; not before `free_at`, by its rate.

    1. One send at a time: with one under way it waits, and so it does while it rests.
    2. A send that failed goes before anything new: a target that is down is probed with what it refused.
    3. Notices whose holding is over go together.
    4. One that is due goes alone, unless a window is open: then it is held until that ends.
    """
    if standing.lease_last is not None and standing.lease_last > now:
        return Plan(Step.WAIT, standing.lease_last)
    blocked = max(free_at, _within(standing.rest_until, now, RETRY_AFTER_MOST) or 0)
    window = _within(standing.window_at, now, target.digest_ms) if target.digest_ms else None
    open_ = (
        (Step.RETRY, standing.lease_last),  # over: its process died
        (Step.RETRY, standing.send_first),
        (Step.DIGEST, standing.held_first),
        (Step.FIRST if window is None else Step.HOLD, standing.due_first),
    )
    soonest: int | None = None
    for step, first in open_:
        if first is None:
            continue
        if first <= now and blocked <= now:
            return Plan(step, window if step is Step.HOLD else None)
        soonest = min(soonest or first, first)
    return Plan(Step.WAIT, None if soonest is None else max(soonest, blocked))


def _within(at: int | None, now: int, most: int) -> int | None:
    """`at`, if it is still to come, and not further ahead than it can be."""
    return at if at is not None and now < at <= now + most else None


def rest_until(failures: int, next_try: int | None, now: int, first_gap: int) -> int | None:
    """Until when a target rests that failed `failures` times in a row; None while these are too few.

    `next_try` is when the first of its failed sends is tried again, `first_gap` what a new one would wait: a rest is
    never longer than any notice would wait for its own next try, and never than `REST_MOST`.
    """
    if failures < FAILURES_MOST:
        return None
    return min(now + first_gap if next_try is None else next_try, now + REST_MOST)


class Why(StrEnum):
    """What a notice waits for."""

    QUIET = "quiet"  # hours in which its target is not told
    DIGEST = "digest"  # the end of its target's window
    RETRY = "retry"  # the next try
    REST = "rest"  # its target failed several times in a row
    RATE = "rate"  # its target's
    PICTURES = "pictures"  # of its task


class Wait(Struct, frozen=True, gc=False):
    """What a notice waits for, and until when at least."""

    why: Why
    until: int


def wait(notice: Notice, target: Target, standing: Standing, now: int, free_at: int) -> Wait | None:
    """What a notice waits for that is due or held; None where that is only its turn. `free_at` is as of `plan`."""
    found, until = None, max(now, notice.due_at)
    if notice.state is NoticeState.HELD:
        found = Why.DIGEST
    elif until > now:
        found = Why.PICTURES if notice.report.images and not notice.attempts else Why.RETRY
    for why, at in ((Why.REST, _within(standing.rest_until, now, RETRY_AFTER_MOST) or 0), (Why.RATE, free_at)):
        if at > until:
            found, until = why, at
    if target.quiet is not None and notice.event not in target.quiet_except:
        if (ends := quiet_until(target.quiet, until)) is not None:
            found, until = Why.QUIET, ends
        elif found is not None and quiet_until(target.quiet, until - 1) == until:
            found = Why.QUIET
    return Wait(found, until) if found is not None else None


class Gate:
    """A rate: in any span of `per_ms` at most `count` messages go. In memory: a restart begins with an empty span."""

    def __init__(self, rate: Rate) -> None:
        self._per_ms = rate.per_ms
        self._last: deque[int] = deque(maxlen=rate.count)

    def free_at(self, now: int) -> int:
        """From when on the next message may go: `now`, or later."""
        while self._last and not now - self._per_ms < self._last[0] <= now:  # long ago, or by a clock since put back
            self._last.popleft()
        return self._last[0] + self._per_ms if len(self._last) == self._last.maxlen else now

    def take(self, now: int) -> None:
        """One goes."""
        self._last.append(now)


def quiet_until(quiet: Quiet, now: int) -> int | None:
    """When the quiet hours end in which `now` lies; None outside of them.

    They begin when the zone's clocks first show their start, and end when these last show their end: an hour that
    comes twice is quiet both times, and where clocks leap over a time, the leap counts as it.
    """
    from zoneinfo import ZoneInfo  # only where there are quiet hours

    zone = ZoneInfo(quiet.zone)
    today = datetime.fromtimestamp(now / 1000, zone).date()
    over_midnight = timedelta(days=quiet.end <= quiet.start)
    for day in (today - timedelta(days=1), today):
        begins = _shown(day, quiet.start, zone)[0]
        ends = _shown(day + over_midnight, quiet.end, zone)[1]
        if begins <= now < ends:
            return ends
    return None


def _shown(day: date, minute: int, zone: tzinfo) -> tuple[int, int]:
    """When the clocks of `zone` show this minute of the day, the first and the last time; both the leap's moment where
    they leap over it."""
    clock = datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=zone)
    first, last = (clock.replace(fold=fold).timestamp() for fold in (0, 1))
    if first > last:  # by the offset before the leap it lies after it, and the other way round
        before, after = last, first
        offset = datetime.fromtimestamp(before, zone).utcoffset()
        while after - before > 1:
            middle = (before + after) // 2
            if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
                before = middle
            else:
                after = middle
        first = last = after
    return round(first * 1000), round(last * 1000)
