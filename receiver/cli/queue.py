"""`receiver queue`: how submitting stands, and to pause or resume it."""

import click

from receiver.cli.connect import with_client
from receiver.cli.output import echo_json, format_table, json_option, safe_line, short_time
from receiver.cli.streams import echo
from receiver.cli.wait_text import wait_words
from receiver.client.client import Client
from receiver.client.queue_schemas import QueuedLane, QueueView
from receiver.core.queue_waits import QueueReason, describe_reason

_PAUSED = "paused: nothing is submitted until `receiver queue resume`; what is in hand goes on"


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
    _print_queue(client.pause_queue(), as_json=as_json, done=_PAUSED)


@queue.command()
@json_option
@with_client
def resume(client: Client, *, as_json: bool) -> None:
    """Submit again."""
    _print_queue(client.resume_queue(), as_json=as_json, done="resumed")


def _print_queue(view: QueueView, *, as_json: bool, done: str = "") -> None:
    if as_json:
        echo_json(view)
        return
    echo("\n".join(filter(None, (done, describe_queue(view, is_said=done == _PAUSED)))))


def describe_queue(view: QueueView, *, is_said: bool = False) -> str:
    """How submitting stands, in a line or two, and a table of what is queued. `is_said`: that it is paused."""
    lines = [f"{view.in_hand} of {view.places} in hand"]
    if view.places < view.concurrency:
        more = f"; one more is tried at {short_time(view.more_at)}" if view.more_at else ""
        lines[0] += f" (PROVIDER_CONCURRENCY is {view.concurrency}, but the provider refused more{more})"
    if view.waits_for not in (None, QueueReason.TURN) and (view.lanes or view.paused_at) and not is_said:
        words = wait_words(view.waits_for or "", view)
        lines.append(safe_line(f"waits: {words}" if view.lanes else words))
    if not view.lanes:
        return "\n".join((*lines, "nothing is queued"))
    rows = [
        (
            safe_line(lane.name) if lane.batch else "single tasks",
            safe_line(lane.priority),
            str(lane.queued),
            safe_line(_lane_words(lane, view)),
        )
        for lane in view.lanes
    ]
    return "\n".join((*lines, format_table(("QUEUED", "PRIORITY", "TASKS", "WAITS"), rows, shrink=(0,), right=(2,))))


def _lane_words(lane: QueuedLane, view: QueueView) -> str:
    """What a lane's next task waits for, briefly if all wait for that."""
    if lane.paused_at:
        return f"paused: {lane.paused_why or 'by a person'}"
    if lane.waits_for is None:  # of an older service
        return ""
    is_common = (lane.waits_for, lane.waits_detail) == (view.waits_for, view.waits_detail)
    return describe_reason(lane.waits_for) if is_common else wait_words(lane.waits_for, lane)
