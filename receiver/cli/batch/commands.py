"""`receiver batch`: lists, shows, pauses and changes batches, and prints what became of their rows."""

from collections import Counter
from decimal import Decimal
from pathlib import Path

import click
from msgspec.structs import replace

from receiver.cli.batch.batch_text import (
    describe_batch,
    format_batches,
    go_on_command,
    standstill_text,
    state_of_batch,
)
from receiver.cli.batch.cost_options import confirm_options
from receiver.cli.batch.estimate import CostQuestion, ask_about_cost
from receiver.cli.batch.pictures import pictures
from receiver.cli.batch.results import ResultsFile, format_csv, write_results
from receiver.cli.connect import with_client
from receiver.cli.main import WRONG
from receiver.cli.output import echo_json, echo_json_line, json_option, pluralize, safe_line
from receiver.cli.streams import echo, note
from receiver.client.batch_schemas import BatchChange
from receiver.client.client import Client
from receiver.core.errors import ApiError
from receiver.core.types import TaskState

_TRIED_AGAIN = (TaskState.FAILED, TaskState.CANCELLED)


@click.group()
def batch() -> None:
    """List, show and change batches. `receiver submit batch` makes one."""


batch.add_command(pictures)


@batch.command("list")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="How many to list.")
@click.option("--cursor", help="Continue where an earlier page ended.")
@json_option
@with_client
def list_(client: Client, *, limit: int, cursor: str | None, as_json: bool) -> None:
    """List the newest batches."""
    page = client.list_batches(limit=limit, cursor=cursor)
    if as_json:
        return echo_json(page)
    if not page.batches:
        return note("No batches. `receiver submit batch FILE` makes one.")
    echo(format_batches(page.batches))
    if page.next:
        note(f"There are more: --cursor {safe_line(page.next)}")
    return None


@batch.command()
@click.argument("name")
@json_option
@with_client
def show(client: Client, *, name: str, as_json: bool) -> None:
    """Show how far a batch is, what failed, and what can be done."""
    found = client.get_batch(name)
    echo_json(found) if as_json else echo(describe_batch(found))


@batch.command(short_help="Print what became of each row, as CSV.")
@click.argument("name")
@click.option("--results", "path", type=ResultsFile(), metavar="PATH", help="Write them here: .csv or .jsonl.")
@click.option("--after", type=click.IntRange(min=0), metavar="LINE", help="Only the rows after this line.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines, as the API returns them.")
@with_client
def results(client: Client, *, name: str, path: Path | None, after: int | None, as_json: bool) -> None:
    """Print what became of each row so far, as CSV, by line."""
    found = client.stream_results(name, after=after)
    if path is not None:
        note(f"receiver: {pluralize(write_results(path, found), 'result')} in {path}")
    elif as_json:
        for result in found:
            echo_json_line(result)
    else:
        for line in format_csv(found):
            echo(line, nl=False)


@batch.command()
@click.argument("name")
@json_option
@with_client
def pause(client: Client, *, name: str, as_json: bool) -> None:
    """Send no more of a batch's tasks. Those in hand go on."""
    _change(client, name, "pause", "`{command}` lets it go on", as_json=as_json)


@batch.command()
@click.argument("name")
@json_option
@with_client
def resume(client: Client, *, name: str, as_json: bool) -> None:
    """Go on with a paused batch."""
    _change(client, name, "resume", "it goes on", as_json=as_json)


@batch.command()
@click.argument("name")
@json_option
@with_client
def cancel(client: Client, *, name: str, as_json: bool) -> None:
    """Withdraw a batch's queued tasks. Submitted ones cannot be withdrawn."""
    _print_change(_change_rows(client, name, "cancel", "withdrawn"), "{} withdrawn", as_json=as_json)


@batch.command(short_help="Submit again what failed or was cancelled.")
@click.argument("name")
@confirm_options
@json_option
@with_client
def retry(client: Client, *, name: str, confirm_over: str, yes: bool, as_json: bool) -> None:
    """Submit again a batch's failed and cancelled tasks, in the same batch. Each is paid for like any other.

    What is unsure or lost is not submitted again: it may have been paid for. `receiver tasks show REF` says how to
    find out.
    """
    refusal = ask_about_cost(client, _count_failed(client, name), CostQuestion(Decimal(confirm_over), yes))
    if refusal is not None:
        note(f"receiver: {refusal}")
        raise click.exceptions.Exit(WRONG)
    _print_change(_change_rows(client, name, "retry", "queued again"), "{} queued again", as_json=as_json)


def _count_failed(client: Client, name: str) -> Counter[str]:
    """How many tasks of each model would be tried again."""
    counts = client.get_batch(name).counts
    if not counts.failed + counts.cancelled:
        return Counter()
    rows = client.stream_results(name)
    return Counter(it.model for it in rows if it.model and it.state in _TRIED_AGAIN and it.confirmed)


def _change_rows(client: Client, name: str, change: str, done: str) -> BatchChange:
    """Change many tasks, by one call after the other; says how far it came if that is broken off."""
    count = 0
    try:
        for part in client.change_rows(name, change):
            count += part.changed
    except (ApiError, KeyboardInterrupt):
        if count:
            note(f"receiver: {pluralize(count, 'task')} {done} so far; the same command goes on")
        raise
    return replace(part, changed=count)


def _change(client: Client, name: str, change: str, done: str, *, as_json: bool) -> None:
    _print_change(client.change_batch(name, change), done, as_json=as_json)


def _print_change(changed: BatchChange, done: str, *, as_json: bool) -> None:
    if as_json:
        return echo_json(changed)
    text = done.format(pluralize(changed.changed, "task"), command=go_on_command(changed.batch))
    echo(f"{safe_line(changed.batch.name)}  {state_of_batch(changed.batch)}  {text}")
    if (why := standstill_text(changed.batch)) is not None and "{command}" not in done:
        note(f"receiver: no task of it goes to the provider for now: {why}")
    return None
