"""Money: amounts are USD. In code a price is a `Decimal`; what is summed and stored is a whole number of nano-USD.

Whole numbers, so that SQL can add them up without losing a cent; nano, so that no price that a provider names is
rounded (a ten-thousandth of a cent is a thousand of them), and nine billion dollars still fit a column.
"""

import re
from decimal import Decimal

NANO = 1_000_000_000
COST_MOST = 1_000_000 * NANO  # of one task; what says more is not a price
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


def parse_usd(text: str) -> int | None:
    """The nano-USD that `20`, `$19.95` or `20 USD` mean; None if it is not an amount, or nothing, or over a million."""
    found = _AMOUNT.fullmatch(text.strip())
    amount = int(Decimal(found[1]) * NANO) if found else 0
    return amount if 0 < amount <= COST_MOST else None


def dollars(amount: int) -> str:
    """An amount for people: `$20`, `$19.95`, `$0.0375`."""
    value = to_decimal(amount)
    if amount % NANO == 0:
        return f"${value:,.0f}"
    if amount % (NANO // 100) == 0 or abs(value) >= 100:
        return f"${value:,.2f}"
    return f"${value.quantize(Decimal('0.0001')):,.4f}"
