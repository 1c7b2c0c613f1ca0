"""What `receiver submit batch` says of what it did."""

import shlex
from decimal import Decimal

from receiver.cli.batch.batch_text import is_good, is_over, standstill_text
from receiver.cli.batch.send import SendCounts
from receiver.cli.money_text import show_usd
from receiver.cli.output import pluralize, safe_line, short_time
from receiver.cli.streams import note
from receiver.client.batch_schemas import BatchView


def say_sent(view: BatchView, counts: SendCounts, left_out: int, unit: str = "row") -> None:
    """How many rows were sent, and what became of the others; `left_out` were wrong. `unit` is what each is called."""
    name = safe_line(view.name)
    new = f"{pluralize(counts.tasks, 'task')} {'was' if counts.tasks == 1 else 'were'} submitted"
    known = f", {counts.known:,} {'was' if counts.known == 1 else 'were'} sent before" if counts.known else ""
    skipped = f", {left_out:,} wrong {'row was' if left_out == 1 else 'rows were'} left out" if left_out else ""
    refused = f", {counts.refused:,} {'was' if counts.refused == 1 else 'were'} refused" if counts.refused else ""
    note(f"receiver: {new}{known}{skipped}{refused}")
    for warning in view.warnings:
        note(f"receiver: {safe_line(warning)}")
    if (why := standstill_text(view)) is not None:
        note(f"receiver: none of them goes to the provider for now: {why}")
    if counts.refused:
        note(f"receiver: correct what was refused, and repeat the command with --name {shlex.quote(name)} --reopen")
    if counts.shut_out:
        rows = f"{pluralize(counts.shut_out, unit)} {'is' if counts.shut_out == 1 else 'are'}"
        why = f" ({safe_line(view.closed_why)})" if view.closed_why else ""
        how = f"the same command with --reopen adds {'it' if counts.shut_out == 1 else 'them'}"
        note(f"receiver: {rows} not in the batch {name}: it was closed meanwhile{why}; {how}")


def say_sent_before(view: BatchView, rows: int) -> None:
    """All rows of the file were sent before."""
    all_rows = "the row was" if rows == 1 else f"all {rows:,} rows were"
    once_more = "it" if rows == 1 else "them"
    over = "" if is_over(view) else ", and the batch is under way"
    name, counts = safe_line(view.name), view.counts
    more = ""
    if counts.failed or counts.cancelled:
        parts = ((counts.failed, "failed"), (counts.cancelled, "withdrawn"))
        what = " and ".join(f"{count:,} {word}" for count, word in parts if count)
        more = f"; {what}: `receiver batch retry {shlex.quote(name)}` submits those again"
    elif is_good(view):
        more = f"; to make {once_more} once more give another --name"
    note(f"receiver: {all_rows} sent before ({short_time(view.created_at)}){over}{more}")


def say_dry_run(name: str, new: int, known: int, left_out: int) -> None:
    """What would be sent."""
    would = f"{pluralize(new, 'row')} would be sent as the batch {safe_line(name)}"
    before = f", which has {known:,} of the file already" if known else ""
    left = f"; {pluralize(left_out, 'wrong row')} would be left out" if left_out else ""
    note(f"receiver: dry run: {would}{before}{left}; nothing was sent")


def other_budget(before: BatchView, budget: str | None) -> str | None:
    """How the budget that is asked for is not that of the batch, and how to change that."""
    if budget is None or (before.budget is not None and Decimal(before.budget) == Decimal(budget)):
        return None
    name = safe_line(before.name)
    has = f"has a budget of {show_usd(before.budget)}" if before.budget else "has no budget"
    how = f"leave it out, or run `receiver costs raise {shlex.quote(name)} {budget}`"
    return f"the batch {name} {has}, and --budget does not change that: {how}"


def say_ignored(before: BatchView, budget: str | None, priority: str | None) -> None:
    """A batch keeps the budget and the priority with which it began."""
    if (other := other_budget(before, budget)) is not None:
        note(f"receiver: {other}")
    if priority is not None and priority != before.priority:
        name = safe_line(before.name)
        note(f"receiver: --priority is ignored: the batch {name} has the priority {safe_line(before.priority)}")
