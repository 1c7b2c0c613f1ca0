"""The pace at which a provider is asked: what 429, a refused key and a good answer change."""

from receiver.core.provider_pace import SPACING_MOST_MS, ProviderPace, Signal
from receiver.core.schedule import DOWN_BACKOFF, MINUTE, PROBES

NOW = 1_700_000_000_000
PACE = ProviderPace(spacing_least_ms=500, retry_after_most_ms=10 * MINUTE)


def test_a_429_doubles_the_spacing_once_for_requests_under_way_together() -> None:
    slowed = PACE.after(Signal.BUSY, sent_at=NOW - 5, now=NOW)
    assert (slowed.spacing, slowed.busy_in_a_row) == (1_000, 1)
    together = slowed.after(Signal.BUSY, sent_at=NOW - 3, now=NOW + 10)
    assert (together.spacing, together.busy_in_a_row) == (1_000, 2)
    later = together.after(Signal.BUSY, sent_at=NOW + 1, now=NOW + 20)
    assert later.spacing == 2_000
    assert later.after(Signal.FINE, sent_at=NOW + 30, now=NOW + 31).busy_in_a_row == 0


def test_the_spacing_has_a_ceiling_and_a_floor() -> None:
    pace = PACE
    for step in range(1, 12):
        pace = pace.after(Signal.BUSY, sent_at=NOW + step, now=NOW + step)
    assert pace.spacing == SPACING_MOST_MS
    for step in range(20, 40):
        pace = pace.after(Signal.FINE, sent_at=NOW + step, now=NOW + step)
    assert pace.spacing == 500


def test_a_rest_is_what_the_provider_asks_for_within_bounds() -> None:
    asked = PACE.after(Signal.BUSY, sent_at=NOW - 1, now=NOW, retry_after_ms=7_000)
    assert asked.paused_until(NOW) == NOW + 7_000
    assert asked.paused_until(NOW + 7_000) is None
    greedy = PACE.after(Signal.BUSY, sent_at=NOW - 1, now=NOW, retry_after_ms=10**9)
    assert greedy.busy_until == NOW + 10 * MINUTE
    shorter = greedy.after(Signal.BUSY, sent_at=NOW + 1, now=NOW + 1)
    assert shorter.busy_until == NOW + 10 * MINUTE


def test_a_refused_key_is_probed_in_growing_gaps_and_counts_once_for_requests_under_way_together() -> None:
    pace, at = PACE, NOW
    for gap in (*PROBES, PROBES[-1]):
        pace = pace.after(Signal.UNAUTHORIZED, sent_at=at - 1, now=at)
        again = pace.after(Signal.UNAUTHORIZED, sent_at=at - 2, now=at + 1)
        assert again == pace
        assert pace.unauthorized
        assert pace.paused_until(at) == at + gap
        at += gap
        assert not pace.is_unauthorized(at)


def test_a_probe_holds_the_others_back_until_its_answer_is_overdue() -> None:
    probing = PACE.probing(NOW, 60_000)
    assert probing.unauthorized
    assert probing.paused_until(NOW + 59_999) == NOW + 60_000
    assert probing.paused_until(NOW + 60_000) is None


def test_a_good_answer_closes_the_breaker_unless_a_refusal_came_meanwhile() -> None:
    refused = PACE.after(Signal.UNAUTHORIZED, sent_at=NOW - 1, now=NOW)
    assert refused.after(Signal.FINE, sent_at=NOW - 1, now=NOW + 1) == refused
    closed = refused.after(Signal.FINE, sent_at=NOW + 1, now=NOW + 2)
    assert (closed.unauthorized, closed.refusals, closed.paused_until(NOW + 2)) == (False, 0, None)
    slowed = PACE.after(Signal.BUSY, sent_at=NOW - 1, now=NOW, retry_after_ms=5_000)
    assert slowed.after(Signal.FINE, sent_at=NOW, now=NOW + 1).paused_until(NOW + 1) == NOW + 5_000
    assert slowed.after(Signal.FINE, sent_at=NOW + 1, now=NOW + 1).paused_until(NOW + 1) is None


def test_an_answer_that_says_nothing_of_the_pace_changes_nothing() -> None:
    assert PACE.after(Signal.NOTHING, sent_at=NOW, now=NOW) == PACE


def test_a_pause_longer_than_it_can_be_was_set_by_another_clock() -> None:
    refused = PACE.after(Signal.UNAUTHORIZED, sent_at=NOW - 1, now=NOW)
    assert refused.paused_until(NOW - 16 * MINUTE) is None
    slowed = PACE.after(Signal.BUSY, sent_at=NOW - 1, now=NOW)
    assert slowed.paused_until(NOW - 11 * MINUTE) is None


def test_a_provider_that_cannot_be_reached_is_probed_by_one_request_in_growing_gaps() -> None:
    pace, at = PACE, NOW
    for gap in (*DOWN_BACKOFF, DOWN_BACKOFF[-1]):
        pace = pace.after(Signal.NOT_SENT, sent_at=at, now=at + 1)
        assert pace.after(Signal.NOT_SENT, sent_at=at, now=at + 2) == pace, "once for requests under way together"
        at += 1 + gap
        assert pace.paused_until(at - 1) == at
        assert pace.paused_until(at) is None
    probing = pace.probing_again(at, MINUTE)
    assert probing.paused_until(at) == at + MINUTE
    assert probing.after(Signal.NOTHING, sent_at=at, now=at + 1).paused_until(at + 1) is None, "something was sent"


def test_an_answer_to_what_was_sent_before_does_not_say_that_the_provider_can_be_reached() -> None:
    down = PACE.after(Signal.NOT_SENT, sent_at=NOW, now=NOW + 5)
    assert down.after(Signal.FINE, sent_at=NOW - 1, now=NOW + 6).paused_until(NOW + 6) == NOW + 1_005
    assert down.paused_until(NOW - 10 * MINUTE) is None, "the clock was set back"


def test_a_provider_that_is_reached_again_is_as_if_it_had_never_been_away() -> None:
    away = PACE.after(Signal.NOT_SENT, sent_at=NOW, now=NOW + 1)
    assert away.down_since == NOW + 1
    back = away.after(Signal.FINE, sent_at=NOW + 2, now=NOW + 3)
    assert (back.failures, back.down_since, back.down_until) == (PACE.failures, PACE.down_since, PACE.down_until)
