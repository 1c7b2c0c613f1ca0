"""Rows of a file that other batches have: what is said of them, and the commands that send the others, or all."""

import shlex
from collections.abc import Mapping

import click
from click.core import ParameterSource

from receiver.cli.batch.check import ServiceCheck
from receiver.cli.batch.estimate import estimate_cost
from receiver.cli.output import pluralize, safe_line
from receiver.client.batch_schemas import BatchView
from receiver.client.cost_schemas import CostsView
from receiver.core.money import format_estimate

_NAMED_MOST = 3  # batches
_NOT_REPEATED = ("name", "reopen", "only_new", "dry_run")


def describe_earlier(elsewhere: Mapping[str, int], rows: int, title: str, unit: str = "row") -> str:
    """`149 of 150 rows of rows.csv were sent before, in the batch rows-3fa92c`; of a file with so many rows, or of what
    its `unit` is."""
    sent = sum(elsewhere.values())
    count = f"all {rows:,} {unit}s" if sent == rows > 1 else f"{sent:,} of {pluralize(rows, unit)}"
    return f"{count} of {title} {'was' if sent == 1 else 'were'} sent before, {name_batches(elsewhere)}"


def name_batches(elsewhere: Mapping[str, int]) -> str:
    """`in the batches a (3), b (2)`, by how many rows each has."""
    if len(elsewhere) == 1:
        return f"in the batch {safe_line(next(iter(elsewhere)))}"
    named = [f"{safe_line(name)} ({count:,})" for name, count in list(elsewhere.items())[:_NAMED_MOST]]
    more = len(elsewhere) - len(named)
    return f"in the batches {', '.join(named)}{f' and {more:,} others' if more else ''}"


def describe_choices(
    check: ServiceCheck, name: str, own: BatchView | None, other: BatchView | None, costs: CostsView | None
) -> str:
    """A line for each thing that can be done, with the command that does it; `own` is the batch `name`, if it is there,
    and `other` the one that has all rows which were sent before, if it is one."""
    first = next(iter(check.elsewhere))
    if not check.nowhere:
        new = f"nothing is new; what became of them: {shlex.join(('receiver', 'batch', 'show', first))}"
    else:
        options = ["--only-new"]
        if own is None and other is not None:
            options = ["--name", first, *(["--reopen"] if other.closed_at is not None else [])]
        new = f"only what is new ({about_text(check.nowhere, costs)}): {repeat_command(*options)}"
    options = ["--name", name, *(["--reopen"] if own is not None and own.closed_at is not None else [])]
    return f"  {new}\n  all once more ({about_text(check.new, costs)}): {repeat_command(*options)}"


def about_text(counts: Mapping[str, int], costs: CostsView | None) -> str:
    """`1 task, about $0.05`, as far as that is known."""
    found = None if costs is None else estimate_cost(costs, counts)
    tasks = pluralize(sum(counts.values()), "task")
    return tasks if found is None else f"{tasks}, about {format_estimate(found.amount)}"


def repeat_command(*options: str) -> str:
    """The command that is running, as it was given, with other `options` for which batch gets which rows."""
    ctx = click.get_current_context()
    words = ["receiver", *ctx.command_path.split()[1:]]
    for param in ctx.command.params:
        name = param.name or ""
        if name in _NOT_REPEATED or ctx.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value = ctx.params[name]
        for one in value if param.nargs == 1 and isinstance(value, tuple) else (value,):
            words += [] if isinstance(param, click.Argument) else [max(param.opts, key=len)]
            words += [] if one is True else [str(one)]
    return shlex.join((*words, *options))
