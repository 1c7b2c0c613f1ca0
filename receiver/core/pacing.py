"""When a target may get its next message: order, quiet hours, digest windows, rate limits, rests after failures. Pure.

`plan_send` says what a target's next send is, `quiet_until` whether quiet hours are on. A rest is a circuit breaker.
Times are milliseconds UTC, spans milliseconds. The clock may be set back: a rest or window that ends later than any can
counts as over, and `latest_times` says how late the times of stored rows can be.
"""

from collections import deque
from collections.abc import Sequence
from datetime import date, datetime, timedelta, tzinfo
from enum import Enum, StrEnum

from msgspec import Struct

from receiver.core.schedule import PROBES
from receiver.core.types import AttemptResult, MessageRate, Notice, NoticeState, QuietHours, Target

HOUR = 3_600_000
DIGEST_MOST = 200  # notices in one message
DIGEST_LENGTH = 1 << 20  # characters of their reports; a digest that has more takes no further notice
HELD_AT_ONCE = 200  # rows that one write holds back
FAILURES_MOST = 3  # in a row; from then on a target rests after each
REST_MOST = 300_000  # short, so that one message that is always refused does not hold up the others
RETRY_AFTER_MOST = HOUR  # the longest Retry-After of a service that we obey
SUSPECT_AFTER = 3  # claims without a result; then a send goes out alone, and what counts is that it began
BEGUN_MOST = 10  # times that such a send may begin without a result: it is what ends the process
RECENT_LEAST = 100  # messages to a target with a rate limit whose times are kept, of the last hour
PUT_OFF_MS = 5_000  # until the next try of a send that could not even begin


class TargetQueue(Struct, frozen=True, gc=False):
    """What the store knows of a target: of each kind of open row the first time (of leases, the last), and what earlier
    messages left behind."""

    name: str
    lease_last: int | None = None  # of sends that are under way or whose process died
    send_first: int | None = None  # sends to retry
    held_first: int | None = None  # notices that are held
    due_first: int | None = None  # notices that are due, now or later
    window_at: int | None = None  # when the window of its digest ends
    failures: int = 0  # in a row
    rest_until: int | None = None
    recent: tuple[int, ...] = ()  # when its last messages were begun, if it has a rate limit


class SendStep(Enum):
    """What a target's next send is."""

    WAIT = "wait"  # nothing to send now
    RETRY = "retry"  # a send that failed or whose process died
    DIGEST = "digest"  # the notices that were held
    FIRST = "first"  # one notice by itself
    HOLD = "hold"  # nothing: due notices are held until the window ends


class SendPlan(Struct, frozen=True, gc=False):
    """The next step. `at` is when to look again (WAIT; None: nothing is to come) or when the window ends (HOLD)."""

    step: SendStep
    at: int | None = None


class LatestTimes(Struct, frozen=True, gc=False):
    """The latest times that a target's rows can have; a later one was set before the clock was set back."""

    target: str
    retries: tuple[int, ...]  # of sends, by the number of failed tries; the last one also covers more
    suspects: int  # of sends during which the process ended
    due: int  # of due notices
    held: int  # of held notices


def latest_times(target: Target, now: int, schedule: Sequence[int], picture_wait: int) -> LatestTimes:
    """How late a target's times can be at `now`, by the gaps between tries and the target's settings."""
    quiet = quiet_until(target.quiet, now) if target.quiet is not None else None
    gaps = (PUT_OFF_MS, *(int(gap * 1.2) for gap in schedule))
    return LatestTimes(
        target=target.name,
        retries=tuple(max(now + gap, quiet or now) for gap in gaps),
        suspects=now + PROBES[-1],
        due=now + max(picture_wait, PUT_OFF_MS),
        held=max(now + (target.digest_ms or 0), quiet or now),
    )


def plan_send(standing: TargetQueue, target: Target, now: int, free_at: int, *, new_first: bool = False) -> SendPlan:
    """What the target's next send is at `now`. Its rate limit allows nothing before `free_at`.

    1. One send at a time: the target waits while one is under way, and while it rests.
    2. A failed send goes before anything new, so that a target that is down is probed with what it refused.
    3. Notices that were held, and whose hold is over, go together as a digest.
    4. A due notice goes alone, unless a digest window is open: then it is held until the window ends.

    With `new_first`, failed sends come last for once: the target may refuse them only, and take what is new.
    """
    if standing.lease_last is not None and standing.lease_last > now:
        return SendPlan(SendStep.WAIT, standing.lease_last)
    blocked = max(free_at, _plausible_time(standing.rest_until, now, RETRY_AFTER_MOST) or now)
    window = _plausible_time(standing.window_at, now, target.digest_ms) if target.digest_ms else None
    died = (SendStep.RETRY, standing.lease_last)  # a lease that ended: its process died
    failed = (SendStep.RETRY, standing.send_first)
    new = (
        (SendStep.DIGEST, standing.held_first),
        (SendStep.FIRST if window is None else SendStep.HOLD, standing.due_first),
    )
    soonest: int | None = None
    for step, first in (died, *new, failed) if new_first else (died, failed, *new):
        if first is None:
            continue
        if first <= now and blocked <= now:
            return SendPlan(step, window if step is SendStep.HOLD else None)
        soonest = min(soonest or first, first)
    return SendPlan(SendStep.WAIT, None if soonest is None else max(soonest, blocked))


def _plausible_time(at: int | None, now: int, most: int) -> int | None:
    """`at`, if it lies ahead, by no more than `most`."""
    return at if at is not None and now < at <= now + most else None


def rest_until(failures: int, next_try: int | None, now: int, first_gap: int) -> int | None:
    """When the rest of a target that failed `failures` times in a row ends; None while these are too few for one.

    `next_try` is when the first of its failed sends is retried, `first_gap` how long a new one would wait. A rest is
    never longer than a notice would wait for its own next try, and never longer than `REST_MOST`.
    """
    if failures < FAILURES_MOST:
        return None
    return min(now + first_gap if next_try is None else next_try, now + REST_MOST)


class FailureEffect(Struct, frozen=True, gc=False):
    """What a failure of a send means for its target."""

    counts: bool  # towards the rest of the target
    new_first: bool  # the next send is a new one, if there is one


def failure_effect(sent: AttemptResult, tries: int) -> FailureEffect:
    """What it means that a send failed which had failed `tries` times before.

    A target may refuse one message and take all others. So what is refused for the second time lets something new go
    next, which shows whether the target works; and if the answer may be about the message, the target does not rest.
    """
    again = tries > 0
    return FailureEffect(
        counts=not (again and sent.of_message), new_first=again and (sent.of_message or sent.looks_final)
    )


class WaitReason(StrEnum):
    """What a notice waits for."""

    QUIET = "quiet"  # the end of its target's quiet hours
    DIGEST = "digest"  # the end of its target's digest window
    RETRY = "retry"  # the next try
    REST = "rest"  # its target failed several times in a row
    RATE = "rate"  # its target's rate limit
    PICTURES = "pictures"  # the archive's copies of its task's pictures, or of its batch's


class NoticeWait(Struct, frozen=True, gc=False):
    """What a notice waits for, and the earliest time at which that ends."""

    why: WaitReason
    until: int


def notice_wait(notice: Notice, target: Target, standing: TargetQueue, now: int, free_at: int) -> NoticeWait | None:
    """What a due or held notice waits for; None if only for its turn. `free_at` is as in `plan_send`."""
    found, until = None, max(now, notice.due_at)
    if notice.state is NoticeState.HELD:
        found = WaitReason.DIGEST
    elif until > now:
        shows = notice.report.images or notice.report.completed  # a task's pictures, or those of a batch
        found = WaitReason.PICTURES if shows and not notice.attempts else WaitReason.RETRY
    for why, at in (
        (WaitReason.REST, _plausible_time(standing.rest_until, now, RETRY_AFTER_MOST) or now),
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
    """A rate limit: at most `count` messages in any span of `per_ms`, of which the last went at `times`."""

    def __init__(self, rate: MessageRate, times: Sequence[int] = ()) -> None:
        self._per_ms = rate.per_ms
        self._last: deque[int] = deque(times, maxlen=rate.count)

    def free_at(self, now: int) -> int:
        """When the next message may go: `now`, or later."""
        while self._last and not now - self._per_ms < self._last[0] <= now:  # long ago, or the clock was set back since
            self._last.popleft()
        return self._last[0] + self._per_ms if len(self._last) == self._last.maxlen else now

    def count_message(self, now: int) -> None:
        """A message goes at `now`."""
        self._last.append(now)


def recent_times(rate: MessageRate, times: Sequence[int], now: int) -> list[int]:
    """When the last messages went, now that one goes at `now` after those at `times`: what any rate needs to know.

    As many as this rate counts, and at least `RECENT_LEAST`: another process may still have another rate for the
    target.
    """
    known = [it for it in (*times, now) if now - HOUR < it <= now]
    counted = min(rate.count, sum(it > now - rate.per_ms for it in known))
    return known[-max(counted, RECENT_LEAST) :]


def quiet_until(quiet: QuietHours, now: int) -> int | None:
    """When the quiet hours that `now` lies in end; None outside quiet hours.

    They begin when the zone's clocks first show the start, and end when these last show the end. So an hour that comes
    twice is quiet both times. If the clocks skip a time, the moment of the skip counts as that time.
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
    """The first and the last moment at which the clocks of `zone` show this minute of the day. If they skip it, both
    are the moment of the skip."""
    clock = datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=zone)
    first, last = (clock.replace(fold=fold).timestamp() for fold in (0, 1))
    if first > last:  # skipped: the offset before the skip gives a time after it, and the other way round
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
