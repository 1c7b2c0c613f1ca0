"""BUDGET_DAY, BUDGET_MONTH and [prices]: as people write them, and what is refused."""

import re
from pathlib import Path

import pytest

from kit.settings import refused
from receiver.config import load_settings
from receiver.core.budgets import Budget
from receiver.core.money import NANO


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("20", Budget(20 * NANO)),
        ("20 Europe/Berlin", Budget(20 * NANO, "Europe/Berlin")),
        ("$19.95 europe/berlin", Budget(19_950_000_000, "Europe/Berlin")),
        ("20 USD", Budget(20 * NANO)),
        ("20 USD America/New York", Budget(20 * NANO, "America/New_York")),
        ("0.5, UTC", Budget(NANO // 2, "UTC")),
        ("20 (Asia/Tokyo)", Budget(20 * NANO, "Asia/Tokyo")),
    ],
)
def test_a_budget_as_people_write_it(text: str, budget: Budget) -> None:
    settings = load_settings({"RECEIVER_BUDGET_DAY": text})
    assert (settings.budget_day, settings.budget_month) == (budget, None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0", "expected an amount in USD"),
        ("-5", "expected an amount in USD"),
        ("lots", "expected an amount in USD"),
        ("1,50", "write a point before the cents"),
        ("20 Berlin", r"did you mean Europe/Berlin\?"),
        ("20 +02:00", "this is an offset"),
        ("20 EUR", "unknown time zone"),
        ("2000000", "expected an amount in USD"),
    ],
)
def test_what_is_not_a_budget(text: str, says: str) -> None:
    assert re.search(says, refused({"RECEIVER_BUDGET_MONTH": text}))


def test_two_zones_are_refused_and_one_is_enough() -> None:
    two = {"RECEIVER_BUDGET_DAY": "20 Europe/Berlin", "RECEIVER_BUDGET_MONTH": "300 Asia/Tokyo"}
    assert "two time zones, Europe/Berlin and Asia/Tokyo; name the same one in both" in refused(two)
    load_settings({**two, "RECEIVER_BUDGET_MONTH": "300"})


def test_prices_are_numbers_or_texts() -> None:
    Path("receiver.toml").write_text('budget_day = 5\n[prices]\na = 0.05\nb = "$1.5"\nc = 2\n')
    settings = load_settings({})
    assert settings.prices == {"a": 50_000_000, "b": 1_500_000_000, "c": 2 * NANO}
    assert settings.budget_day == Budget(5 * NANO)


@pytest.mark.parametrize("value", ["0", "-1.0", '"much"', "true", "[1]", "nan", "inf", "{ x = 1 }"])
def test_what_is_not_a_price(value: str) -> None:
    says = refused(toml=f"[prices]\nmidjourney_outpaint = {value}\n")
    assert says == "'midjourney_outpaint' of [prices] in given.toml: expected an amount in USD, such as 0.05"


def test_prices_that_are_no_table() -> None:
    assert "[prices] in given.toml: expected lines such as" in refused(toml="prices = 5\n")
