"""When a target may be told: the figures themselves, and what happens right at each bound."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from kit.fakes import a_notice
from receiver.core import pacing
from receiver.core.pacing import (
    HOUR,
    RateLimit,
    SendPlan,
    SendStep,
    TargetQueue,
    latest_times,
    notice_wait,
    plan_send,
    quiet_until,
    rest_until,
)
from receiver.core.types import MessageRate, NoticeState, QuietHours, Target

NOW = 1_767_000_000_000
PLAIN = Target(name="t", url="json://t/")
DIGEST = Target(name="t", url="json://t/", digest_ms=1_000)


def test_how_much_goes_into_one_message_and_how_long_a_target_rests() -> None:
    assert HOUR == 60 * 60 * 1_000
    assert (pacing.DIGEST_MOST, pacing.DIGEST_LENGTH, pacing.HELD_AT_ONCE) == (200, 1_048_576, 200)
    assert (pacing.FAILURES_MOST, pacing.REST_MOST) == (3, 300_000)
    assert (pacing.RETRY_AFTER_MOST, pacing.PUT_OFF_MS) == (HOUR, 5_000)


def test_what_is_known_of_a_target_never_changes_and_costs_the_garbage_collector_nothing() -> None:
    structs = [it for it in vars(pacing).values() if isinstance(it, msgspec.StructMeta)]
    ours = [it.__struct_config__ for it in structs if it.__module__ == pacing.__name__]
    assert len(ours) == 5
    assert all(it.frozen and not it.gc for it in ours)


def test_of_a_new_target_nothing_is_known() -> None:
    assert TargetQueue("t") == TargetQueue(
        "t", lease_last=None, send_first=None, held_first=None, due_first=None, window_at=None, failures=0
    )


# -- what goes next --


def planned(target: Target = PLAIN, /, *, free_at: int = 0, **queue: int) -> SendPlan:
    """The plan, with all times counted from NOW."""
    times: dict[str, Any] = {it: NOW + at for it, at in queue.items()}
    return plan_send(TargetQueue("t", **times), target, NOW, NOW + free_at)


@pytest.mark.parametrize(
    ("queue", "at"),
    [
        ({"due_first": 0, "lease_last": 1}, 1),  # one at a time
        ({"due_first": 1}, 1),
        ({"due_first": 0, "free_at": 1}, 1),
        ({"due_first": 0, "rest_until": 1}, 1),
        ({"due_first": 0, "rest_until": HOUR}, HOUR),
        ({"due_first": 5, "rest_until": 9, "free_at": 7}, 9),
        ({"due_first": 5, "rest_until": 7, "free_at": 9}, 9),
        ({"send_first": 9, "held_first": 5, "due_first": 7}, 5),
    ],
)
def test_the_soonest_that_may_go_is_waited_for(queue: dict[str, int], at: int) -> None:
    assert planned(**queue) == SendPlan(SendStep.WAIT, NOW + at)


@pytest.mark.parametrize(
    ("queue", "step"),
    [
        ({"lease_last": 0}, SendStep.RETRY),  # its process died
        ({"send_first": 0, "held_first": 0, "due_first": 0}, SendStep.RETRY),
        ({"held_first": 0, "due_first": 0}, SendStep.DIGEST),
        ({"due_first": 0}, SendStep.FIRST),
        ({"due_first": 0, "rest_until": 0}, SendStep.FIRST),
        ({"due_first": 0, "rest_until": HOUR + 1}, SendStep.FIRST),  # set by another clock
        ({"due_first": 0, "free_at": 0}, SendStep.FIRST),
    ],
)
def test_what_is_due_now_goes_now(queue: dict[str, int], step: SendStep) -> None:
    assert planned(**queue) == SendPlan(step)


@pytest.mark.parametrize(("window_at", "held"), [(0, False), (1, True), (1_000, True), (1_001, False)])
def test_a_window_holds_what_is_due_while_it_is_open_and_is_no_longer_than_it_can_be(
    window_at: int, held: bool
) -> None:
    plan = planned(DIGEST, due_first=0, window_at=window_at)
    assert plan == (SendPlan(SendStep.HOLD, NOW + window_at) if held else SendPlan(SendStep.FIRST))


# -- how far ahead --


def test_the_times_of_a_targets_rows_are_as_far_ahead_as_they_can_be_and_no_further() -> None:
    times = latest_times(PLAIN, NOW, [1_000, 60_000], 5_001)
    assert times.target == "t"
    assert [it - NOW for it in times.retries] == [5_000, 1_200, 72_000]
    assert (times.due - NOW, times.held - NOW) == (5_001, 0)
    assert latest_times(PLAIN, NOW, [], 4_999).due - NOW == 5_000
    assert latest_times(DIGEST, NOW, [], 0).held - NOW == 1_000


# -- rests --


@pytest.mark.parametrize(
    ("failures", "next_try", "first_gap", "until"),
    [
        (2, 1, 1, None),
        (3, 1, 9, 1),
        (3, 300_000, 9, 300_000),
        (3, 300_001, 9, 300_000),
        (3, None, 9, 9),
        (3, None, 300_001, 300_000),
    ],
)
def test_a_target_rests_after_three_failures_until_its_next_try_for_five_minutes_at_most(
    failures: int, next_try: int | None, first_gap: int, until: int | None
) -> None:
    at = None if next_try is None else NOW + next_try
    assert rest_until(failures, at, NOW, first_gap) == (None if until is None else NOW + until)


# -- what a notice waits for --


def waits(
    target: Target = PLAIN, *, free_at: int = 0, rests: int | None = None, **notice: Any
) -> tuple[str, int] | None:
    """Why a notice waits and for how long, with all times counted from NOW."""
    queue = TargetQueue("t", rest_until=None if rests is None else NOW + rests)
    found = notice_wait(a_notice("t", **notice), target, queue, NOW, NOW + free_at)
    return None if found is None else (found.why.value, found.until - NOW)


def test_of_several_reasons_to_wait_the_one_that_ends_last_is_told() -> None:
    assert waits(due_at=NOW + 5, free_at=5) == ("pictures", 5)
    assert waits(due_at=NOW + 5, free_at=6) == ("rate", 6)
    assert waits(due_at=NOW + 5, rests=5) == ("pictures", 5)
    assert waits(due_at=NOW + 5, rests=6) == ("rest", 6)
    assert waits(rests=6, free_at=6) == ("rest", 6)
    assert waits(rests=6, free_at=7) == ("rate", 7)
    assert waits(rests=HOUR) == ("rest", HOUR)


def test_a_notice_whose_time_has_come_waits_only_for_its_turn() -> None:
    assert waits(due_at=NOW) is None
    assert waits(due_at=NOW + 1) == ("pictures", 1)
    assert waits(due_at=NOW - 1, state=NoticeState.HELD) == ("digest", 0)
    assert waits(rests=0) is None


NIGHT = Target(name="t", url="json://t/", quiet=QuietHours(0, 60, "UTC"))
MIDNIGHT = NOW - NOW % (24 * HOUR) + 24 * HOUR


def test_a_notice_that_is_tried_again_outside_of_the_quiet_hours_does_not_wait_for_these() -> None:
    assert waits(NIGHT, due_at=MIDNIGHT - 1, attempts=1) == ("retry", MIDNIGHT - 1 - NOW)
    assert waits(NIGHT, due_at=MIDNIGHT + HOUR, attempts=1) == ("quiet", MIDNIGHT + HOUR - NOW)
    assert waits(NIGHT, due_at=MIDNIGHT + HOUR + 1, attempts=1) == ("retry", MIDNIGHT + HOUR + 1 - NOW)


def test_once_the_quiet_hours_are_over_a_due_notice_waits_for_nothing() -> None:
    queue = TargetQueue("t")
    over = MIDNIGHT + HOUR
    assert notice_wait(a_notice("t", due_at=NOW), NIGHT, queue, over, over) is None
    just_before = notice_wait(a_notice("t", due_at=NOW), NIGHT, queue, over - 1, over - 1)
    assert just_before is not None
    assert (just_before.why.value, just_before.until) == ("quiet", over)


# -- rates --


def test_a_rate_begins_with_an_empty_span_and_frees_a_place_when_the_span_is_over() -> None:
    limit = RateLimit(MessageRate(2, 1_000))
    assert limit.free_at(NOW) == NOW
    limit.count_message(NOW)
    assert limit.free_at(NOW) == NOW
    limit.count_message(NOW)
    assert limit.free_at(NOW) == NOW + 1_000
    assert limit.free_at(NOW + 999) == NOW + 1_000
    assert limit.free_at(NOW + 1_000) == NOW + 1_000
    limit.count_message(NOW + 1_000)
    assert limit.free_at(NOW + 1_000) == NOW + 1_000, "both of before are long ago"


def test_a_message_that_went_by_a_later_clock_no_longer_counts() -> None:
    limit = RateLimit(MessageRate(1, 1_000))
    limit.count_message(NOW)
    assert limit.free_at(NOW - 1) == NOW - 1


# -- quiet hours --


def utc(text: str) -> int:
    """Milliseconds of a time in UTC, such as `2026-03-29 00:59:59.999`."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("now", "ends"),
    [
        ("2026-01-10 21:59:59.999", None),
        ("2026-01-10 22:00:00.000", "2026-01-11 06:30"),
        ("2026-01-11 06:29:59.999", "2026-01-11 06:30"),
        ("2026-01-11 06:30:00.000", None),
    ],
)
def test_quiet_hours_begin_and_end_to_the_millisecond(now: str, ends: str | None) -> None:
    hours = QuietHours(22 * 60, 6 * 60 + 30, "UTC")
    assert quiet_until(hours, utc(now)) == (None if ends is None else utc(ends))


def test_hours_that_begin_and_end_at_the_same_minute_are_the_whole_day() -> None:
    assert quiet_until(QuietHours(60, 60, "UTC"), utc("2026-01-10 00:59")) == utc("2026-01-10 01:00")
    assert quiet_until(QuietHours(60, 60, "UTC"), utc("2026-01-10 01:00")) == utc("2026-01-11 01:00")


@pytest.mark.parametrize(
    ("zone", "minute", "before", "leap"),
    [
        ("Europe/Berlin", 150, "2026-03-29 00:59:59.999", "2026-03-29 01:00"),
        ("America/New_York", 150, "2026-03-08 06:59:59.999", "2026-03-08 07:00"),
        ("Australia/Lord_Howe", 135, "2026-10-03 15:29:59.999", "2026-10-03 15:30"),
    ],
)
def test_hours_that_end_in_a_time_that_clocks_leap_over_end_with_the_leap_itself(
    zone: str, minute: int, before: str, leap: str
) -> None:
    hours = QuietHours(0, minute, zone)
    assert quiet_until(hours, utc(before)) == utc(leap)
    assert quiet_until(hours, utc(leap)) is None


@pytest.mark.parametrize("minute", range(121, 180))
def test_hours_may_end_at_any_minute_of_the_skipped_hour(minute: int) -> None:
    hours = QuietHours(0, minute, "Europe/Berlin")
    assert quiet_until(hours, utc("2026-03-29 00:59:59.999")) == utc("2026-03-29 01:00")
