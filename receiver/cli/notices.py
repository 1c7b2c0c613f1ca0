"""`receiver notices`: lists the outbox, tests a target, and puts dead notices back to due or discards them."""

from collections.abc import Iterator

import click

from receiver.cli.connect import resolve_ref, with_client
from receiver.cli.output import age, choice_option, echo_json, format_table, json_option, local_time, safe_line
from receiver.cli.streams import echo, note
from receiver.cli.task_text import WAIT_REASONS, wait_text
from receiver.client.client import Client
from receiver.client.schemas import SAMPLE_EVENTS, NoticeView, TrialView
from receiver.core.errors import ApiError
from receiver.core.handles import shorten_ref
from receiver.core.types import NoticeEvent, NoticeState

_WAITS_COLUMN = 5
_ABOUT_LEAST = 13  # columns: a ref by its end, and a word of what is wrong
_WITH_PICTURES = {NoticeEvent.COMPLETED.value, "digest"}
_EXPLAINED_MOST = 10  # of the notices that were not put back
_PAGE = 200  # as many as a page may have
_UNKNOWN_TARGET = "unknown_target"  # the API's code


@click.group()
def notices() -> None:
    """The outbox: list, test, redrive or discard notices."""


@notices.command("list")
@choice_option("--state", NoticeState, "Only this state")
@click.option("--target", help="Only notices to this target.")
@click.option("--ref", help="Only notices of this task.")
@click.option("--history", is_flag=True, help="Show every attempt, with what came back.")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="How many to list.")
@click.option("--cursor", help="Continue where an earlier page ended.")
@json_option
@with_client
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
    """List the newest notices.

    Shows how often each was tried if more than once (×3), what it waits for and until when, the label or ref of its
    task, and its last error.
    """
    page = client.list_notices(
        state=state, target=target, ref=ref and resolve_ref(client, ref, chains="first"), limit=limit, cursor=cursor
    )
    if as_json:
        return echo_json(page)
    if not page.notices:
        return note("No notices.")
    rows: list[tuple[str, ...]] = [
        (
            str(it.id),
            safe_line(it.target),
            safe_line(it.event),
            _state_text(it),
            age(it.created_at),
            wait_text(it),
            _about_text(it),
        )
        for it in page.notices
    ]
    if history:
        echo("\n".join(line for notice in page.notices for line in _history_lines(notice)))
    else:
        heads: tuple[str, ...] = ("ID", "TARGET", "EVENT", "STATE", "AGE", "WAITS", "ABOUT")
        if not any(row[_WAITS_COLUMN] for row in rows):
            heads, *rows = (row[:_WAITS_COLUMN] + row[_WAITS_COLUMN + 1 :] for row in (heads, *rows))
        about = len(heads) - 1
        echo(format_table(heads, rows, shrink=(about, 1, about - 1), right=(0, 4), least={about: _ABOUT_LEAST}))
    if page.next:
        note(f"There are more: --cursor {safe_line(page.next)}")
    return None


@notices.command()
@click.argument("ids", type=int, nargs=-1, metavar="[ID…]")
@click.option("--target", help="Only notices to this target.")
@click.option("--to", metavar="NAME", help="Send them to this target instead.")
@json_option
@with_client
def redrive(client: Client, *, ids: tuple[int, ...], target: str | None, to: str | None, as_json: bool) -> None:
    """Put dead notices back to due: those with the given IDs, or all. Exit status 1 if none of the IDs is dead."""
    try:
        count = client.redrive_notices(target=target, ids=ids or None, to=to)
    except ApiError as error:
        if error.code != _UNKNOWN_TARGET or target is None or to is not None:
            raise
        how = f"if it is gone, `receiver notices redrive --target {safe_line(target)} --to NAME` sends them elsewhere"
        raise ApiError(error.status, error.code, error.problem, error.field, remedy=how) from None
    more = ""
    if not (ids or target or to):
        also, more = _redrive_rest(client)
        count += also
    if as_json:
        echo_json({"redriven": count})
        if more:
            note(f"receiver: {more.removeprefix('; ')}")
    if ids and not count:
        reasons = "; ".join(_why_not_redriven(client, each) for each in ids[:_EXPLAINED_MOST])
        raise click.ClickException(f"nothing was put back to due: {reasons}")
    if not as_json:
        left = len(set(ids)) - count
        if left > 0:
            more = f"; {left} not, because only dead notices to targets that exist can be"
        echo(f"{count} put back to due{more}")


@notices.command(short_help="Give up dead notices for good: those with the given IDs, or a target's.")
@click.argument("ids", type=int, nargs=-1, metavar="[ID…]")
@click.option("--target", help="Only notices to this target.")
@json_option
@with_client
def discard(client: Client, *, ids: tuple[int, ...], target: str | None, as_json: bool) -> None:
    """Give up dead notices for good: those with the given IDs, or all to --target.

    They stay in the list as discarded, and the doctor no longer counts them. Exit status 1 if none of them is dead.
    """
    if not ids and target is None:
        raise click.UsageError("name the notices by their IDs, or give a --target")
    count = client.discard_notices(target=target, ids=ids or None)
    if as_json:
        echo_json({"discarded": count})
    if not count:
        raise click.ClickException(
            "nothing was discarded: only dead ones can be; see `receiver notices list --state dead`"
        )
    if not as_json:
        left = len(set(ids)) - count
        echo(f"{count} discarded{f'; {left} not, because only dead notices can be' if left > 0 else ''}")


@notices.command(short_help="Send a sample to a target now.")
@click.option("--target", metavar="NAME", help="The target to test; by default the only one.")
@click.option(
    "--event",
    type=click.Choice(SAMPLE_EVENTS),
    default=NoticeEvent.COMPLETED.value,
    metavar="EVENT",
    show_default=True,
    help=f"What the sample reports: {', '.join(SAMPLE_EVENTS[:-1])} or {SAMPLE_EVENTS[-1]}.",
)
@json_option
@with_client
def test(client: Client, *, target: str | None, event: str, as_json: bool) -> None:
    """Send a sample to a target now, with a picture if it reports pictures. Exit status 1 if the target did not accept
    it."""
    tried = client.test_target(target, event if event != NoticeEvent.COMPLETED else None)
    name = safe_line(tried.target)
    if as_json:
        echo_json(tried)
    if tried.note:
        note(safe_line(tried.note))
    if not tried.ok:
        advice = f". What to do: {safe_line(tried.advice)}" if tried.advice else ""
        raise click.ClickException(
            f"{name} did not accept it ({tried.duration_ms} ms): {safe_line(tried.error)}{advice}"
        )
    if not as_json:
        echo(f"{name} accepted it in {tried.duration_ms} ms{_picture_text(tried, event)}; check that it arrived")


def _picture_text(tried: TrialView, event: str) -> str:
    if tried.picture:
        return f", with a picture, {safe_line(tried.picture)}"
    if tried.no_picture:
        return f", without a picture: {safe_line(tried.no_picture)}"
    return ", without a picture: a target of its kind takes none" if event in _WITH_PICTURES else ""


def _history_lines(notice: NoticeView) -> Iterator[str]:
    about = safe_line(": ".join(filter(None, (notice.label or notice.ref, notice.text))))
    what = f"{safe_line(notice.event)}, {safe_line(notice.state)}"
    yield f"{notice.id} to {safe_line(notice.target)}: {what}, {age(notice.created_at)}, {about}"
    if notice.error and not any(attempt.error for attempt in notice.history):  # it was never tried
        yield f"  {safe_line(notice.error)}"
    for attempt in notice.history:
        result = safe_line(attempt.error) if attempt.error else "sent"
        yield f"  {local_time(attempt.at)}  {attempt.duration_ms} ms  {result}"
    if notice.waits_until:
        which = "next" if notice.history else "first"
        yield f"  {local_time(notice.waits_until)}  {which} try{_wait_reason(notice)}"
    elif notice.state == NoticeState.DUE:
        yield f"  {local_time(notice.due_at)}  {'next try' if notice.history else 'first try'}"


def _wait_reason(notice: NoticeView) -> str:
    words = WAIT_REASONS.get(notice.waits_for or "")
    return f": until then {words}" if words else ""


def _redrive_rest(client: Client) -> tuple[int, str]:
    """What is still dead after all were put back: more than one request takes, or notices to targets that are gone.

    Puts the former back too, target by target. Returns how many, and what to say about the rest.
    """
    page = client.list_notices(state=NoticeState.DEAD, limit=_PAGE)
    count, gone = 0, []
    for name in dict.fromkeys(it.target for it in page.notices):
        try:
            count += client.redrive_notices(target=name)
        except ApiError as error:
            if error.code != _UNKNOWN_TARGET:
                raise
            gone.append(name)
    lost = sum(it.target in gone for it in page.notices)
    if not lost:
        return count, "; others are still dead: run this again" if page.next else ""
    which = f"{'one target that is' if len(gone) == 1 else 'targets that are'} gone ({', '.join(map(safe_line, gone))})"
    number = f"{lost}{' or more' if page.next else ''} {'is' if lost == 1 and not page.next else 'are'}"
    return count, f"; {number} to {which}: `receiver notices redrive --to NAME` sends them to another"


def _why_not_redriven(client: Client, notice_id: int) -> str:
    """Why a notice was not put back."""
    found = client.list_notices(limit=1, cursor=str(notice_id + 1)).notices  # the newest up to this id
    if not found or found[0].id != notice_id:
        return f"there is no notice {notice_id}"
    [notice] = found
    if notice.state == NoticeState.DEAD:
        return f"{notice_id} is to {safe_line(notice.target)}, a target that is gone: --to NAME sends it to another"
    return f"{notice_id} is {safe_line(notice.state)}, to {safe_line(notice.target)}, and only dead ones can be"


def _state_text(notice: NoticeView) -> str:
    return f"{safe_line(notice.state)} ×{notice.attempts}" if notice.attempts > 1 else safe_line(notice.state)


def _about_text(notice: NoticeView) -> str:
    """What it is about, then what is wrong, which is cut if the line is too long."""
    wrong = notice.error or notice.text
    short = notice.ref and shorten_ref(notice.ref) if wrong else notice.ref
    about = notice.label or short or notice.text
    return safe_line(": ".join(filter(None, (about, wrong if wrong != about else None))))
