"""Gaps, ladders and clocks that are set back: the exact figures, and what happens right at each bound."""

import pytest

from receiver.core import schedule
from receiver.core.schedule import (
    HISTORY_LEAST,
    HISTORY_MOST,
    MINUTE,
    PROBES,
    REWIND_LEAST,
    ClockRewind,
    add_jitter,
    expected_duration,
    is_paused,
    notify_gap,
    poll_gap,
)

NOW = 1_767_000_000_000
MIDDLE = 0.5  # the jitter that changes nothing where it goes either way


def test_spans_are_milliseconds() -> None:
    assert MINUTE == 60_000
    assert PROBES == (60_000, 120_000, 240_000, 480_000, 900_000)


def test_a_model_is_judged_by_its_last_500_tasks_from_twenty_on() -> None:
    assert (HISTORY_LEAST, HISTORY_MOST) == (20, 500)


@pytest.mark.parametrize(
    ("durations", "expects"),
    [
        ([*range(0, 20_000_000, 1_000_000)], 28_500_000),  # of twenty the slowest
        ([*range(0, 101_000_000, 1_000_000)], 148_500_000),  # of 101 the slowest but one
        ([*range(0, 200_000_000, 1_000_000)], 297_000_000),  # of 200 the slowest but one
        ([*range(0, 500_000_000, 1_000_000)], 742_500_000),  # of 500 the slowest but four
        ([20_001] * 20, 30_001),
        ([19_999] * 20, 30_000),
    ],
)
def test_a_model_is_expected_to_take_half_as_long_again_as_all_but_its_slowest_hundredth(
    durations: list[int], expects: int
) -> None:
    assert expected_duration(durations, first=1, most=10**9) == expects
    assert expected_duration(durations[::-1], first=1, most=10**9) == expects


def test_polls_come_at_gaps_that_grow_by_1_6_up_to_the_longest() -> None:
    gaps = [poll_gap(step, first=1_000, most=5_000, jitter=MIDDLE) for step in range(6)]
    assert gaps == [1_000, 1_600, 2_560, 4_096, 5_000, 5_000]


def test_a_gap_stops_growing_after_forty_steps_before_it_is_too_large_for_a_number() -> None:
    gaps = [poll_gap(step, first=1, most=10**12, jitter=MIDDLE) for step in (39, 40, 41, 10**6)]
    assert gaps[0] < gaps[1] == gaps[2] == gaps[3]
    assert gaps[1] == int(1.6**40)


@pytest.mark.parametrize(("jitter", "span"), [(0.0, 900), (0.25, 950), (0.5, 1_000), (0.75, 1_050)])
def test_jitter_is_ten_percent_either_way(jitter: float, span: int) -> None:
    assert add_jitter(1_000, jitter) == span


@pytest.mark.parametrize(("jitter", "span"), [(0.0, 5_000), (0.5, 5_500), (0.75, 5_750)])
def test_a_failed_send_waits_up_to_a_fifth_longer(jitter: float, span: int) -> None:
    assert notify_gap([5_000], 1, jitter=jitter) == span
    assert notify_gap([5_000], 2, jitter=jitter) is None


@pytest.mark.parametrize(
    ("until", "paused"), [(NOW - 1, False), (NOW, False), (NOW + 1, True), (NOW + 5, True), (NOW + 6, False)]
)
def test_a_pause_further_ahead_than_it_can_be_was_set_by_another_clock(until: int, paused: bool) -> None:
    assert is_paused(until, NOW, 5) is paused


# -- a clock that is set back --


def test_before_the_first_look_nobody_knows_whether_the_clock_was_set_back() -> None:
    rewound = ClockRewind()
    assert rewound(NOW)
    assert rewound(NOW), "until it has been handled"
    rewound.mark_handled(NOW)
    assert not rewound(NOW)


def test_five_seconds_are_how_clocks_are_kept_right_and_more_is_a_clock_set_back() -> None:
    assert REWIND_LEAST == 5_000
    rewound = ClockRewind()
    rewound.mark_handled(NOW)
    assert not rewound(NOW - 5_000)
    rewound.mark_handled(NOW)
    assert rewound(NOW - 5_001)
    assert rewound(NOW - 5_001), "until it has been handled"
    rewound.mark_handled(NOW - 5_001)
    assert not rewound(NOW - 5_001)


def test_a_clock_is_compared_with_its_last_look_not_with_its_latest() -> None:
    rewound = ClockRewind()
    rewound.mark_handled(NOW)
    assert not rewound(NOW + 60_000)
    assert rewound(NOW + 54_999)
    rewound.mark_handled(NOW)
    assert not rewound(NOW - 4_000)
    assert not rewound(NOW - 8_000)


def test_the_hints_ladder_is_five_steps_from_at_once_to_a_minute() -> None:
    assert schedule.HINT_LADDER == (0, 2_000, 5_000, 15_000, 60_000)
