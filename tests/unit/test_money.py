"""receiver.core.money: amounts as people write them, as the store keeps them, and as they are shown."""

from decimal import Decimal

import pytest

from receiver.core.money import (
    COST_MOST,
    NANO,
    amount_text,
    dollars,
    format_estimate,
    format_usd,
    is_plausible_cost,
    parse_usd,
    round_amount,
    short_decimal,
    to_decimal,
    to_nano,
)

CENT = NANO // 100


@pytest.mark.parametrize(
    ("cost", "nano"),
    [
        ("0.05", 5 * CENT),
        ("0", 0),
        ("0.000000001", 1),
        ("0.0000000004", 0),
        ("1E-2", CENT),
        ("1000000", COST_MOST),
        ("1000000.000000001", None),
        ("-0.01", None),
        ("NaN", None),
        ("sNaN", None),
        ("Infinity", None),
        ("1e999999", None),
        (None, None),
    ],
)
def test_what_a_provider_calls_a_cost(cost: str | None, nano: int | None) -> None:
    assert to_nano(cost if cost is None else Decimal(cost)) == nano


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("20", 20 * NANO),
        ("$19.95", 1995 * CENT),
        (" 20 USD ", 20 * NANO),
        ("20usd", 20 * NANO),
        ("20$", 20 * NANO),
        ("0.05", 5 * CENT),
        ("0.000000001", 1),
        ("1000000", COST_MOST),
    ],
)
def test_amounts_as_people_write_them(text: str, nano: int) -> None:
    assert parse_usd(text) == nano


@pytest.mark.parametrize(
    "text", ["", "0", "0.00", "-1", "1,5", "20 EUR", "1e3", "nan", "1000000.01", "1.0000000001", "٣"]
)
def test_what_is_not_an_amount(text: str) -> None:
    assert parse_usd(text) is None


@pytest.mark.parametrize(
    ("amount", "shown", "api"),
    [
        (20 * NANO, "$20.00", "20"),
        (0, "$0.00", "0"),
        (1995 * CENT, "$19.95", "19.95"),
        (CENT, "$0.01", "0.01"),
        (12_500_000, "$0.0125", "0.0125"),
        (CENT + NANO // 1000, "$0.011", "0.011"),
        (1234 * NANO, "$1,234.00", "1234"),
        (99_123_456_789, "$99.123457", "99.123456789"),
        (99_999_999_900, "$100.00", "99.9999999"),
        (100 * NANO, "$100.00", "100"),
        (100_004_000_000, "$100.00", "100.004"),
        (123_456_789_000, "$123.46", "123.456789"),
    ],
)
def test_amounts_as_they_are_shown(amount: int, shown: str, api: str) -> None:
    assert (dollars(amount), amount_text(amount)) == (shown, api)
    assert format_usd(Decimal(api)) == shown
    assert to_decimal(amount) == Decimal(api)


def test_what_is_left_is_never_less_than_nothing() -> None:
    assert dollars(-1) == "$0.00"


@pytest.mark.parametrize(
    ("cost", "shown"),
    [
        ("0", "$0.00"),
        ("-0", "$0.00"),
        ("1E-2", "$0.01"),
        ("1.5", "$1.50"),
        ("0.0025", "$0.0025"),
        ("0.1234564", "$0.123456"),
        ("0.1234566", "$0.123457"),
        ("9999999999", "$9,999,999,999.00"),
    ],
)
def test_the_costs_that_a_provider_names_are_shown_alike(cost: str, shown: str) -> None:
    assert is_plausible_cost(Decimal(cost))
    assert format_usd(Decimal(cost)) == shown


@pytest.mark.parametrize("cost", ["NaN", "Infinity", "-0.01", "1E+10", "1E+999999"])
def test_an_amount_that_nobody_can_mean_is_not_shown(cost: str) -> None:
    assert not is_plausible_cost(Decimal(cost))
    assert format_usd(Decimal(cost)) == ""


def test_an_unknown_cost_is_not_shown() -> None:
    assert format_usd(None) == ""


@pytest.mark.parametrize(("cost", "text"), [("12345.5", "12345.50"), ("0.0375", "0.0375"), ("-0", "0.00")])
def test_programs_get_digits_alone(cost: str, text: str) -> None:
    assert short_decimal(Decimal(cost)) == text


@pytest.mark.parametrize(
    ("amount", "rounded"),
    [
        (10_963_855_000, 10_960_000_000),
        (100_000_000, 100_000_000),
        (105_000_000, 110_000_000),
        (99_949_999, 99_900_000),
        (50_000, 100_000),
        (0, 0),
    ],
)
def test_estimates_are_rounded_to_what_is_worth_saying(amount: int, rounded: int) -> None:
    assert round_amount(amount) == rounded


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        ("0.1522", "$0.15"),
        ("0.0375", "$0.0375"),
        ("0.03754", "$0.0375"),
        ("0.0999", "$0.0999"),
        ("0.1", "$0.10"),
        ("0.155", "$0.16"),
        ("1234.567", "$1,234.57"),
        ("0", "$0.00"),
        ("2000000", "$2,000,000.00"),
        ("NaN", ""),
    ],
)
def test_an_estimate_is_in_whole_cents_from_ten_cents_on(cost: str, text: str) -> None:
    assert format_estimate(Decimal(cost)) == text
