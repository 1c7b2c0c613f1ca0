"""`receiver notices`: the outbox, and putting what is dead back to due."""

import click

from receiver.cli.service import connect
from receiver.cli.text import age, cell, echo_json, json_option, table
from receiver.model import NoticeState
from receiver.views import NoticeView


@click.group()
def notices() -> None:
    """The outbox: who was told what."""


@notices.command("list")
@click.option("--state", type=click.Choice([state.value for state in NoticeState]), metavar="STATE", help="Only these.")
@click.option("--target", help="Only those to this target.")
@click.option("--ref", help="Only those of this task.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@click.option("--cursor", help="Go on where an earlier page ended.")
@json_option
def list_(
    *, state: str | None, target: str | None, ref: str | None, limit: int, cursor: str | None, as_json: bool
) -> None:
    """The newest notices."""
    with connect() as client:
        page = client.notices(state=state, target=target, ref=ref, limit=limit, cursor=cursor)
    if as_json:
        return echo_json(page)
    if not page.notices:
        return click.echo("No notices.", err=True)
    rows = [
        (str(it.id), cell(it.target), it.event, it.state, str(it.attempts), age(it.created_at), _what(it))
        for it in page.notices
    ]
    heads = ("ID", "TARGET", "EVENT", "STATE", "TRIES", "AGE", "ABOUT")
    click.echo(table(heads, rows, shrink=6, right=(0, 4, 5)))
    if page.next:
        click.echo(f"There are more: --cursor {page.next}", err=True)
    return None


@notices.command()
@click.argument("ids", type=int, nargs=-1, metavar="[ID…]")
@click.option("--target", help="Only those to this target.")
@click.option("--to", metavar="NAME", help="Send them to this target instead.")
@json_option
def redrive(*, ids: tuple[int, ...], target: str | None, to: str | None, as_json: bool) -> None:
    """Put dead notices back to due: those named, or all."""
    with connect() as client:
        count = client.redrive(target=target, ids=ids or None, to=to)
    echo_json({"redriven": count}) if as_json else click.echo(f"{count} put back to due")


def _what(notice: NoticeView) -> str:
    return cell(notice.error or notice.text or notice.ref)
