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

from receiver.core.types import MessageRate, Notice, NoticeState, QuietHours, Target

HOUR = 3_600_000
DIGEST_MOST = 200  # notices in one message
DIGEST_LENGTH = 1 << 20  # characters of their reports, beyond which it takes no more of them
HELD_AT_ONCE = 200  # rows that are put off in one go
FAILURES_MOST = 3  # one after the other; from then on a target rests after each
REST_MOST = 300_000  # so that one message that is always refused does not hold up the others
RETRY_AFTER_MOST = HOUR  # what a service may ask of us at most
PUT_OFF_MS = 5_000  # until we try again what we could not even begin


class TargetQueue(Struct, frozen=True, gc=False):
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


class SendStep(Enum):
    """What a target's next send is."""

    WAIT = "wait"  # there is none now
    RETRY = "retry"  # one that failed, or whose process died
    DIGEST = "digest"  # those that were held
    FIRST = "first"  # a notice of its own
    HOLD = "hold"  # none: those that are due are held until the window's end


class SendPlan(Struct, frozen=True, gc=False):
    """A step; of WAIT, `at` is when to look again (None: nothing is to come)."""

    step: SendStep
    at: int | None = None


class LatestTimes(Struct, frozen=True, gc=False):
    """The last times that a target's rows can have at some moment: those that are later were set by another clock."""

    target: str
    retries: tuple[int, ...]  # of sends, by how many tries of them failed; the last also for more
    due: int  # of notices that are due
    held: int  # of those that are held


def latest_times(target: Target, now: int, schedule: Sequence[int], picture_wait: int) -> LatestTimes:
    """How far ahead a target's times can be at `now`, by the gaps between tries and its own wishes."""
    quiet = quiet_until(target.quiet, now) if target.quiet is not None else None
    gaps = (PUT_OFF_MS, *(int(gap * 1.2) for gap in schedule))
    return LatestTimes(
        target=target.name,
        retries=tuple(max(now + gap, quiet or 0) for gap in gaps),
        due=now + max(picture_wait, PUT_OFF_MS),
        held=max(now + (target.digest_ms or 0), quiet or 0),
    )


def plan_send(standing: TargetQueue, target: Target, now: int, free_at: int) -> SendPlan:
    """What the target's next send is at `now`; not before `free_at`, by its rate.

    1. One send at a time: with one under way it waits, and so it does while it rests.
    2. A send that failed goes before anything new: a target that is down is probed with what it refused.
    3. Notices whose holding is over go together.
    4. One that is due goes alone, unless a window is open: then it is held until that ends.
    """
    if standing.lease_last is not None and standing.lease_last > now:
        return SendPlan(SendStep.WAIT, standing.lease_last)
    blocked = max(free_at, _plausible_time(standing.rest_until, now, RETRY_AFTER_MOST) or 0)
    window = _plausible_time(standing.window_at, now, target.digest_ms) if target.digest_ms else None
    open_ = (
        (SendStep.RETRY, standing.lease_last),  # over: its process died
        (SendStep.RETRY, standing.send_first),
        (SendStep.DIGEST, standing.held_first),
        (SendStep.FIRST if window is None else SendStep.HOLD, standing.due_first),
    )
    soonest: int | None = None
    for step, first in open_:
        if first is None:
            continue
        if first <= now and blocked <= now:
            return SendPlan(step, window if step is SendStep.HOLD else None)
        soonest = min(soonest or first, first)
    return SendPlan(SendStep.WAIT, None if soonest is None else max(soonest, blocked))


def _plausible_time(at: int | None, now: int, most: int) -> int | None:
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


class WaitReason(StrEnum):
    """What a notice waits for."""

    QUIET = "quiet"  # hours in which its target is not told
    DIGEST = "digest"  # the end of its target's window
    RETRY = "retry"  # the next try
    REST = "rest"  # its target failed several times in a row
    RATE = "rate"  # its target's
    PICTURES = "pictures"  # of its task


class NoticeWait(Struct, frozen=True, gc=False):
    """What a notice waits for, and until when at least."""

    why: WaitReason
    until: int


def notice_wait(notice: Notice, target: Target, standing: TargetQueue, now: int, free_at: int) -> NoticeWait | None:
    """What a notice waits for that is due or held; None where that is only its turn. `free_at` is as of `plan`."""
    found, until = None, max(now, notice.due_at)
    if notice.state is NoticeState.HELD:
        found = WaitReason.DIGEST
    elif until > now:
        found = WaitReason.PICTURES if notice.report.images and not notice.attempts else WaitReason.RETRY
    for why, at in (
        (WaitReason.REST, _plausible_time(standing.rest_until, now, RETRY_AFTER_MOST) or 0),
        (WaitReason.RATE, free_at),
    ):
        if at > until:
            found, until = why, at
    if target.quiet is not None and notice.event not in target.quiet_except:
        if (ends := quiet_until(target.quiet, until)) is not None:
            found, until = WaitReason.QUIET, ends
        elif found is not None and quiet_until(target.quiet, until - 1) == until:
            found = WaitReason.QUIET
    return NoticeWait(found, until) if found is not None else None


class RateLimit:
    """A rate: in any span of `per_ms` at most `count` messages go. In memory: a restart begins with an empty span."""

    def __init__(self, rate: MessageRate) -> None:
        self._per_ms = rate.per_ms
        self._last: deque[int] = deque(maxlen=rate.count)

    def free_at(self, now: int) -> int:
        """From when on the next message may go: `now`, or later."""
        while self._last and not now - self._per_ms < self._last[0] <= now:  # long ago, or by a clock since put back
            self._last.popleft()
        return self._last[0] + self._per_ms if len(self._last) == self._last.maxlen else now

    def count_message(self, now: int) -> None:
        """One goes."""
        self._last.append(now)


def quiet_until(quiet: QuietHours, now: int) -> int | None:
    """When the quiet hours end in which `now` lies; None outside of them.

    They begin when the zone's clocks first show their start, and end when these last show their end: an hour that
    comes twice is quiet both times, and where clocks leap over a time, the leap counts as it.
    """
    from zoneinfo import ZoneInfo  # only where there are quiet hours

    zone = ZoneInfo(quiet.zone)
    today = datetime.fromtimestamp(now / 1000, zone).date()
    over_midnight = timedelta(days=quiet.end <= quiet.start)
    for day in (today - timedelta(days=1), today):
        begins = _instants_of_minute(day, quiet.start, zone)[0]
        ends = _instants_of_minute(day + over_midnight, quiet.end, zone)[1]
        if begins <= now < ends:
            return ends
    return None


def _instants_of_minute(day: date, minute: int, zone: tzinfo) -> tuple[int, int]:
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
