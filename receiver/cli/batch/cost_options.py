"""The options of commands that spend: an amount, and how much may be spent without a question."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

_DOLLARS = re.compile(r"\$?([0-9]{1,9}(\.[0-9]{1,9})?)")
_C = TypeVar("_C", bound=Callable[..., Any])


class Dollars(click.ParamType[str]):
    """An amount in USD, as text without its sign."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        found = _DOLLARS.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value} is not an amount in USD; write it as 25 or 24.50", param, ctx)
        return found[1]


def confirm_options(command: _C) -> _C:
    """Give a command --confirm-over and --yes."""
    yes = click.option("--yes", is_flag=True, help="Do not ask.")
    limit = click.option(
        "--confirm-over", type=Dollars(), default="50", show_default=True, metavar="USD", help="Ask if it costs more."
    )
    return limit(yes(command))
