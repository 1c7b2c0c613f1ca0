"""`receiver costs`: what was spent, how the budgets stand, and to raise one."""

import csv
import io
import re
from datetime import date, timedelta
from pathlib import Path

import click
import msgspec

from receiver.cli.connect import connect, with_client
from receiver.cli.money_text import show_usd
from receiver.cli.output import (
    choice_option,
    config_option,
    echo_json,
    format_table,
    json_option,
    safe_line,
    short_time,
)
from receiver.cli.streams import echo, note
from receiver.client.client import Client
from receiver.client.cost_schemas import BudgetRaise, BudgetView, CostDimension, CostLine, CostsView
from receiver.core.budgets import PeriodKind
from receiver.core.money import parse_usd

_SINCE = re.compile(r"[0-9]{1,5}d|[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


@click.group(invoke_without_command=True, short_help="What was spent, and how the budgets stand.")
@choice_option("--by", CostDimension, "What to sum by (default: day)")
@click.option("--since", metavar="WHEN", help="From this day on: 7d, or 2026-11-01. By default 30d; of months, 366d.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@json_option
@config_option
@click.pass_context
def costs(
    ctx: click.Context, /, *, by: str | None, since: str | None, as_csv: bool, as_json: bool, file: Path | None
) -> None:
    """Show what was spent, and how the budgets stand. Costs are USD, as the provider reports them."""
    if ctx.invoked_subcommand is not None:
        return
    if since is not None and _SINCE.fullmatch(since) is None:
        how = f"write it as 7d (the last 7 days) or as a day, such as {date.today() - timedelta(days=1)}"
        raise click.BadParameter(f"{since} is not a day: {how}", param_hint="--since")
    with connect(file) as client:
        view = client.show_costs(by=by, since=since)
    if as_json:
        echo_json(view)
    elif as_csv:
        echo(costs_csv(view))
    else:
        echo(describe_costs(view))
        if view.more:
            note("There are more lines; the total includes them.")


@costs.command("raise", short_help="Raise the budget of this day or month, or of a batch.")
@click.argument("period", metavar="day|month|BATCH")
@click.argument("limit")
@json_option
@with_client
def raise_(client: Client, *, period: str, limit: str, as_json: bool) -> None:
    """Use LIMIT (in USD, all that may be spent, not what is added) as the budget of the present day or month; the next
    one has that of the settings again. Or as the budget of a batch, which goes on if it was paused because of that. A
    lower LIMIT takes a higher one back, as far as it is not spent."""
    amount = limit.strip().removeprefix("$")
    if parse_usd(amount) is None:
        raise click.BadParameter("expected an amount in USD, such as 30", param_hint="LIMIT")
    view = client.raise_budget(BudgetRaise(period, amount))
    if as_json:
        echo_json(view)
    elif period in set(PeriodKind):
        echo("\n".join(describe_budget(it) for it in view.budgets if it.period == period))
    else:
        echo(f"{safe_line(period)} may cost up to {show_usd(amount)}")


def describe_costs(view: CostsView) -> str:
    """The lines as a table, with the total, and a line for each budget."""
    heads = [view.by.upper(), "TASKS", "COMPLETED", "FAILED", "LOST", "COST", "EACH"]
    heads += ["UNKNOWN (EST.)", "IN HAND (EST.)"]
    rows = [_row(_name(line, view.by), line) for line in view.lines]
    table = [*rows, _row("total", view.total)] if len(rows) != 1 else rows
    if not view.total.lost:
        lost = heads.index("LOST")
        heads, table = heads[:lost] + heads[lost + 1 :], [row[:lost] + row[lost + 1 :] for row in table]
    text = format_table(heads, table, shrink=(0,), right=range(1, len(heads)))
    if not rows:
        text = f"Nothing was spent since {safe_line(view.since)}."
    return "\n".join((text, *map(describe_budget, view.budgets)))


def describe_budget(budget: BudgetView) -> str:
    """How a budget stands, in a line."""
    raised = ", raised for now" if budget.raised else ""
    reserved = f" and {show_usd(budget.reserved)} reserved" if parse_usd(budget.reserved) else ""
    spent = f"{show_usd(budget.spent)} spent{reserved} of {show_usd(budget.limit)}{raised}"
    return safe_line(f"this {budget.period}: {spent}; the next begins at {short_time(budget.ends_at)}")


def costs_csv(view: CostsView) -> str:
    """The lines as CSV with a header, without the total."""
    names = list(CostLine.__struct_fields__)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([view.by, *names[1:]])
    for line in view.lines:
        name, *values = msgspec.structs.astuple(line)
        writer.writerow([f"'{name}" if str(name).startswith(_FORMULA) else name, *values])
    return out.getvalue().rstrip("\n")


def _row(name: str, line: CostLine) -> list[str]:
    in_hand = f"{show_usd(line.reserved)} ({line.in_hand})" if line.in_hand else ""
    unknown = f"{line.unknown:,}" if line.unknown else ""
    if line.unknown and parse_usd(line.presumed):
        unknown = f"{show_usd(line.presumed)} ({unknown})"
    return [
        name,
        *(f"{count:,}" for count in (line.tasks, line.completed, line.failed, line.lost)),
        show_usd(line.cost),
        show_usd(line.each) if line.each is not None and line.completed else "",
        unknown,
        in_hand,
    ]


def _name(line: CostLine, by: str) -> str:
    if line.name is None and by == CostDimension.BATCH:
        return "single tasks"
    return safe_line(line.name)
