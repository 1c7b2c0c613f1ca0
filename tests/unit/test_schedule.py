"""When is the next try: the figures of the design, at their edges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.core import schedule
from receiver.core.schedule import MINUTE

FIRST, MOST = 120_000, 900_000
LUCK = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("durations", "expects"),
    [
        ([], FIRST),
        ([60_000] * 19, FIRST),  # a model's past is believed from twenty on
        ([60_000] * 20, 90_000),
        ([1_000] * 20, 30_000),
        ([800_000] * 20, MOST),
        ([*[40_000] * 99, 200_000], 300_000),  # the 0.99 quantile of a hundred is the slowest but none
        ([*[40_000] * 199, 200_000], 60_000),
        ([-5_000] * 20, 30_000),  # a clock that was set back
    ],
)
def test_a_model_is_expected_to_take_what_its_last_tasks_took(durations: list[int], expects: int) -> None:
    assert schedule.expected_duration(durations, first=FIRST, most=MOST) == expects


def test_the_first_guess_is_bounded_too() -> None:
    assert schedule.expected_duration([], first=2 * MOST, most=MOST) == MOST


@given(st.integers(0, 10_000), LUCK)
def test_gaps_between_polls_grow_and_are_bounded(step: int, luck: float) -> None:
    gap = schedule.poll_gap(step, first=FIRST, most=MOST, jitter=luck)
    assert 0.9 * min(FIRST, MOST) - 1 <= gap <= 1.1 * MOST
    assert gap <= schedule.poll_gap(step + 1, first=FIRST, most=MOST, jitter=luck)


def test_a_hints_ladder_is_climbed_once() -> None:
    assert [schedule.hint_gap(step) for step in range(6)] == [0, 2_000, 5_000, 15_000, 60_000, None]


@pytest.mark.parametrize(
    ("too_many", "gaps"),
    [(False, [0, 1_000, 2_000, 5_000, 15_000, 30_000, 60_000, 60_000]), (True, [0, 1_000, 2_000, 5_000, 5_000])],
)
def test_a_busy_provider_is_left_alone_for_longer_and_longer(too_many: bool, gaps: list[int]) -> None:
    assert [schedule.busy_gap(n, None, too_many=too_many) for n in range(1, len(gaps) + 1)] == gaps
    assert [schedule.busy_gap(n, 5_000, too_many=too_many) for n in (1, 2, 6)] == [0, 5_000, 5_000], "it knows best"
    assert [schedule.busy_gap(n, 5_001, too_many=too_many) for n in (1, 2)] == [5_001, 5_001], "long enough for all"
    assert schedule.busy_gap(1, 99 * MINUTE, too_many=too_many) == 10 * MINUTE, "but not for as long as it pleases"
    assert schedule.busy_gap(2, 0, too_many=too_many) == gaps[1]


def test_a_task_that_it_was_too_busy_for_lets_the_others_go_first() -> None:
    gaps = [schedule.busy_again_gap(tries, jitter=0.5) for tries in range(10)]
    assert gaps == [1_000, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]


def test_a_provider_that_cannot_be_reached_is_probed_at_least_once_a_minute() -> None:
    gaps = [schedule.down_gap(failures, jitter=0.5) for failures in range(1, 9)]
    assert gaps == [1_000, 2_000, 5_000, 15_000, 30_000, 60_000, 60_000, 60_000]


@given(LUCK)
def test_notices_follow_their_schedule_with_jitter_added_then_end(luck: float) -> None:
    gaps = [schedule.notify_gap([5_000, 30_000], tries, jitter=luck) for tries in (1, 2, 3)]
    assert gaps[2] is None
    assert 5_000 <= (gaps[0] or 0) <= 6_000
    assert 30_000 <= (gaps[1] or 0) <= 36_000


def test_probes_come_after_1_2_4_8_then_every_15_minutes() -> None:
    assert [schedule.probe_gap(step) // MINUTE for step in range(7)] == [1, 2, 4, 8, 15, 15, 15]


def test_an_unsure_place_is_held_for_three_expected_times_15_minutes_at_most() -> None:
    assert [schedule.unsure_place(it) for it in (30_000, 300_000, 900_000)] == [90_000, 15 * MINUTE, 15 * MINUTE]


@given(LUCK)
def test_jitter_is_ten_percent_either_way(luck: float) -> None:
    assert 900 <= schedule.add_jitter(1_000, luck) <= 1_100
