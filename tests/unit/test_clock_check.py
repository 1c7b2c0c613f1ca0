"""The wall clock is compared with one that cannot leap, and after a leap it is not trusted for an hour."""

import pytest

from kit.fakes import DAY, HOUR, MINUTE, NOW, SECOND, Clock
from receiver.core.clock_check import (
    HOLD_MS,
    LEAP_LEAST_MS,
    ClockCheck,
    ClockReading,
    ClockWatch,
    leap_text,
    resume_check,
)

BOOT = 5 * DAY


class Machine:
    """A wall clock and a boot clock that go together until the wall clock leaps."""

    def __init__(self) -> None:
        self.wall, self.boot = Clock(NOW), Clock(BOOT)

    def forward(self, ms: int) -> None:
        self.wall.forward(ms)
        self.boot.forward(ms)

    def watch(self, **more: object) -> ClockWatch:
        return ClockWatch(self.wall, self.boot, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("leap", [100 * DAY, LEAP_LEAST_MS + 1, -LEAP_LEAST_MS - 1, -DAY])
def test_after_a_leap_nothing_rests_on_the_clock_for_an_hour(leap: int) -> None:
    machine = Machine()
    watch = machine.watch()
    assert (watch.trusted_now(), watch.hold_left_ms()) == (NOW, 0)
    machine.wall.forward(leap)
    assert watch.hold_left_ms() == HOLD_MS
    assert watch.trusted_now() is None
    assert not watch.trusts(machine.wall())
    assert (watch.check.leap_ms, watch.check.leaps, watch.hold_left_ms()) == (leap, 1, HOLD_MS)
    machine.forward(HOUR - 1)
    assert (watch.trusted_now(), watch.hold_left_ms()) == (None, 1)
    machine.forward(1)
    assert watch.trusted_now() == machine.wall()
    assert watch.trusts(machine.wall())
    assert (watch.check.leaps, watch.hold_left_ms()) == (1, 0)


def test_a_clock_that_comes_back_has_leapt_again_and_the_hour_begins_anew() -> None:
    machine = Machine()
    watch = machine.watch()
    machine.wall.forward(100 * DAY)
    assert watch.trusted_now() is None
    machine.forward(40 * SECOND)
    machine.wall.forward(-100 * DAY)
    assert watch.trusted_now() is None
    assert (watch.check.leap_ms, watch.check.leaps, watch.hold_left_ms()) == (-100 * DAY, 2, HOLD_MS)


@pytest.mark.parametrize("step", [LEAP_LEAST_MS, -LEAP_LEAST_MS])
def test_a_small_correction_is_no_leap_and_corrections_do_not_add_up(step: int) -> None:
    machine = Machine()
    watch = machine.watch()
    for _ in range(5):
        machine.wall.forward(step)
        assert watch.trusted_now() == machine.wall()
        machine.forward(HOUR)
        assert watch.trusted_now() == machine.wall()
    assert watch.check.leaps == 0


def test_many_small_steps_within_an_hour_are_a_leap() -> None:
    machine = Machine()
    watch = machine.watch()
    for _ in range(2):
        machine.wall.forward(3 * SECOND)
        machine.forward(MINUTE)
        trusted = watch.trusted_now()
    assert (trusted, watch.check.leap_ms) == (None, 6 * SECOND)


def test_a_time_read_while_the_clock_was_ahead_is_not_trusted_after_it_came_back_unnoticed() -> None:
    machine = Machine()
    watch = machine.watch()
    assert not watch.trusts(NOW + 100 * DAY)
    assert watch.trusts(NOW - MINUTE)  # read a while ago
    assert watch.trusts(NOW + LEAP_LEAST_MS)


def test_a_process_that_was_stopped_between_both_readings_sees_no_leap() -> None:
    boots = iter((BOOT, BOOT, BOOT, BOOT + MINUTE, BOOT + MINUTE, BOOT + MINUTE))
    walls = iter((NOW, NOW, NOW + MINUTE))  # the first of the second turn was read before the stop
    watch = ClockWatch(lambda: next(walls), lambda: next(boots))
    assert watch.trusted_now() == NOW + MINUTE
    assert watch.check.leaps == 0


def test_a_leap_is_more_than_five_seconds_and_holds_for_an_hour() -> None:
    assert (LEAP_LEAST_MS, HOLD_MS) == (5 * SECOND, HOUR)


def readings(boots: list[int], walls: list[int]) -> ClockReading:
    """What a watch reads from clocks that show these times; all of them are used up."""
    boot, wall = iter(boots), iter(walls)
    found = ClockWatch(lambda: next(wall), lambda: next(boot)).check.anchor
    assert (list(boot), list(wall)) == ([], [])
    return found


def test_both_clocks_are_read_within_a_second_or_once_more_up_to_three_times() -> None:
    assert readings([BOOT, BOOT + SECOND], [NOW]) == ClockReading("", BOOT + SECOND, NOW)
    late = [BOOT, BOOT + SECOND + 1]
    assert readings([*late, BOOT + MINUTE, BOOT + MINUTE], [NOW, NOW + MINUTE]).wall_ms == NOW + MINUTE
    assert readings(late * 3, [NOW, NOW + 1, NOW + 2]) == ClockReading("", BOOT + SECOND + 1, NOW + 2)


def test_a_check_without_more_knows_of_no_hold_and_no_leap() -> None:
    check = ClockCheck(ClockReading("a", BOOT, NOW))
    assert (check.held_until, check.leap_ms, check.leaps) == (0, 0, 0)
    assert ClockWatch(Clock(NOW), Clock(MINUTE), stored=a_check(), boot_id="b").check.held_until == MINUTE + HOLD_MS


def test_values_that_loops_share_do_not_change() -> None:
    check = ClockCheck(ClockReading("a", BOOT, NOW))
    for value, name in ((check, "held_until"), (check.anchor, "wall_ms")):
        with pytest.raises(AttributeError):
            setattr(value, name, 1)


# -- across restarts --


def a_check(held_until: int = 0, leap_ms: int = 0) -> ClockCheck:
    return ClockCheck(ClockReading("a", BOOT, NOW), held_until, leap_ms)


def a_reading(boot_id: str = "a", later: int = DAY, leap: int = 0, boot_ms: int | None = None) -> ClockReading:
    return ClockReading(boot_id, BOOT + later if boot_ms is None else boot_ms, NOW + later + leap)


def test_a_new_database_has_nothing_to_lose() -> None:
    assert resume_check(None, a_reading()) == ClockCheck(a_reading())


def test_a_restart_on_a_machine_that_ran_on_compares_as_ever() -> None:
    assert resume_check(a_check(), a_reading()).held_until < a_reading().boot_ms
    leapt = resume_check(a_check(), a_reading(leap=100 * DAY))
    assert (leapt.leap_ms, leapt.leaps, leapt.held_until) == (100 * DAY, 1, a_reading().boot_ms + HOLD_MS)


def test_a_hold_goes_on_after_a_restart() -> None:
    held = resume_check(a_check(held_until=BOOT + HOUR, leap_ms=DAY), a_reading(later=MINUTE))
    assert (held.held_until, held.leap_ms, held.leaps) == (BOOT + HOUR, DAY, 0)


@pytest.mark.parametrize("boot_id", ["b", ""])
def test_after_a_start_of_the_machine_nobody_knows_how_long_it_was_off_so_there_is_an_hour_of_hold(
    boot_id: str,
) -> None:
    check = resume_check(a_check(), a_reading(boot_id, boot_ms=MINUTE))
    assert (check.held_until, check.leap_ms, check.leaps) == (MINUTE + HOLD_MS, 0, 0)


def test_boots_without_a_name_are_never_the_same() -> None:
    nameless = ClockCheck(ClockReading("", BOOT, NOW))
    assert resume_check(nameless, a_reading("", boot_ms=2 * HOUR)).held_until == 2 * HOUR + HOLD_MS


@pytest.mark.parametrize("asked", [False, True])
def test_after_a_start_of_the_machine_an_earlier_time_than_was_stored_is_a_leap_back(asked: bool) -> None:
    check = resume_check(a_check(), a_reading("b", later=-DAY, boot_ms=2 * HOUR), asked=asked)
    assert (check.held_until, check.leap_ms, check.leaps) == (2 * HOUR + HOLD_MS, -DAY, 1)
    slightly = resume_check(a_check(), a_reading("b", later=-LEAP_LEAST_MS, boot_ms=2 * HOUR), asked=asked)
    assert (slightly.leap_ms, slightly.leaps) == (0, 0)


def test_who_asks_for_it_waits_until_the_machine_has_been_up_for_an_hour() -> None:
    assert resume_check(a_check(), a_reading("b", boot_ms=MINUTE), asked=True).held_until == HOLD_MS


@pytest.mark.parametrize(
    ("leap_ms", "text"),
    [
        (100 * DAY, "100 days ahead"),
        (-2 * DAY, "2 days back"),
        (47 * HOUR, "47 hours ahead"),
        (-119 * MINUTE, "119 minutes back"),
        (119 * SECOND, "119 seconds ahead"),
        (-6 * SECOND, "6 seconds back"),
        (2 * DAY - SECOND, "47 hours ahead"),
        (2 * HOUR - SECOND, "119 minutes ahead"),
        (2 * HOUR, "2 hours ahead"),
        (2 * MINUTE, "2 minutes ahead"),
        (6 * DAY - SECOND, "5 days ahead"),
        (6 * HOUR - SECOND, "5 hours ahead"),
        (119_999, "119 seconds ahead"),
        (1, "0 seconds ahead"),
        (0, "0 seconds back"),
        (-3 * DAY, "3 days back"),
    ],
)
def test_a_leap_in_words(leap_ms: int, text: str) -> None:
    assert leap_text(leap_ms) == text
