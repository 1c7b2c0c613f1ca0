"""When a target may be told: what goes first, quiet hours on every kind of day, rests, rates; to the corner."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.fakes import a_notice
from receiver.core import pacing
from receiver.core.pacing import (
    HOUR,
    PUT_OFF_MS,
    RECENT_LEAST,
    REST_MOST,
    RateLimit,
    SendPlan,
    SendStep,
    TargetQueue,
    recent_times,
)
from receiver.core.types import AttemptResult, MessageRate, NoticeEvent, NoticeState, QuietHours, Report, Target

MINUTE = 60_000
NOW = 1_767_000_000_000
QUIET_MOST = 48 * HOUR  # a day without its zone's lost day
PLAIN = Target(name="t", url="json://t/")
DIGEST = Target(name="t", url="json://t/", digest_ms=5 * MINUTE)


def planned(target: Target = PLAIN, free_at: int = 0, **standing: Any) -> SendPlan:
    """The plan for what stands so, `standing` counted from NOW."""
    counts: dict[str, Any] = {name: value if name == "failures" else NOW + value for name, value in standing.items()}
    return pacing.plan_send(TargetQueue("t", **counts), target, NOW, free_at and NOW + free_at)


# -- what goes first --


@pytest.mark.parametrize(
    ("standing", "step"),
    [
        ({"due_first": 0}, SendStep.FIRST),
        ({"due_first": -HOUR, "held_first": 0}, SendStep.DIGEST),
        ({"due_first": -HOUR, "held_first": -HOUR, "send_first": 0}, SendStep.RETRY),
        ({"due_first": 0, "lease_last": 0}, SendStep.RETRY),  # its process died
        ({"due_first": 0, "send_first": 1}, SendStep.FIRST),  # no order is promised among notices
        ({"due_first": 0, "held_first": 1}, SendStep.FIRST),
        ({"due_first": 0, "send_first": 0, "failures": 99, "rest_until": 0}, SendStep.RETRY),
    ],
)
def test_retries_go_first_then_what_was_held_then_what_is_due(standing: dict[str, Any], step: SendStep) -> None:
    assert planned(**standing).step is step


@pytest.mark.parametrize(
    ("standing", "at"),
    [
        ({}, None),
        ({"due_first": 7}, 7),
        ({"due_first": 9, "held_first": 8, "send_first": 7}, 7),
        ({"due_first": 0, "lease_last": 1}, 1),  # one at a time
        ({"due_first": 0, "rest_until": 5, "failures": 3}, 5),
        ({"due_first": 9, "rest_until": 5, "failures": 3}, 9),
        ({"rest_until": 5, "failures": 3}, None),  # nothing would go then either
    ],
)
def test_it_waits_and_says_until_when(standing: dict[str, Any], at: int | None) -> None:
    assert planned(**standing) == SendPlan(SendStep.WAIT, None if at is None else NOW + at)


def test_a_rate_holds_everything_back() -> None:
    assert planned(free_at=4, send_first=0) == SendPlan(SendStep.WAIT, NOW + 4)
    assert planned(free_at=4, due_first=9) == SendPlan(SendStep.WAIT, NOW + 9)


def test_in_an_open_window_what_is_due_is_held_until_its_end() -> None:
    assert planned(DIGEST, due_first=0, window_at=7) == SendPlan(SendStep.HOLD, NOW + 7)
    assert planned(DIGEST, due_first=0, window_at=0).step is SendStep.FIRST, "it is over"
    assert planned(DIGEST, due_first=0, held_first=0, window_at=7).step is SendStep.DIGEST, (
        "more than one message holds"
    )
    assert planned(due_first=0, window_at=7).step is SendStep.FIRST, "there is no digest any more"


def test_rests_and_windows_of_a_clock_that_jumped_are_over() -> None:
    assert planned(due_first=0, rest_until=HOUR + 1, failures=3).step is SendStep.FIRST
    assert planned(DIGEST, due_first=0, window_at=5 * MINUTE + 1).step is SendStep.FIRST


def test_how_far_ahead_a_time_can_be_is_known_of_each_try() -> None:
    """With the jitter that a gap can have; a send that was put off had none yet."""
    ahead = pacing.latest_times(PLAIN, NOW, [MINUTE, HOUR], 15_000)
    assert [at - NOW for at in ahead.retries] == [PUT_OFF_MS, 1.2 * MINUTE, 1.2 * HOUR]
    assert (ahead.due - NOW, ahead.held - NOW) == (15_000, 0)
    assert ahead.suspects - NOW == 15 * MINUTE, "a send during which the process ended"
    assert (pacing.SUSPECT_AFTER, pacing.BEGUN_MOST) == (3, 10)
    assert pacing.latest_times(DIGEST, NOW, [MINUTE], 0).held - NOW == 5 * MINUTE


def test_in_quiet_hours_a_time_can_be_as_far_ahead_as_their_end() -> None:
    hours = QuietHours(0, 1439, "UTC")
    ends = pacing.quiet_until(hours, NOW)
    assert ends is not None
    ahead = pacing.latest_times(Target(name="t", url="json://t/", quiet=hours), NOW, [MINUTE], 0)
    assert (*ahead.retries, ahead.held) == (ends, ends, ends)


# -- rests --


@pytest.mark.parametrize(
    ("failures", "next_try", "until"),
    [
        (0, 9, None),
        (2, 9, None),
        (3, 9, 9),
        (99, 9, 9),
        (3, REST_MOST + 1, REST_MOST),
        (3, None, 5),  # all that it refused is given up: a new one would wait so long
    ],
)
def test_a_rest_ends_with_the_next_try(failures: int, next_try: int | None, until: int | None) -> None:
    at = None if next_try is None else NOW + next_try
    assert pacing.rest_until(failures, at, NOW, 5) == (None if until is None else NOW + until)


NEW = {"due_first": NOW, "held_first": None, "send_first": NOW}


@pytest.mark.parametrize(
    ("counts", "new_first", "step"),
    [
        ({}, False, SendStep.RETRY),
        ({}, True, SendStep.FIRST),
        ({"held_first": NOW}, True, SendStep.DIGEST),
        ({"due_first": None}, True, SendStep.RETRY),
        ({"due_first": NOW + 1}, True, SendStep.RETRY),
        ({"lease_last": NOW}, True, SendStep.RETRY),  # it did not fail: its process died
        ({"rest_until": NOW + 1}, True, SendStep.WAIT),
    ],
)
def test_what_is_new_may_go_before_what_failed(counts: dict[str, Any], new_first: bool, step: SendStep) -> None:
    standing = TargetQueue("t", **{**NEW, **counts})
    assert pacing.plan_send(standing, PLAIN, NOW, 0, new_first=new_first).step is step


@pytest.mark.parametrize(
    ("sent", "tries", "counts", "new_first"),
    [
        (AttemptResult(error="error=500"), 0, True, False),
        (AttemptResult(error="error=500"), 9, True, False),
        (AttemptResult(error="error=404", looks_final=True), 0, True, False),
        (AttemptResult(error="error=404", looks_final=True), 1, True, True),
        (AttemptResult(error="error=400", of_message=True), 0, True, False),
        (AttemptResult(error="error=400", of_message=True), 1, False, True),
    ],
)
def test_what_a_failure_means_for_its_target(sent: AttemptResult, tries: int, counts: bool, new_first: bool) -> None:
    assert pacing.failure_effect(sent, tries) == pacing.FailureEffect(counts, new_first)


# -- what a notice waits for --


def waits(target: Target = PLAIN, free_at: int = 0, due_at: int = 0, *, rests: int | None = None, **more: Any) -> Any:
    """What a notice waits for and for how long, all times counted from NOW."""
    standing = TargetQueue("t", rest_until=None if rests is None else NOW + rests)
    found = pacing.notice_wait(a_notice("t", due_at=NOW + due_at, **more), target, standing, NOW, NOW + free_at)
    return found and (found.why.value, found.until - NOW)


NIGHT = Target(name="t", url="json://t/", quiet=QuietHours(0, 60, "UTC"), quiet_except=frozenset({NoticeEvent.LOST}))
TO_NIGHT = 24 * HOUR - NOW % (24 * HOUR)  # until 00:00


@pytest.mark.parametrize(
    ("given", "wait"),
    [
        ({}, None),
        ({"due_at": -5}, None),
        ({"due_at": 7}, ("pictures", 7)),
        ({"due_at": 7, "report": Report(event=NoticeEvent.FAILED)}, ("retry", 7)),
        ({"due_at": 7, "attempts": 1}, ("retry", 7)),
        ({"due_at": 7, "state": NoticeState.HELD, "target": DIGEST}, ("digest", 7)),
        ({"due_at": 7, "attempts": 1, "rests": 9}, ("rest", 9)),
        ({"due_at": 7, "attempts": 1, "rests": 5}, ("retry", 7)),
        ({"rests": 9}, ("rest", 9)),
        ({"rests": HOUR + 1}, None),  # by a clock that was put back
        ({"rests": 9, "free_at": 11}, ("rate", 11)),
        ({"target": NIGHT}, None),
        ({"target": NIGHT, "due_at": TO_NIGHT, "attempts": 1}, ("quiet", TO_NIGHT + HOUR)),
        ({"target": NIGHT, "due_at": TO_NIGHT + HOUR, "state": NoticeState.HELD}, ("quiet", TO_NIGHT + HOUR)),
        ({"target": NIGHT, "due_at": TO_NIGHT, "attempts": 1, "event": NoticeEvent.LOST}, ("retry", TO_NIGHT)),
    ],
)
def test_what_a_notice_waits_for_is_told_with_its_end(given: dict[str, Any], wait: tuple[str, int] | None) -> None:
    assert waits(**given) == wait


# -- rates --


def test_a_rate_lets_its_count_pass_at_once_and_then_waits_for_the_first_to_be_long_ago() -> None:
    gate = RateLimit(MessageRate(3, MINUTE))
    for passed in (0, 1_000, 2_000):
        assert gate.free_at(NOW + passed) == NOW + passed
        gate.count_message(NOW + passed)
    assert gate.free_at(NOW + 5_000) == NOW + MINUTE
    assert gate.free_at(NOW + MINUTE) == NOW + MINUTE
    gate.count_message(NOW + MINUTE)
    assert gate.free_at(NOW + MINUTE) == NOW + MINUTE + 1_000


def test_a_clock_that_is_put_back_does_not_stop_a_rate() -> None:
    gate = RateLimit(MessageRate(1, MINUTE))
    gate.count_message(NOW)
    assert gate.free_at(NOW - 24 * HOUR) == NOW - 24 * HOUR


def test_the_times_that_are_kept_are_those_that_any_rate_needs_and_no_more() -> None:
    slow, fast = MessageRate(3, MINUTE), MessageRate(200, MINUTE)
    often = [NOW + number * 100 for number in range(500)]
    now = often[-1] + 100
    assert recent_times(slow, often, now) == [*often[-RECENT_LEAST + 1 :], now]
    assert recent_times(fast, often, now) == [*often[-199:], now]
    assert recent_times(slow, often, now + HOUR - 150) == [often[-1], now + HOUR - 150], "what is older than an hour"
    assert recent_times(fast, [now + 1, now + 24 * HOUR], now) == [now], "the clock was put back"


@given(st.integers(1, 100), st.lists(st.integers(0, HOUR), max_size=60))
def test_a_limit_that_is_made_anew_from_the_times_kept_is_the_same(count: int, gaps: list[int]) -> None:
    rate, now = MessageRate(count, MINUTE), NOW
    lasting, times = RateLimit(rate), list[int]()
    for gap in gaps:
        now = lasting.free_at(now + gap)
        assert RateLimit(rate, times).free_at(now) == now
        lasting.count_message(now)
        times = recent_times(rate, times, now)
        assert RateLimit(rate, times).free_at(now) == lasting.free_at(now)


@given(st.integers(1, 100), st.sampled_from([1_000, MINUTE, HOUR]), st.lists(st.integers(0, 2 * HOUR), max_size=60))
def test_no_span_sees_more_than_its_rate(count: int, per_ms: int, gaps: list[int]) -> None:
    gate, now = RateLimit(MessageRate(count, per_ms)), NOW
    went: list[int] = []
    for gap in gaps:
        now = max(now + gap % per_ms, gate.free_at(now + gap % per_ms))
        assert gate.free_at(now) == now
        gate.count_message(now)
        went.append(now)
    for at in went:
        assert sum(at <= it < at + per_ms for it in went) <= count


# -- quiet hours --


def at(text: str) -> int:
    """Milliseconds of a time in UTC, such as `2026-03-29 00:59`."""
    return round(datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp() * 1000)


def quiet(hours: str, zone: str = "Europe/Berlin") -> QuietHours:
    first, last = ((int(it[:2]) * 60 + int(it[3:])) for it in hours.split("-"))
    return QuietHours(first, last, zone)


@pytest.mark.parametrize(
    ("hours", "now", "until"),
    [
        ("22:00-07:00", "2026-01-10 20:59", None),  # Berlin is an hour ahead
        ("22:00-07:00", "2026-01-10 21:00", "2026-01-11 06:00"),
        ("22:00-07:00", "2026-01-10 23:30", "2026-01-11 06:00"),  # over midnight
        ("22:00-07:00", "2026-01-11 05:59", "2026-01-11 06:00"),
        ("22:00-07:00", "2026-01-11 06:00", None),
        ("12:00-13:30", "2026-07-01 10:00", "2026-07-01 11:30"),  # and two in summer
        ("12:00-13:30", "2026-07-01 11:30", None),
        ("00:00-06:00", "2026-01-10 23:00", "2026-01-11 05:00"),
        ("18:00-00:00", "2026-01-10 22:59", "2026-01-10 23:00"),
        ("18:00-00:00", "2026-01-10 23:00", None),
        # 2026-03-29: 02:00 becomes 03:00 in Berlin, at 01:00 UTC; that night is an hour shorter
        ("22:00-07:00", "2026-03-28 21:00", "2026-03-29 05:00"),
        ("22:00-02:30", "2026-03-29 00:59", "2026-03-29 01:00"),  # it ends in the hour that is left out
        ("22:00-02:30", "2026-03-29 01:00", None),
        ("02:30-07:00", "2026-03-29 00:59", None),  # it begins there
        ("02:30-07:00", "2026-03-29 01:00", "2026-03-29 05:00"),
        ("02:10-02:50", "2026-03-29 01:00", None),  # both: there is none
        ("03:00-02:30", "2026-03-29 00:59", "2026-03-29 01:00"),
        ("03:00-02:30", "2026-03-29 01:00", "2026-03-30 00:30"),
        # 2026-10-25: 03:00 becomes 02:00, at 01:00 UTC; that night is an hour longer
        ("22:00-07:00", "2026-10-24 20:00", "2026-10-25 06:00"),
        ("22:00-02:30", "2026-10-25 00:29", "2026-10-25 01:30"),  # until the clocks show it the last time
        ("22:00-02:30", "2026-10-25 00:30", "2026-10-25 01:30"),
        ("22:00-02:30", "2026-10-25 01:29", "2026-10-25 01:30"),
        ("22:00-02:30", "2026-10-25 01:30", None),
        ("02:30-07:00", "2026-10-25 00:29", None),
        ("02:30-07:00", "2026-10-25 00:30", "2026-10-25 06:00"),  # from when they show it first
        ("02:30-07:00", "2026-10-25 01:10", "2026-10-25 06:00"),  # 02:10 for the second time
    ],
)
def test_quiet_hours_follow_the_clocks_of_their_zone(hours: str, now: str, until: str | None) -> None:
    assert pacing.quiet_until(quiet(hours), at(now)) == (None if until is None else at(until))


def test_zones_of_half_hours_and_of_a_day_that_never_was() -> None:
    assert pacing.quiet_until(quiet("22:00-07:00", "Asia/Kolkata"), at("2026-01-10 16:30")) == at("2026-01-11 01:30")
    lord_howe = quiet("22:00-02:15", "Australia/Lord_Howe")  # leaps by half an hour
    assert pacing.quiet_until(lord_howe, at("2026-10-03 15:29")) == at("2026-10-03 15:30")
    samoa = quiet("22:00-07:00", "Pacific/Apia")  # had no 2011-12-30
    assert pacing.quiet_until(samoa, at("2011-12-30 09:30")) == at("2011-12-30 10:00"), "with the day"
    assert pacing.quiet_until(samoa, at("2011-12-30 10:00")) == at("2011-12-30 17:00"), "and it goes on"


ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/St_Johns")


@given(
    st.integers(0, 1439),
    st.integers(0, 1439),
    st.sampled_from(ZONES),
    st.integers(at("2025-01-01 00:00"), at("2027-12-31 00:00")),
)
def test_quiet_hours_end_soon_and_hold_while_the_clocks_say_so(start: int, end: int, zone: str, now: int) -> None:
    """On every day the hours on the clock are quiet; and whenever it is quiet, that ends, within the bound."""
    if start == end:
        return
    until = pacing.quiet_until(QuietHours(start, end, zone), now)
    shown = datetime.fromtimestamp(now / 1000, ZoneInfo(zone))
    minute = shown.hour * 60 + shown.minute
    on_the_clock = start <= minute < end if start < end else not end <= minute < start
    if on_the_clock:
        assert until is not None
    if until is not None:
        assert now < until <= now + QUIET_MOST
