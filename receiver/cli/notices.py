"""`receiver notices`: the outbox, and putting what is dead back to due."""

import click

from receiver.cli.service import connected, full
from receiver.cli.text import age, cell, echo_json, json_option, table
from receiver.client import Client
from receiver.model import NoticeState
from receiver.views import NoticeView

_EXPLAINED_MOST = 10  # notices that were not put back


@click.group()
def notices() -> None:
    """The outbox: who was told what."""


@notices.command("list")
@click.option("--state", type=click.Choice([state.value for state in NoticeState]), metavar="STATE", help="Only these.")
@click.option("--target", help="Only those to this target.")
@click.option("--ref", help="Only those of this task.")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="How many.")
@click.option("--cursor", help="Go on where an earlier page ended.")
@json_option
@connected
def list_(
    client: Client,
    *,
    state: str | None,
    target: str | None,
    ref: str | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """The newest notices."""
    page = client.notices(state=state, target=target, ref=ref and full(client, ref), limit=limit, cursor=cursor)
    if as_json:
        return echo_json(page)
    if not page.notices:
        return click.echo("No notices.", err=True)
    rows = [
        (str(it.id), cell(it.target), it.event, it.state, str(it.attempts), age(it.created_at), _what(it))
        for it in page.notices
    ]
    heads = ("ID", "TARGET", "EVENT", "STATE", "TRIES", "AGE", "ABOUT")
    click.echo(table(heads, rows, shrink=(6,), right=(0, 4, 5)))
    if page.next:
        click.echo(f"There are more: --cursor {page.next}", err=True)
    return None


@notices.command()
@click.argument("ids", type=int, nargs=-1, metavar="[ID…]")
@click.option("--target", help="Only those to this target.")
@click.option("--to", metavar="NAME", help="Send them to this target instead.")
@json_option
@connected
def redrive(client: Client, *, ids: tuple[int, ...], target: str | None, to: str | None, as_json: bool) -> None:
    """Put dead notices back to due: those named, or all. Status 1 if none of those named was dead."""
    count = client.redrive(target=target, ids=ids or None, to=to)
    if as_json:
        echo_json({"redriven": count})
    if ids and not count:
        told = "; ".join(_why_not(client, each) for each in ids[:_EXPLAINED_MOST])
        raise click.ClickException(f"nothing was put back to due, as only dead notices can be: {told}")
    if not as_json:
        left = len(set(ids)) - count
        click.echo(f"{count} put back to due" + (f"; {left} not, as only dead notices can be" if left > 0 else ""))


def _why_not(client: Client, notice_id: int) -> str:
    """What a notice is, if it was not put back."""
    found = client.notices(limit=1, cursor=str(notice_id + 1)).notices  # the newest up to this id
    if not found or found[0].id != notice_id:
        return f"there is no {notice_id}"
    [notice] = found
    return f"{notice_id} is {notice.state}, to {cell(notice.target)}"


def _what(notice: NoticeView) -> str:
    return cell(notice.error or notice.text or notice.ref)
