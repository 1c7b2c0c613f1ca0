"""What a batch will cost, by what tasks of its models cost before; and the question whether that is wanted."""

import sys
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

import click
from msgspec import Struct

from receiver.cli.output import pluralize
from receiver.cli.streams import note
from receiver.client.client import Client
from receiver.client.cost_schemas import CostDimension, CostsView
from receiver.core.errors import ApiError
from receiver.core.money import format_usd, is_plausible_cost
from receiver.providers.models import short_model_name

_SINCE = "90d"  # older costs may be of other prices


class CostEstimate(Struct, frozen=True):
    """About how much, and in words how that is known."""

    amount: Decimal
    why: str


def estimate_cost(costs: CostsView, counts: Mapping[str, int]) -> CostEstimate | None:
    """What so many tasks of each model will cost; None if of one model no task ever said its cost. Pure."""
    lines = {line.name: line for line in costs.lines}
    amount, parts = Decimal(0), []
    for model, count in sorted(counts.items()):
        line = lines.get(model)
        try:
            each = Decimal(line.each) if line is not None and line.each is not None else None
        except InvalidOperation:  # it comes from a server
            each = None
        if line is None or each is None or not is_plausible_cost(each):
            return None
        amount += each * count
        past = pluralize(line.completed, "past one")
        parts.append(f"{short_model_name(model)} {format_usd(each)} × {count:,}, from {past}")
    return CostEstimate(amount, "; ".join(parts)) if parts and is_plausible_cost(amount) else None


def read_costs(client: Client) -> CostsView | None:
    """What tasks of each model cost before, if the service can tell."""
    try:
        return client.show_costs(by=CostDimension.MODEL.value, since=_SINCE)
    except ApiError:
        return None


def find_estimate(client: Client, counts: Mapping[str, int]) -> CostEstimate | None:
    """The estimate, if the service can tell what tasks cost."""
    costs = read_costs(client) if counts else None
    return None if costs is None else estimate_cost(costs, counts)


def why_not_confirmed(estimate: CostEstimate, limit: Decimal, *, reads_input: bool) -> str | None:
    """Ask whether that much may be spent, if it is more than `limit`; why it may not, if so. `reads_input`: standard
    input is the file, so nobody can answer."""
    if estimate.amount <= limit:
        return None
    if not reads_input and sys.stdin is not None and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty():
        return None if click.confirm("Submit them?", err=True) else "nothing was sent"
    more = f"that is more than {format_usd(limit)}"
    return f"{more}: say --yes if you want it, or --confirm-over with a higher amount; nothing was sent"


def show_estimate(estimate: CostEstimate, counts: Mapping[str, int]) -> None:
    """Say what is about to be sent, and what it will cost."""
    note(f"receiver: {pluralize(sum(counts.values()), 'task')}, about {format_usd(estimate.amount)} ({estimate.why})")
