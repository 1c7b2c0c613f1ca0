"""`receiver callbacks`: shows what the provider sent, byte for byte, and parses it again."""

import base64
import sys

import click

from receiver.cli.connect import resolve_ref, with_client
from receiver.cli.output import (
    age,
    choice_option,
    echo_json,
    echo_json_line,
    format_facts,
    format_table,
    json_option,
    local_time,
    safe_line,
    safe_text,
)
from receiver.cli.streams import echo, note
from receiver.client.client import Client
from receiver.client.schemas import CallbackView
from receiver.core.types import Verdict


@click.group()
def callbacks() -> None:
    """Show what the provider sent, or replay it."""


@callbacks.command("list")
@click.option("--ref", help="Only callbacks of this task.")
@choice_option("--verdict", Verdict, "Only this verdict")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="How many to list.")
@click.option("--cursor", help="Continue where an earlier page ended.")
@json_option
@with_client
def list_(
    client: Client, *, ref: str | None, verdict: str | None, limit: int, cursor: str | None, as_json: bool
) -> None:
    """List the newest callbacks."""
    page = client.list_callbacks(
        ref=ref and resolve_ref(client, ref, chains="first"), verdict=verdict, limit=limit, cursor=cursor
    )
    if as_json:
        return echo_json(page)
    if not page.callbacks:
        return note("No callbacks.")
    rows = [
        (str(it.id), safe_line(it.verdict), safe_line(it.ref), str(it.size), age(it.received_at))
        for it in page.callbacks
    ]
    echo(format_table(("ID", "VERDICT", "REF", "BYTES", "AGE"), rows, shrink=(2,), right=(0, 3, 4)))
    if page.next:
        note(f"There are more: --cursor {safe_line(page.next)}")
    return None


@callbacks.command(short_help="Show one callback, its body verbatim.")
@click.argument("id", type=int)
@json_option
@with_client
def show(client: Client, *, id: int, as_json: bool) -> None:  # noqa: A002 - what it is called on the command line
    """Show one callback: its facts on standard error, its body, verbatim, on standard output."""
    callback = client.get_callback(id)
    if as_json:
        return echo_json(callback)
    note(_callback_facts(callback) + "\n")
    body = _decode_body(callback)
    if body is None:
        return note("(the bytes were not kept)")
    return echo(
        safe_text(body.decode("utf-8", "backslashreplace")) if sys.stdout.isatty() else body, nl=sys.stdout.isatty()
    )


@callbacks.command()
@click.argument("ids", type=int, nargs=-1, required=True, metavar="ID…")
@click.option("--accept", is_flag=True, help="Believe what they say, because you have checked it.")
@json_option
@with_client
def replay(client: Client, *, ids: tuple[int, ...], accept: bool, as_json: bool) -> None:
    """Parse stored callbacks again, by this version's rules."""
    for each in ids:
        verdict = client.replay_callback(each, accept=accept).verdict
        echo_json_line({"id": each, "verdict": verdict}) if as_json else echo(f"{each}  {safe_line(verdict)}")


def _callback_facts(callback: CallbackView) -> str:
    return format_facts(
        [
            ("callback", str(callback.id)),
            ("task", safe_line(callback.ref)),
            ("received", local_time(callback.received_at)),
            ("verdict", safe_line(callback.verdict)),
            ("replay of", None if callback.replay_of is None else str(callback.replay_of)),
            ("bytes", str(callback.size)),
            *((safe_line(name), safe_line(value)) for name, value in callback.headers.items()),
        ]
    )


def _decode_body(callback: CallbackView) -> bytes | None:
    if callback.body is not None:
        return callback.body.encode()
    try:
        return None if callback.body_base64 is None else base64.b64decode(callback.body_base64)
    except ValueError:
        raise click.ClickException("the server sent a body that is not base64: check RECEIVER_SERVER") from None
