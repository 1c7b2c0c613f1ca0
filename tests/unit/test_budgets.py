"""receiver.core.budgets: whether one more task fits, which day it counts to, and what a person is told."""

from datetime import UTC, datetime

import pytest
from msgspec import Struct

from receiver.core.budgets import (
    HISTORY_MOST,
    SETTLING_MS,
    Budget,
    BudgetDay,
    BudgetRules,
    BudgetWait,
    Committed,
    ModelCosts,
    PeriodKind,
    choose_day,
    count_covered,
    counts_until,
    enough_for,
    estimate_cost,
    is_near,
    is_used_up,
    lane_used_up_text,
    limit_text,
    load_zone,
    local_day,
    may_submit,
    near_text,
    needs_price,
    no_price_text,
    oversized,
    oversized_text,
    period_end,
    period_of,
    reached_text,
    shortfall_text,
    suggest_limit,
    too_large_text,
    unpriced_text,
    until_text,
    used_up_text,
)
from receiver.core.clock_check import HOLD_MS
from receiver.core.money import NANO

CENT = NANO // 100
DAY, MONTH = PeriodKind.DAY, PeriodKind.MONTH


def at(text: str) -> int:
    """Milliseconds of an instant: `2026-11-30T23:59:59.999Z`."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


# -- whether it fits --


@pytest.mark.parametrize(
    ("amount", "estimate", "fits"),
    [(95, 5, True), (96, 5, False), (100, 0, True), (101, 0, False), (0, 100, True), (0, 101, False)],
)
def test_a_task_fits_up_to_the_last_cent(amount: int, estimate: int, fits: bool) -> None:
    assert may_submit(Committed(amount * CENT), estimate * CENT, NANO) is fits
    assert may_submit(Committed(0, amount * CENT), estimate * CENT, NANO) is fits


@pytest.mark.parametrize(
    ("amount", "unpriced", "fits"), [(0, 0, True), (99, 0, True), (100, 0, False), (0, 1, False), (99, 1, False)]
)
def test_a_task_without_an_estimate_is_alone_of_its_kind(amount: int, unpriced: int, fits: bool) -> None:
    assert may_submit(Committed(amount * CENT, 0, unpriced), None, NANO) is fits


def test_a_known_estimate_does_not_wait_for_one_that_is_not() -> None:
    assert may_submit(Committed(unpriced=1), CENT, NANO)


def test_the_estimate_is_the_highest_of_the_last_costs_else_the_price_of_the_settings_else_unknown() -> None:
    assert estimate_cost([3, 9, 4], 100) == 9
    assert estimate_cost([*[1] * HISTORY_MOST, 50], None) == 1
    assert estimate_cost([*[1] * (HISTORY_MOST - 1), 50], None) == 50
    assert estimate_cost([0], 100) == 0
    assert estimate_cost([], 100) == 100
    assert estimate_cost([], None) is None


def test_where_no_cost_is_left_in_the_history_the_estimate_is_what_the_books_say_on_average() -> None:
    books = ModelCosts(completed=3, ended=9, unknown=4, cost=10)
    assert estimate_cost([], None, books) == 4, "rounded up"
    assert estimate_cost([], None, ModelCosts(completed=9, ended=9, unknown=7, cost=10)) == 5, "of those that told it"
    assert estimate_cost([], None, ModelCosts(completed=0, ended=1, unknown=1, cost=10)) == 10
    assert (estimate_cost([7], None, books), estimate_cost([], 8, books)) == (7, 8)
    assert estimate_cost([], None, ModelCosts(completed=3, ended=3, unknown=3)) is None


@pytest.mark.parametrize(
    ("completed", "failed", "unknown", "needed"),
    [(0, 0, 0, False), (1, 0, 1, True), (1, 0, 0, False), (0, 1, 1, False), (0, 2, 2, False), (0, 3, 3, True)],
)
def test_a_price_is_needed_once_one_completed_or_three_failed_without_a_cost(
    completed: int, failed: int, unknown: int, needed: bool
) -> None:
    assert needs_price(ModelCosts(completed, completed + failed, unknown)) is needed


@pytest.mark.parametrize(
    ("committed", "waiting", "estimate", "enough"),
    [
        (Committed(10 * CENT), 2, 5 * CENT, "0.20"),
        (Committed(10 * CENT, 5 * CENT), 17, 5 * CENT, "1"),
        (Committed(), 0, 5 * CENT, "0.05"),
        (Committed(1), 1, 5 * CENT, "0.06"),
        (Committed(10 * CENT), 2, None, "2"),
    ],
)
def test_the_budget_that_is_enough_for_all_that_wait(
    committed: Committed, waiting: int, estimate: int | None, enough: str
) -> None:
    assert limit_text(enough_for(committed, waiting, estimate, NANO)) == enough


@pytest.mark.parametrize(
    ("spent", "reserved", "estimate", "used_up"),
    [
        (95, 5, 5, False),
        (96, 0, 5, True),
        (50, 50, 5, False),
        (99, 0, None, False),
        (100, 0, None, True),
        (100, 0, 0, True),
    ],
)
def test_a_budget_is_used_up_when_nothing_in_hand_could_make_room(
    spent: int, reserved: int, estimate: int | None, used_up: bool
) -> None:
    estimated = None if estimate is None else estimate * CENT
    assert is_used_up(Committed(spent * CENT, reserved * CENT), estimated, NANO) is used_up


@pytest.mark.parametrize(("amount", "near"), [(79, False), (80, True), (120, True)])
def test_from_80_percent_on_a_person_is_told(amount: int, near: bool) -> None:
    assert is_near(amount * CENT, NANO) is near


def test_a_task_dearer_than_a_whole_budget_is_recognised() -> None:
    limits = {DAY: NANO, MONTH: 5 * NANO}
    assert list(oversized(None, limits)) == []
    assert list(oversized(NANO, limits)) == []
    assert list(oversized(2 * NANO, limits)) == [(DAY, NANO)]
    assert list(oversized(9 * NANO, limits)) == [(DAY, NANO), (MONTH, 5 * NANO)]
    assert list(oversized(9 * NANO, {})) == []


# -- the day --


@pytest.mark.parametrize(
    ("instant", "zone", "day"),
    [
        ("2026-11-30T22:59:59.999Z", "Europe/Berlin", "2026-11-30"),
        ("2026-11-30T23:00:00Z", "Europe/Berlin", "2026-12-01"),
        ("2026-11-30T23:59:59.999Z", "UTC", "2026-11-30"),
        ("2026-12-01T00:00:00Z", "UTC", "2026-12-01"),
        ("2026-07-01T22:00:00Z", "Europe/Berlin", "2026-07-02"),  # summer: two hours
        ("2026-07-01T21:59:59.999Z", "Europe/Berlin", "2026-07-01"),
        ("2026-12-01T07:59:59Z", "America/Los_Angeles", "2026-11-30"),
        ("2026-12-01T08:00:00Z", "America/Los_Angeles", "2026-12-01"),
    ],
)
def test_the_day_of_an_instant(instant: str, zone: str, day: str) -> None:
    assert local_day(at(instant), load_zone(zone)) == day


@pytest.mark.parametrize(
    ("day", "zone", "ends", "month_ends"),
    [
        ("2026-11-30", "UTC", "2026-12-01T00:00:00Z", "2026-12-01T00:00:00Z"),
        ("2026-12-31", "Europe/Berlin", "2026-12-31T23:00:00Z", "2026-12-31T23:00:00Z"),
        ("2026-03-28", "Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-31T22:00:00Z"),
        ("2026-03-29", "Europe/Berlin", "2026-03-29T22:00:00Z", "2026-03-31T22:00:00Z"),  # a day of 23 hours
        ("2026-10-25", "Europe/Berlin", "2026-10-25T23:00:00Z", "2026-10-31T23:00:00Z"),  # a day of 25 hours
        ("2028-02-29", "UTC", "2028-03-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        ("2026-01-31", "UTC", "2026-02-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        ("2018-11-03", "America/Sao_Paulo", "2018-11-04T03:00:00Z", "2018-12-01T02:00:00Z"),  # no midnight there
        ("2026-10-31", "Africa/Cairo", "2026-10-31T22:00:00Z", "2026-10-31T22:00:00Z"),
    ],
)
def test_when_a_period_ends(day: str, zone: str, ends: str, month_ends: str) -> None:
    tz = load_zone(zone)
    assert period_end(DAY, day, tz) == at(ends)
    assert period_end(MONTH, day, tz) == at(month_ends)
    assert local_day(at(ends) - 1, tz) == day
    assert local_day(at(ends), tz) > day


def test_the_period_of_a_day() -> None:
    assert (period_of(DAY, "2026-11-30"), period_of(MONTH, "2026-11-30")) == ("2026-11-30", "2026-11")


def test_no_new_period_begins_until_the_clock_was_right_for_an_hour_after_a_leap_a_minute_after_a_start() -> None:
    later, last = at("2027-03-10T12:00:00Z"), "2026-11-30"
    today = BudgetDay("2027-03-10")
    assert choose_day(later, UTC, last, HOLD_MS) == BudgetDay(last, later + SETTLING_MS)
    assert choose_day(later, UTC, last, HOLD_MS - SETTLING_MS + 1) == BudgetDay(last, later + 1)
    assert choose_day(later, UTC, last, HOLD_MS - SETTLING_MS) == today
    assert choose_day(later, UTC, last, 1, leapt=True) == BudgetDay(last, later + 1)
    assert choose_day(later, UTC, last, 0, leapt=True) == today
    assert choose_day(later, UTC, None, HOLD_MS, leapt=True) == today


def test_a_period_that_counts_while_the_clock_is_not_trusted_ends_with_that() -> None:
    now = at("2026-12-02T12:00:00Z")
    assert counts_until(DAY, BudgetDay("2026-12-02"), now, UTC) == at("2026-12-03T00:00:00Z")
    assert counts_until(DAY, BudgetDay("2026-12-02", now + 9), now, UTC) == at("2026-12-03T00:00:00Z")
    assert counts_until(DAY, BudgetDay("2026-12-01", now + 9), now, UTC) == now + 9
    assert counts_until(MONTH, BudgetDay("2026-12-01", now + 9), now, UTC) == at("2027-01-01T00:00:00Z")
    assert counts_until(MONTH, BudgetDay("2026-11-30", now + 9), now, UTC) == now + 9


# -- the settings --


def test_the_zone_and_the_limits_of_the_rules() -> None:
    assert (BudgetRules().zone, BudgetRules().limits) == ("UTC", {})
    rules = BudgetRules(Budget(NANO), Budget(2 * NANO, "Europe/Berlin"))
    assert (rules.zone, rules.limits) == ("Europe/Berlin", {DAY: NANO, MONTH: 2 * NANO})
    assert BudgetRules(Budget(NANO, "Asia/Tokyo")).zone == "Asia/Tokyo"


@pytest.mark.parametrize(
    ("budget", "text"),
    [
        (Budget(20 * NANO, "Europe/Berlin"), "20 Europe/Berlin"),
        (Budget(1234_500_000_000), "1234.5"),
        (Budget(123_456_789_000), "123.456789"),
        (Budget(20 * NANO), "20"),
    ],
)
def test_a_budget_is_shown_as_it_is_set(budget: Budget, text: str) -> None:
    assert str(budget) == text


# -- the words --


@pytest.mark.parametrize(
    ("spent", "costs", "text", "command"),
    [
        (CENT, [50 * CENT, 50 * CENT], "has $0.99 left: about 1 of 2 tasks go before X", "day 2` lets all"),
        (0, [5 * CENT] * 40, "has $1.00 left: about 20 of 40 tasks go before X", "day 2` lets all"),
        (99 * CENT, [5 * CENT] * 2, "has $0.01 left: none of 2 tasks goes before X", "day 2` lets all"),
        (60 * CENT, [41 * CENT], "has $0.40 left: the task does not go before X", "day 2` lets it"),
        (5 * NANO, [CENT], "has $0.00 left: the task does not go before X", "day 6` lets it"),
        (0, [0, 101 * CENT, 0], "has $1.00 left: about 1 of 3 tasks go before X", "day 2` lets all"),
        (0, [100 * CENT, CENT], "has $1.00 left: about 1 of 2 tasks go before X", "day 2` lets all"),
        (0, [100 * CENT] * 2, "has $1.00 left: about 1 of 2 tasks go before X", "day 2` lets all"),
    ],
)
def test_whoever_submits_is_told_what_a_budget_does_not_cover(
    spent: int, costs: list[int], text: str, command: str
) -> None:
    """Of a budget of $1, of which half of `spent` is reserved."""
    committed = Committed(spent - spent // 2, spent // 2)
    expected = f"the budget of this day {text}; `receiver costs raise {command} go"
    assert shortfall_text(DAY, committed, costs, NANO, "X") == expected


@pytest.mark.parametrize(("spent", "costs"), [(0, [50 * CENT] * 2), (CENT, []), (60 * CENT, [40 * CENT]), (NANO, [0])])
def test_whoever_submits_what_a_budget_covers_is_told_nothing(spent: int, costs: list[int]) -> None:
    assert shortfall_text(DAY, Committed(spent), costs, NANO, "X") is None


def test_the_words() -> None:
    midnight = until_text(DAY, at("2026-11-30T23:00:00Z"), "Europe/Berlin")
    assert midnight == "00:00 Europe/Berlin"
    assert until_text(MONTH, at("2026-12-01T00:00:00Z"), "UTC") == "1 Dec, 00:00 UTC"
    assert reached_text(DAY, 1995 * CENT, 20 * NANO, 312, midnight) == (
        "The budget of this day is used up: $19.95 of $20.00 spent or reserved; 312 tasks wait until 00:00 "
        "Europe/Berlin. To spend more, run `receiver costs raise day 30`."
    )
    assert "; 1 task waits until" in reached_text(DAY, 0, NANO, 1, midnight)
    assert near_text(MONTH, 16 * NANO, 20 * NANO, "X") == (
        "$16.00 of this month's budget of $20.00 is spent or reserved. At the limit, tasks wait until X. "
        "To raise it, run `receiver costs raise month 30`."
    )
    assert unpriced_text("m").startswith("no cost of m is known yet, so one is submitted at a time")
    assert no_price_text("m").startswith("the provider does not say what m costs: set its price under [prices] in ")
    assert lane_used_up_text(Committed(8 * CENT), 5 * CENT, 10 * CENT) == (
        "its budget of $0.10 is used up: $0.08 is spent"
    )
    assert lane_used_up_text(Committed(), 11 * CENT, 10 * CENT) == ("its budget is $0.10, and a task costs about $0.11")
    assert too_large_text("m", 2 * NANO, DAY, NANO) == (
        "a task of m costs about $2.00, which is more than the whole budget of a day ($1.00)"
    )


@pytest.mark.parametrize(("limit", "higher"), [(20, 30), (1, 2), (3, 5), (100, 150)])
def test_the_limit_that_is_suggested_is_half_as_much_again(limit: int, higher: int) -> None:
    assert suggest_limit(limit * NANO) == higher * NANO


def test_the_limit_that_is_suggested_for_a_few_cents_is_a_dollar() -> None:
    assert suggest_limit(5 * CENT) == NANO


@pytest.mark.parametrize("value", [Budget(1), BudgetWait("why", 1), Committed(), BudgetDay("2026-11-30"), ModelCosts()])
def test_what_is_known_of_a_budget_does_not_change_while_it_is_judged(value: Struct) -> None:
    with pytest.raises(AttributeError):
        setattr(value, value.__struct_fields__[0], value)


def test_at_the_beginning_nothing_is_spent_reserved_or_known() -> None:
    assert Committed() == Committed(0, 0, 0)
    assert ModelCosts() == ModelCosts(0, 0, 0, 0)
    assert BudgetWait("why", 1) == BudgetWait("why", 1, None, of_lane=False)


def test_twenty_costs_are_looked_back_on_and_a_machine_must_run_for_a_minute() -> None:
    assert (HISTORY_MOST, SETTLING_MS) == (20, 60_000)


@pytest.mark.parametrize(("limit", "text"), [(2 * NANO, "2"), (100 * NANO, "100"), (20 * CENT, "0.20"), (1, "0.01")])
def test_a_limit_as_a_command_takes_it(limit: int, text: str) -> None:
    assert limit_text(limit) == text


def test_79_9_percent_are_not_yet_near() -> None:
    assert [is_near(amount, 1_000) for amount in (799, 800)] == [False, True]


@pytest.mark.parametrize(
    ("left", "costs", "covered"),
    [(10, [11], 0), (10, [10], 1), (10, [10, 1], 1), (10, [5, 5, 0, 1, 0], 3), (0, [0, 0], 2)],
)
def test_how_many_tasks_are_covered(left: int, costs: list[int], covered: int) -> None:
    assert count_covered(left, costs) == covered


def test_of_a_budget_that_is_overspent_nothing_is_left_and_nothing_is_owed() -> None:
    assert shortfall_text(DAY, Committed(5 * NANO), [0], NANO, "X") is None
    for spent in (NANO, 5 * NANO):
        assert "has $0.00 left" in (shortfall_text(DAY, Committed(spent), [1], NANO, "X") or "")


@pytest.mark.parametrize(("estimate", "dollars"), [(5 * CENT, 1), (NANO, 1), (NANO + 1, 2), (250 * CENT, 3)])
def test_the_words_of_a_task_that_is_dearer_than_a_whole_budget_name_one_that_is_enough(
    estimate: int, dollars: int
) -> None:
    text = oversized_text("m", estimate, DAY, 4 * CENT)
    assert text.startswith("a task of m costs about $")
    ending = f"(${0.04}): set BUDGET_DAY higher, or run `receiver costs raise day {dollars}` for this day"
    assert text.endswith(ending)


def test_the_words_of_a_task_that_waits_because_a_budget_is_used_up() -> None:
    text = "the $20.00 of this month are used up: `receiver costs raise month 30` lets it go on"
    assert used_up_text(MONTH, 20 * NANO) == text
