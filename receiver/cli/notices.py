"""`receiver notices`: the outbox, trying a target, and putting what is dead back to due."""

from collections.abc import Iterator

import click

from receiver.cli.connect import connected, full
from receiver.cli.output import age, cell, echo_json, json_option, local, table
from receiver.cli.task_text import REASONS, waits
from receiver.client.client import Client
from receiver.client.schemas import NoticeView
from receiver.core.types import NoticeState

_WAITS = 5  # which column that is
_ABOUT_LEAST = 13  # columns: so much of a ref is its milliseconds, and enough to find its task by
_EXPLAINED_MOST = 10  # notices that were not put back


@click.group()
def notices() -> None:
    """The outbox: who was told what."""


@notices.command("list")
@click.option("--state", type=click.Choice([state.value for state in NoticeState]), metavar="STATE", help="Only these.")
@click.option("--target", help="Only those to this target.")
@click.option("--ref", help="Only those of this task.")
@click.option("--history", is_flag=True, help="Every try at each, with what came back.")
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
    history: bool,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """The newest notices. With how often each was tried (×3) if more than once, until when it waits for what, its
    task's label or ref, and what came back last."""
    page = client.notices(state=state, target=target, ref=ref and full(client, ref), limit=limit, cursor=cursor)
    if as_json:
        return echo_json(page)
    if not page.notices:
        return click.echo("No notices.", err=True)
    rows: list[tuple[str, ...]] = [
        (str(it.id), cell(it.target), cell(it.event), _state(it), age(it.created_at), waits(it), _what(it))
        for it in page.notices
    ]
    if history:
        click.echo("\n".join(line for notice in page.notices for line in _history(notice)))
    else:
        heads: tuple[str, ...] = ("ID", "TARGET", "EVENT", "STATE", "AGE", "WAITS", "ABOUT")
        if not any(row[_WAITS] for row in rows):
            heads, *rows = (row[:_WAITS] + row[_WAITS + 1 :] for row in (heads, *rows))
        about = len(heads) - 1
        click.echo(table(heads, rows, shrink=(about, 1, about - 1), right=(0, 4), least={about: _ABOUT_LEAST}))
    if page.next:
        click.echo(f"There are more: --cursor {cell(page.next)}", err=True)
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
        more = f"; {left} not, as only dead notices can be" if left > 0 else ""
        if not (ids or target or to) and client.notices(state="dead", limit=1).notices:
            more = "; others are still dead: run this again; those to targets that are gone need --to NAME"
        click.echo(f"{count} put back to due{more}")


@notices.command()
@click.option("--target", required=True, metavar="NAME", help="The target to try.")
@json_option
@connected
def test(client: Client, *, target: str, as_json: bool) -> None:
    """Send a sample to a target now. It has a picture; what came back is told, status 1 if it did not arrive."""
    tried = client.test_target(target)
    if as_json:
        echo_json(tried)
    if tried.note:
        click.echo(cell(tried.note), err=True)
    if not tried.ok:
        advice = f". What to do: {cell(tried.advice)}" if tried.advice else ""
        raise click.ClickException(f"{target} did not take it ({tried.duration_ms} ms): {cell(tried.error)}{advice}")
    if not as_json:
        without = f"without a picture: {cell(tried.no_picture)}" if tried.no_picture else "as text, without a picture"
        how = f"with a picture, {cell(tried.picture)}" if tried.picture else without
        click.echo(f"{target} took it in {tried.duration_ms} ms, {how}; look whether it is there")


def _history(notice: NoticeView) -> Iterator[str]:
    about = cell(": ".join(filter(None, (notice.label or notice.ref, notice.text))))
    what = f"{cell(notice.event)}, {cell(notice.state)}"
    yield f"{notice.id} to {cell(notice.target)}: {what}, {age(notice.created_at)}, {about}"
    if notice.error and not any(attempt.error for attempt in notice.history):  # it was not even tried
        yield f"  {cell(notice.error)}"
    for attempt in notice.history:
        yield f"  {local(attempt.at)}  {attempt.duration_ms} ms  {cell(attempt.error) if attempt.error else 'sent'}"
    if notice.waits_until:
        yield f"  {local(notice.waits_until)}  {'first' if not notice.history else 'next'} try{_because(notice)}"
    elif notice.state == NoticeState.DUE:
        yield f"  {local(notice.due_at)}  {'next try' if notice.history else 'first try'}"


def _because(notice: NoticeView) -> str:
    words = REASONS.get(notice.waits_for or "")
    return f": until then {words}" if words else ""


def _why_not(client: Client, notice_id: int) -> str:
    """What a notice is, if it was not put back."""
    found = client.notices(limit=1, cursor=str(notice_id + 1)).notices  # the newest up to this id
    if not found or found[0].id != notice_id:
        return f"there is no {notice_id}"
    [notice] = found
    return f"{notice_id} is {cell(notice.state)}, to {cell(notice.target)}"


def _state(notice: NoticeView) -> str:
    return f"{cell(notice.state)} ×{notice.attempts}" if notice.attempts > 1 else cell(notice.state)


def _what(notice: NoticeView) -> str:
    """What it is about, then what is wrong: of a line that is too long, the latter is cut."""
    wrong = notice.error or notice.text
    short = notice.ref and notice.ref[:_ABOUT_LEAST] if wrong else notice.ref
    about = notice.label or short or notice.text
    return cell(": ".join(filter(None, (about, wrong if wrong != about else None))))
