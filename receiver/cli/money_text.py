"""Amounts that the API writes, as people read them."""

from decimal import Decimal, InvalidOperation

from receiver.cli.output import safe_line
from receiver.core.money import format_estimate, format_usd


def show_usd(text: str, *, about: bool = False) -> str:
    """`14.9` as `$14.90`; what a server sends that is not an amount as it is. `about`: it is only an estimate."""
    try:
        shown = (format_estimate if about else format_usd)(Decimal(text))
    except InvalidOperation:
        shown = ""
    return shown or f"${safe_line(text)}"
