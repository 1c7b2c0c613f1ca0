"""Amounts of the API's, as people read them. Pure."""

from decimal import Decimal, InvalidOperation

from receiver.cli.output import safe_line

_CENT = Decimal("0.01")
_MOST = 1_000_000_000


def show_usd(text: str) -> str:
    """`14.9` as `$14.90`, `0.0375` as `$0.0375`, with two decimals at least; what is no amount as it is."""
    try:
        amount = Decimal(text)
    except InvalidOperation:  # it comes from a server
        return f"${safe_line(text)}"
    if not amount.is_finite() or abs(amount) > _MOST:
        return f"${safe_line(text)}"
    if abs(amount) >= 100 or amount == round(amount, 2):
        return f"${amount.quantize(_CENT):,f}"
    whole, _, part = f"{round(amount, 6):,f}".partition(".")
    return f"${whole}.{part.rstrip('0'):0<2}"
