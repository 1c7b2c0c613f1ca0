"""`receiver tasks`: lists, shows and watches tasks, and acts on them."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from msgspec import Struct

from receiver.cli.connect import resolve_ref, with_client
from receiver.cli.main import FAILED
from receiver.cli.output import (
    FOLDER,
    age,
    choice_option,
    display_width,
    echo_json,
    format_table,
    json_line,
    json_option,
    safe_line,
    short_time,
    terminal_width,
    time_of_day,
    wrap_prose,
)
from receiver.cli.picks import chain, pick, release
from receiver.cli.queued_line import QueuedFold
from receiver.cli.streams import echo, note
from receiver.cli.task_text import describe_task, news_text, queue_wait_brief, queue_wait_text, state_of
from receiver.cli.waiting import CONNECTION_LOST, await_pictures
from receiver.client.client import ENDS, Client
from receiver.client.schemas import TaskView
from receiver.core.errors import ApiError
from receiver.core.queue_waits import QueueReason, reason_for
from receiver.core.types import NoticeState, TaskOrigin, TaskState
from receiver.providers.models import full_model_name, short_model_name

_UNDER_WAY_MOST = 100  # tasks of each state that `watch` begins with
_WATCHED_MOST = 1000  # tasks whose last line is remembered
_CALLBACKS_MOST = 10  # that `show` lists
_NOTICES_MOST = 200  # as many as a page may have


class _Printed(Struct, frozen=True):
    """What `watch` last printed of a task."""

    state: str
    line: str
    wait: tuple[str, str | None]


@click.group()
def tasks() -> None:
    """List, watch and manage tasks.

    A REF may also be a label, or six or more characters of a ref's beginning or end, if they fit only one task. The
    label of a chain means its first task where a task is shown or gone on from; LABEL/STEP is that step.
    """


for command in (pick, release, chain):
    tasks.add_command(command)


@tasks.command("list")
@choice_option("--state", TaskState, "Only this state")
@click.option("--label", help="Only this label; * stands for any characters, as in 'hero*'.")
@click.option("--model", help="Only this model.")
@click.option("--batch", metavar="NAME", help="Only tasks of this batch.")
@click.option("--waits", type=click.Choice(["pick"]), help="Only tasks for which a person has to pick a picture.")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="How many to list.")
@click.option("--cursor", help="Continue where an earlier page ended.")
@json_option
@with_client
def list_(
    client: Client,
    *,
    state: str | None,
    label: str | None,
    model: str | None,
    batch: str | None,
    waits: str | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """List the newest tasks."""
    model = model and full_model_name(model)
    filters = {"state": state, "label": label, "model": model, "batch": batch, "waits": waits}
    page = client.search_tasks(**filters, limit=limit, cursor=cursor)
    if as_json:
        return echo_json(page)
    if not page.tasks:
        return note(f"None found yet. Search on: --cursor {safe_line(page.next)}" if page.next else "No tasks.")
    echo(_format_tasks(page.tasks))
    if page.next:
        note(f"There are more: --cursor {safe_line(page.next)}")
    return None


@tasks.command()
@click.argument("ref")
@json_option
@with_client
def show(client: Client, *, ref: str, as_json: bool) -> None:
    """Show everything known about a task, and what can be done."""
    task = client.get_task(resolve_ref(client, ref, chains="first"))
    if as_json:
        return echo_json(task)
    tree = client.get_chain(task.ref) if task.chain is not None else None
    page = client.list_callbacks(ref=task.ref, limit=_CALLBACKS_MOST)
    waiting = any(it.state in (NoticeState.DUE, NoticeState.HELD) for it in task.notices)
    notices = client.list_notices(ref=task.ref, limit=_NOTICES_MOST).notices if waiting else []
    echo(describe_task(task, page.callbacks, notices, chain=tree))
    if page.next:
        note(f"Earlier callbacks: receiver callbacks list --ref {safe_line(task.ref)}")
    return None


@tasks.command()
@click.argument("ref")
@click.argument("folder", metavar="[DIR]", type=FOLDER, default=".")
@click.option("--force", is_flag=True, help="Replace existing files.")
@click.option("--again", is_flag=True, help="First fetch again what the service could not fetch.")
@json_option
@with_client
def pictures(client: Client, *, ref: str, folder: Path, force: bool, again: bool, as_json: bool) -> None:
    """Save our copies of a task's pictures here, or in DIR.

    Waits for what the service is fetching, and prints the path of each. A file is named after the beginning of the
    REF and the picture's number. If there is one with another content already, that is an error, unless --force
    replaces it or --again leaves it as it is. Exit status 1 if a picture could not be saved.
    """
    task = client.get_task(resolve_ref(client, ref, chains="first"))
    if not task.images:
        more = "" if task.state in ENDS else " yet; `receiver tasks watch` shows when it ends"
        raise click.ClickException(f"{task.ref} is {state_of(task)} and has no pictures{more}")
    from receiver.cli.download import save_pictures  # brings more than the other commands need

    task = await_pictures(client, client.fetch_pictures(task.ref) if again else task)
    every = []
    for saved in save_pictures(client, task, folder, force=force, skip=again):
        every.append(saved)
        if saved.path is None:
            note(f"receiver: picture {saved.image_no}: {safe_line(saved.error)}")
        elif not as_json:
            echo(os.fsencode(saved.path))
    if as_json:
        echo_json(every)
    if any(saved.path is None for saved in every):
        raise click.exceptions.Exit(FAILED)


@tasks.command(short_help="Print what is under way, and each change.")
@json_option
@with_client
def watch(client: Client, *, as_json: bool) -> None:
    """Print what is under way, then a line for each change, until Ctrl-C.

    A queued task says what it waits for, and one that ended how, with the reason and the cost. More than a few queued
    ones are one line.
    """
    seen: dict[str, _Printed] = {}  # by ref
    begun, fold = False, QueuedFold()

    def fold_queued(tasks: list[TaskView]) -> list[TaskView]:
        """Without those queued ones that are too many, of which it prints a line."""
        if as_json:
            return tasks
        kept, line = fold.fold(client, tasks, seen)
        if line is not None:
            echo(f"{time_of_day(datetime.now(UTC))}  {line}")
        return kept

    def print_waits() -> None:
        """What a task waits for can change though the task does not: a queue is paused, the provider goes down."""
        for task in fold_queued(client.list_under_way(_UNDER_WAY_MOST)):
            if task.ref not in seen or _wait_key(task) != seen[task.ref].wait:
                _print_news(task, seen, as_json=as_json)

    for changed in client.stream_changes(lost=_report_lost, quiet=print_waits):
        tasks = [changed] if changed is not None else _read_missed(client, seen)
        if not begun and not tasks:
            note("Nothing is under way. Changes follow.")
        begun = True
        for task in tasks if changed is not None else fold_queued(tasks):
            _print_news(task, seen, as_json=as_json)


@tasks.command(short_help="Withdraw a queued task, and what waits for it.")
@click.argument("ref")
@click.option("--children", is_flag=True, help="Withdraw only what waits for REF, also while REF is under way.")
@json_option
@with_client
def cancel(client: Client, *, ref: str, children: bool, as_json: bool) -> None:
    """Withdraw a queued task, and all that waits for it.

    A submitted one cannot be withdrawn, but what waits for it can: with --children.
    """
    whole = resolve_ref(client, ref, chains="first" if children else None)
    try:
        task = client.cancel_children(whole) if children else client.cancel_task(whole)
    except ApiError as error:
        if error.status != 409 or not _is_unused_url(client.get_task(whole)):
            raise
        how = f"`receiver url discard {safe_line(whole)}` gives up a callback URL that was not used"
        raise ApiError(error.status, error.code, error.problem, error.field, remedy=how) from None
    done = "withdrawn, with all that waits for it" if task.chain and task.chain.children else "withdrawn"
    _print_task(task, "what waited for it is withdrawn" if children else done, as_json=as_json)


@tasks.command(short_help="Put a queued task in front.")
@click.argument("ref")
@json_option
@with_client
def first(client: Client, *, ref: str, as_json: bool) -> None:
    """Put a queued single task in front of all others. A row of a batch keeps its turn."""
    task = client.put_first(resolve_ref(client, ref))
    done = "it is submitted next"
    if task.waits_for not in (None, QueueReason.TURN, QueueReason.ROOM):
        done += f", but not now: {queue_wait_text(task)}"
    _print_task(task, done, as_json=as_json)


@tasks.command()
@click.argument("ref")
@json_option
@with_client
def poll(client: Client, *, ref: str, as_json: bool) -> None:
    """Poll the provider about a task now."""
    done = "the provider is being polled; see `receiver tasks show`"
    _print_task(client.poll_task(resolve_ref(client, ref)), done, as_json=as_json)


@tasks.command(short_help="Submit an unsure task again; it may be paid for twice.")
@click.argument("ref")
@json_option
@with_client
def resubmit(client: Client, *, ref: str, as_json: bool) -> None:
    """Submit an unsure task again, accepting that it may be paid for twice."""
    _print_task(client.resubmit_task(resolve_ref(client, ref)), "queued again", as_json=as_json)


@tasks.command("tell-id")
@click.argument("ref")
@click.argument("task_id")
@json_option
@with_client
def tell_id(client: Client, *, ref: str, task_id: str, as_json: bool) -> None:
    """Set the provider's id of a task, so that it can be polled."""
    _print_task(client.set_task_id(resolve_ref(client, ref), task_id), "the provider's id is set", as_json=as_json)


def _is_unused_url(task: TaskView) -> bool:
    return task.origin == TaskOrigin.MINTED and task.state == TaskState.WAITING


def _print_news(task: TaskView, seen: dict[str, _Printed], *, as_json: bool) -> None:
    """Print a task's line, unless it is what was printed last for that task."""
    line = json_line(task) if as_json else f"{safe_line(task.ref)}  {state_of(task):<10}  {news_text(task)}"
    before = seen.pop(task.ref, None)
    if before is None or before.line != line:
        echo(line if as_json else f"{_news_time(task)}  {line}")
    seen[task.ref] = _Printed(task.state, line, _wait_key(task))  # now the newest
    if len(seen) > _WATCHED_MOST:
        del seen[next(iter(seen))]


def _news_time(task: TaskView) -> str:
    """When its state is from: now, unless it has ended, for what ended long ago can change without being news."""
    now = datetime.now(UTC)
    ended = _parse_time(task.settled_at) if task.state in ENDS else None
    if ended is None or ended > now:
        return time_of_day(now)
    return time_of_day(ended) if now - ended < timedelta(days=1) else short_time(task.settled_at or "")


def _parse_time(moment: str | None) -> datetime | None:
    try:
        return None if moment is None else datetime.fromisoformat(moment).astimezone(UTC)
    except ValueError:
        return None


def _wait_key(task: TaskView) -> tuple[str, str | None]:
    """Its state and what it waits for, without times and figures, which change all the time."""
    return task.state, reason_for(task.waits_for, task.held_by)


def _read_missed(client: Client, seen: Mapping[str, _Printed]) -> list[TaskView]:
    """What is under way, and what became of those that were: changes may have been missed."""
    now = client.list_under_way(_UNDER_WAY_MOST)
    there = {task.ref for task in now}
    gone = [ref for ref, it in seen.items() if it.state not in ENDS and ref not in there]
    ended = (client.try_get_task(ref) for ref in gone[-_UNDER_WAY_MOST:])
    return [*(task for task in ended if task is not None), *now]


def _format_tasks(tasks: Sequence[TaskView]) -> str:
    """The table. What queued tasks wait for is a column if there is room for it, else it is said once for all below."""
    heads = ("REF", "STATE", "LABEL", "MODEL", "AGE")
    rows = [
        (safe_line(it.ref), state_of(it), safe_line(it.label), _short_model(it), age(it.created_at)) for it in tasks
    ]
    waits = [queue_wait_text(it) for it in tasks]
    if not any(waits):
        return format_table(heads, rows, shrink=(2, 3), right=(4,))
    whole = [(*row, queue_wait_brief(it)) for row, it in zip(rows, tasks, strict=True)]
    table = format_table((*heads, "WAITS"), whole, shrink=(2, 3), right=(4,))
    if (room := terminal_width()) is None or all(display_width(line) <= room for line in table.splitlines()):
        return table
    counts = Counter(filter(None, waits))
    below = (wrap_prose(f"{count} queued: {why}") for why, count in counts.most_common())
    return "\n".join((format_table(heads, rows, shrink=(2, 3), right=(4,)), *below))


def _report_lost() -> None:
    note(CONNECTION_LOST)


def _short_model(task: TaskView) -> str:
    return safe_line(short_model_name(task.model or ""))


def _print_task(task: TaskView, done: str, *, as_json: bool) -> None:
    echo_json(task) if as_json else echo(f"{safe_line(task.ref)}  {state_of(task)}  {done}")
