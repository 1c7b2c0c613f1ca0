"""receiver.core.money: amounts as people write them, as the store keeps them, and as they are shown."""

from decimal import Decimal

import pytest

from receiver.core.money import COST_MOST, NANO, amount_text, dollars, parse_usd, to_decimal, to_nano

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
        (20 * NANO, "$20", "20"),
        (0, "$0", "0"),
        (1995 * CENT, "$19.95", "19.95"),
        (5 * CENT, "$0.05", "0.05"),
        (37_500_000, "$0.0375", "0.0375"),
        (1234 * NANO, "$1,234", "1234"),
        (123_456_789_000, "$123.46", "123.456789"),
        (100 * NANO, "$100", "100"),
    ],
)
def test_amounts_as_they_are_shown(amount: int, shown: str, api: str) -> None:
    assert (dollars(amount), amount_text(amount)) == (shown, api)
    assert to_decimal(amount) == Decimal(api)
