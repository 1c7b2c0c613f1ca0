"""When may a target be told: what goes first, quiet hours, windows of digests, rests, rates. Pure.

`plan` says what a target's next send is, from what the store knows of it; `quiet_until` whether it may be told at all.
Times are milliseconds UTC, spans milliseconds. A time further ahead than it can have been set was set by a clock that
has been put back since: it counts as come, or as over.
"""

from collections import deque
from collections.abc import Sequence
from datetime import date, datetime, timedelta, tzinfo
from enum import Enum

from msgspec import Struct

from receiver.model import Policy, Quiet, Rate, Target

HOUR = 3_600_000
DIGEST_MOST = 200  # notices in one message
HELD_AT_ONCE = 200  # rows that are put off in one go
FAILURES_MOST = 3  # one after the other; from then on a target rests after each
REST_MOST = 300_000  # so that one message that is always refused does not hold up the others
RETRY_AFTER_MOST = HOUR  # what a service may ask of us at most
PUT_OFF_MS = 5_000  # until we try again what we could not even begin
QUIET_MOST = 48 * HOUR  # a day without its zone's lost day
JUMP_MS = 24 * HOUR  # a time that is this much further ahead than it may be: the clock jumped


class Standing(Struct, frozen=True, gc=False):
    """What the store knows of a target: the first and the last time of each kind of row that is open; what is kept
    from its messages before."""

    name: str
    lease_first: int | None = None  # of sends under way, or whose process died
    lease_last: int | None = None
    send_first: int | None = None  # sends to be tried again
    send_last: int | None = None
    held_first: int | None = None  # notices that are held
    held_last: int | None = None
    due_first: int | None = None  # notices that are due, now or later
    due_last: int | None = None
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
    jumped: bool = False  # the row's time is one of a clock that jumped


class Spans(Struct, frozen=True, gc=False):
    """How far ahead times can have been set: leases; retries and notices; what is held."""

    lease: int
    due: int
    held: int


def spans(policy: Policy, schedule: Sequence[int], lease: int) -> Spans:
    """The spans under a policy and the gaps between tries."""
    quiet = QUIET_MOST if any(target.quiet for target in policy.targets) else 0
    digest = max((target.digest_ms or 0 for target in policy.targets), default=0)
    due = max(int(max(schedule) * 1.2), RETRY_AFTER_MOST, policy.picture_wait_ms, quiet)
    return Spans(lease=lease, due=due + JUMP_MS, held=max(digest, quiet) + JUMP_MS)


def plan(standing: Standing, target: Target, now: int, spans: Spans, free_at: int) -> Plan:
    """What the target's next send is at `now`; not before `free_at`, by its rate.

    1. One send at a time: with one under way it waits, and so it does while it rests.
    2. A send that failed goes before anything new: a target that is down is probed with what it refused.
    3. Notices whose holding is over go together.
    4. One that is due goes alone, unless a window is open: then it is held until that ends.
    """
    busy = _within(standing.lease_last, now, spans.lease) or _within(standing.lease_first, now, spans.lease)
    if busy is not None:
        return Plan(Step.WAIT, busy)
    blocked = max(free_at, _within(standing.rest_until, now, RETRY_AFTER_MOST) or 0)
    window = _within(standing.window_at, now, target.digest_ms) if target.digest_ms else None
    open_ = (
        (Step.RETRY, now if standing.lease_first is not None else None, None, 0),  # over: its process died
        (Step.RETRY, standing.send_first, standing.send_last, spans.due),
        (Step.DIGEST, standing.held_first, standing.held_last, spans.held),
        (Step.FIRST if window is None else Step.HOLD, standing.due_first, standing.due_last, spans.due),
    )
    soonest: int | None = None
    for step, first, last, most in open_:
        if first is None:
            continue
        jumped = first > now and last is not None and last > now + most
        at = now if jumped or first <= now else first
        if at <= now and blocked <= now:
            return Plan(step, window if step is Step.HOLD else None, jumped)
        soonest = min(soonest or at, at)
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
