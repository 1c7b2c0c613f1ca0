"""[prices] of receiver.toml: what a task of a model is expected to cost, before one has. Pure; raises SettingsError."""

from collections.abc import Mapping
from typing import Any

from receiver.core.errors import SettingsError
from receiver.core.money import parse_usd

MODELS_MOST = 200


def parse_prices(table: Any, place: str) -> Mapping[str, int]:
    """The price of each model in nano-USD, from a table of numbers or texts."""
    if not isinstance(table, dict) or len(table) > MODELS_MOST:
        raise SettingsError(f"[prices] in {place}: expected lines such as midjourney_outpaint = 0.05")
    found: dict[str, int] = {}
    for model, value in table.items():
        text = format(value, ".9f") if isinstance(value, float) else str(value)
        price = parse_usd(text)
        if price is None:
            raise SettingsError(f"{model[:80]!r} of [prices] in {place}: expected an amount in USD, such as 0.05")
        found[model] = price
    return found
