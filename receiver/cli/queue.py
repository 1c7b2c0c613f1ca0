"""`receiver queue`: how submitting stands, and to pause or resume it."""

import click

from receiver.cli.connect import with_client
from receiver.cli.output import echo_json, format_table, json_option, safe_line, short_time
from receiver.cli.streams import echo
from receiver.client.client import Client
from receiver.client.queue_schemas import QueueView
from receiver.core.queue_waits import QueueReason, describe_wait


@click.group()
def queue() -> None:
    """Show how submitting stands; pause and resume it."""


@queue.command()
@json_option
@with_client
def show(client: Client, *, as_json: bool) -> None:
    """Show what is in hand, what waits, and for what."""
    _print_queue(client.show_queue(), as_json=as_json)


@queue.command(short_help="Submit nothing more until it is resumed.")
@json_option
@with_client
def pause(client: Client, *, as_json: bool) -> None:
    """Submit nothing more until `receiver queue resume`, over restarts too. What the provider has goes on."""
    _print_queue(client.pause_queue(), as_json=as_json)


@queue.command()
@json_option
@with_client
def resume(client: Client, *, as_json: bool) -> None:
    """Submit again."""
    _print_queue(client.resume_queue(), as_json=as_json)


def _print_queue(view: QueueView, *, as_json: bool) -> None:
    if as_json:
        echo_json(view)
        return
    echo(describe_queue(view))


def describe_queue(view: QueueView) -> str:
    """How submitting stands, in a line or two, and a table of what is queued."""
    lines = [f"{view.in_hand} of {view.places} in hand"]
    if view.places < view.concurrency:
        more = f"; one more is tried at {short_time(view.more_at)}" if view.more_at else ""
        lines[0] += f" (PROVIDER_CONCURRENCY is {view.concurrency}, but the provider refused more{more})"
    if view.waits_for not in (None, QueueReason.TURN) and (view.lanes or view.paused_at):
        since = short_time(view.waits_since) if view.waits_since else None
        until = short_time(view.waits_until) if view.waits_until else None
        words = describe_wait(view.waits_for, since, until, view.waits_detail)
        lines.append(safe_line(f"waits: {words}" if view.lanes else words))
    if not view.lanes:
        return "\n".join((*lines, "nothing is queued"))
    rows = [
        (
            safe_line(lane.name) if lane.batch else "single tasks",
            safe_line(lane.priority),
            str(lane.queued),
            safe_line(f"paused{f': {lane.paused_why}' if lane.paused_why else ''}") if lane.paused_at else "",
        )
        for lane in view.lanes
    ]
    return "\n".join((*lines, format_table(("QUEUED", "PRIORITY", "TASKS", ""), rows, shrink=(0,), right=(2,))))
