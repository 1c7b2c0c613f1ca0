"""Money: amounts are USD. In code a price is a `Decimal`; what is summed and stored is a whole number of nano-USD.

Whole numbers, so that SQL can add them up without losing a cent; nano, so that no price that a provider names is
rounded (a ten-thousandth of a cent is a thousand of them), and nine billion dollars still fit a column.
"""

import re
from decimal import Decimal

NANO = 1_000_000_000
COST_MOST = 1_000_000 * NANO  # of one task; what says more is not a price
_CENTS_FROM = 100  # dollars; nobody cares for a tenth of a cent there
_AMOUNT = re.compile(r"\$?\s*([0-9]{1,7}(?:\.[0-9]{1,9})?)\s*(?:\$|USD)?", re.IGNORECASE)


def to_nano(cost: Decimal | None) -> int | None:
    """The cost of one task in nano-USD; None if it is unknown, or cannot be a price (negative, not a number)."""
    if cost is None or not cost.is_finite() or not 0 <= cost <= COST_MOST // NANO:
        return None
    return int((cost * NANO).to_integral_value())


def to_decimal(amount: int) -> Decimal:
    """An amount as exact dollars."""
    return Decimal(amount) / NANO


def amount_text(amount: int) -> str:
    """An amount as the API writes it: `0.05`, `20`."""
    return f"{to_decimal(amount).normalize():f}"


def round_amount(amount: int) -> int:
    """What an average or an estimate is worth saying of an amount: whole cents from ten cents on, below that whole
    hundredths of a cent."""
    step = NANO // 100 if amount >= NANO // 10 else NANO // 10_000
    return (amount + step // 2) // step * step


def parse_usd(text: str) -> int | None:
    """The nano-USD that `20`, `$19.95` or `20 USD` mean; None if it is not an amount, or nothing, or over a million."""
    found = _AMOUNT.fullmatch(text.strip())
    amount = int(Decimal(found[1]) * NANO) if found else 0
    return amount if 0 < amount <= COST_MOST else None


def is_plausible_cost(cost: Decimal) -> bool:
    """Whether `cost` can be an amount of money; 1E+999999 would print a million digits."""
    return cost.is_finite() and cost.adjusted() <= 9 and cost >= 0


def format_usd(cost: Decimal | None) -> str:
    """An amount for people, the same wherever one is shown: `$20.00`, `$19.95`, `$0.0375`, `$1,234.57`. From a hundred
    dollars on it has two decimals, below that up to six if it needs them. Empty if it is unknown or implausible.
    """
    if cost is None or not is_plausible_cost(cost):
        return ""
    return f"${cost:,.2f}" if cost >= _CENTS_FROM else f"${short_decimal(cost)}"


def format_estimate(cost: Decimal) -> str:
    """What something may cost, for people: from ten cents on in whole cents, as nobody knows it better."""
    amount = to_nano(cost)
    return format_usd(cost if amount is None else to_decimal(round_amount(amount)))


def dollars(amount: int) -> str:
    """Nano-USD for people, as `format_usd` writes them."""
    return format_usd(to_decimal(max(0, amount)))


def short_decimal(cost: Decimal) -> str:
    """A plausible cost with two to six decimals and nothing else, for programs."""
    whole, _, part = f"{round(abs(cost), 6):f}".partition(".")
    return f"{whole}.{part.rstrip('0'):0<2}"
