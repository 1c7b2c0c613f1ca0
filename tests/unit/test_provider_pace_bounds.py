"""The pace at which a provider is asked: how it begins, and what counts as being under way together."""

import pytest
from msgspec.structs import replace

from receiver.core.provider_pace import SPACING_MOST_MS, ProviderPace, Signal

NOW = 1_700_000_000_000
PACE = ProviderPace(spacing_least_ms=500)


def test_at_first_nothing_holds_a_request_back() -> None:
    pace = ProviderPace()
    assert (pace.spacing, pace.paused_until(0), pace.busy_in_a_row) == (0, None, 0)
    assert (pace.refusals, pace.unauthorized) == (0, False)
    untouched = (pace.spacing_least_ms, pace.slowed_at, pace.busy_until, pace.refused_at, pace.unauthorized_until)
    assert untouched == (0,) * 5
    assert pace.spacing_ms == 0


def test_a_pace_is_a_value_that_never_changes() -> None:
    with pytest.raises(AttributeError):
        PACE.refusals = 1  # type: ignore[misc]


def test_a_good_answer_leaves_no_trace_of_a_refusal_or_a_rest() -> None:
    refused = PACE.after(Signal.UNAUTHORIZED, sent_at=NOW - 1, now=NOW)
    assert refused.after(Signal.FINE, sent_at=NOW + 1, now=NOW + 2) == replace(PACE, refused_at=NOW, spacing_ms=500)
    busy = PACE.after(Signal.BUSY, sent_at=NOW - 1, now=NOW, retry_after_ms=9_000)
    assert busy.after(Signal.FINE, sent_at=NOW + 1, now=NOW + 2) == replace(PACE, slowed_at=NOW, spacing_ms=500)


def test_each_good_answer_halves_the_spacing() -> None:
    assert replace(PACE, spacing_ms=4_000).after(Signal.FINE, sent_at=NOW, now=NOW).spacing == 2_000
    assert SPACING_MOST_MS == 30_000


@pytest.mark.parametrize(("refused_at", "believed"), [(-1, True), (0, False), (5, False), (9, False), (10, True)])
def test_a_good_answer_to_a_request_that_was_under_way_when_another_was_refused_says_nothing(
    refused_at: int, believed: bool
) -> None:
    """The request went out at 0 and was answered at 9; a refusal later than that is of a clock that was set back."""
    refused = replace(PACE, refused_at=NOW + refused_at, unauthorized=True)
    assert refused.after(Signal.FINE, sent_at=NOW, now=NOW + 9).unauthorized is not believed
    slowed = replace(PACE, slowed_at=NOW + refused_at, busy_until=NOW + 99)
    assert (slowed.after(Signal.FINE, sent_at=NOW, now=NOW + 9).busy_until == 0) is believed


@pytest.mark.parametrize(("sent_at", "spacing"), [(NOW - 1, 1_000), (NOW, 1_000), (NOW + 1, 2_000)])
def test_a_429_to_a_request_that_went_out_before_the_last_one_came_is_the_same_429(sent_at: int, spacing: int) -> None:
    slowed = PACE.after(Signal.BUSY, sent_at=NOW - 1, now=NOW)
    assert slowed.after(Signal.BUSY, sent_at=sent_at, now=NOW + 2).spacing == spacing


@pytest.mark.parametrize(("sent_at", "refusals"), [(NOW - 1, 1), (NOW, 1), (NOW + 1, 2)])
def test_a_refusal_of_a_request_that_went_out_before_the_last_one_came_is_the_same_refusal(
    sent_at: int, refusals: int
) -> None:
    refused = PACE.after(Signal.UNAUTHORIZED, sent_at=NOW - 1, now=NOW)
    assert refused.after(Signal.UNAUTHORIZED, sent_at=sent_at, now=NOW + 2).refusals == refusals


def test_a_429_that_asks_for_no_rest_makes_none_beyond_the_spacing() -> None:
    assert ProviderPace().after(Signal.BUSY, sent_at=NOW, now=NOW).busy_until == NOW
    assert PACE.after(Signal.BUSY, sent_at=NOW, now=NOW).busy_until == NOW + 1_000
    assert PACE.after(Signal.BUSY, sent_at=NOW, now=NOW, retry_after_ms=999).busy_until == NOW + 1_000
    assert PACE.after(Signal.BUSY, sent_at=NOW, now=NOW, retry_after_ms=1_001).busy_until == NOW + 1_001


def test_a_rest_may_be_as_long_as_we_allow_and_no_longer() -> None:
    rests = replace(PACE, retry_after_most_ms=60_000, busy_until=NOW + 60_000)
    assert rests.is_busy(NOW)
    assert not rests.is_busy(NOW - 1)
    spaced = replace(PACE, retry_after_most_ms=1, busy_until=NOW + SPACING_MOST_MS)
    assert spaced.is_busy(NOW), "the spacing can ask for as much"


def test_of_two_pauses_the_later_counts() -> None:
    both = replace(PACE, busy_until=NOW + 5, unauthorized_until=NOW + 9)
    assert both.paused_until(NOW) == NOW + 9
    assert both.paused_until(NOW + 9) is None
    assert replace(both, busy_until=NOW + 11).paused_until(NOW) == NOW + 11


# -- a provider that cannot be reached --


def test_at_first_no_request_has_failed() -> None:
    pace = ProviderPace()
    assert (pace.failures, pace.failed_at, pace.down_until) == (0, 0, 0)
    assert not pace.is_down(NOW)


def test_a_request_that_could_not_be_sent_pauses_the_others_for_a_second_then_for_two() -> None:
    once = PACE.after(Signal.NOT_SENT, sent_at=NOW, now=NOW)
    assert (once.failures, once.failed_at, once.down_until) == (1, NOW, NOW + 1_000)
    twice = once.after(Signal.NOT_SENT, sent_at=NOW + 1_000, now=NOW + 1_000)
    assert (twice.failures, twice.down_until) == (2, NOW + 3_000)
    assert PACE.after(Signal.NOT_SENT, sent_at=NOW, now=NOW, jitter=0.0).down_until == NOW + 900


@pytest.mark.parametrize(("failed_at", "failures"), [(-1, 2), (0, 1), (5, 1), (9, 1), (10, 2)])
def test_requests_that_were_under_way_together_fail_once(failed_at: int, failures: int) -> None:
    """The request went out at 0 and failed at 9; a failure later than that is of a clock that was set back."""
    failed = replace(PACE, failures=1, failed_at=NOW + failed_at)
    assert failed.after(Signal.NOT_SENT, sent_at=NOW, now=NOW + 9).failures == failures


@pytest.mark.parametrize(("sent_at", "down"), [(NOW - 1, True), (NOW, True), (NOW + 1, False)])
@pytest.mark.parametrize("signal", [Signal.FINE, Signal.NOTHING, Signal.BUSY])
def test_any_answer_to_a_later_request_shows_that_the_provider_is_reached_again(
    signal: Signal, sent_at: int, down: bool
) -> None:
    failed = replace(PACE, failures=2, failed_at=NOW, down_until=NOW + 2_000)
    after = failed.after(signal, sent_at=sent_at, now=NOW + 2)
    assert after.is_down(NOW + 2) is down
    assert (after.failures, after.down_until) == ((2, NOW + 2_000) if down else (0, 0))


def test_a_pause_of_more_than_two_minutes_was_set_by_another_clock() -> None:
    failed = replace(PACE, failures=1, down_until=NOW + 120_000)
    assert failed.is_down(NOW)
    assert not failed.is_down(NOW - 1)
    assert not failed.is_down(NOW + 120_000)
    assert not replace(failed, failures=0).is_down(NOW)
    assert failed.paused_until(NOW) == NOW + 120_000
    assert failed.probing_again(NOW, 60_000).paused_until(NOW) == NOW + 60_000
