"""`receiver tasks`: what is under way, what became of it, and what a person may do about it."""

from collections.abc import Iterator
from datetime import UTC, datetime

import click

from receiver.cli.service import connect
from receiver.cli.text import age, cell, clock, echo_json, echo_json_line, facts, json_option, local, table
from receiver.messages import ADVICE
from receiver.model import Hold, State
from receiver.views import TaskView

_HELD = {
    Hold.PARENT: "it waits for the task that it builds on",
    Hold.BUDGET: "the budget is used up",
    Hold.PAUSE: "the provider refuses the key or the balance; mend that, and it goes on by itself",
}


@click.group()
def tasks() -> None:
    """What is under way, and what became of it."""


@tasks.command("list")
@click.option("--state", type=click.Choice([state.value for state in State]), metavar="STATE", help="Only these.")
@click.option("--label", help="Only those of this label.")
@click.option("--model", help="Only those of this model.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@click.option("--cursor", help="Go on where an earlier page ended.")
@json_option
def list_(
    *, state: str | None, label: str | None, model: str | None, limit: int, cursor: str | None, as_json: bool
) -> None:
    """The newest tasks."""
    with connect() as client:
        page = client.tasks(state=state, label=label, model=model, limit=limit, cursor=cursor)
    if as_json:
        return echo_json(page)
    if not page.tasks:
        return click.echo("No tasks.", err=True)
    rows = [(task.ref, _state(task), cell(task.label), _model(task), age(task.created_at)) for task in page.tasks]
    click.echo(table(("REF", "STATE", "LABEL", "MODEL", "AGE"), rows, shrink=2, right=(4,)))
    if page.next:
        click.echo(f"There are more: --cursor {page.next}", err=True)
    return None


@tasks.command()
@click.argument("ref")
@json_option
def show(*, ref: str, as_json: bool) -> None:
    """All that is known of one task."""
    with connect() as client:
        task = client.task(ref)
    echo_json(task) if as_json else click.echo(describe(task))


@tasks.command()
@json_option
def watch(*, as_json: bool) -> None:
    """A line for each change, until Ctrl-C."""
    with connect() as client:
        for task in client.stream():
            if task is None:
                continue
            if as_json:
                echo_json_line(task)
            else:
                click.echo(f"{clock(datetime.now(UTC))}  {task.ref}  {_state(task):<10}  {_progress(task)}")


@tasks.command()
@click.argument("ref")
@json_option
def cancel(*, ref: str, as_json: bool) -> None:
    """Withdraw a queued task: the provider takes nothing back."""
    with connect() as client:
        _tell(client.cancel(ref), "withdrawn", as_json=as_json)


@tasks.command()
@click.argument("ref")
@json_option
def poll(*, ref: str, as_json: bool) -> None:
    """Ask the provider about a task now."""
    with connect() as client:
        _tell(client.poll(ref), "the provider is asked now; `receiver tasks show` tells what it says", as_json=as_json)


@tasks.command()
@click.argument("ref")
@json_option
def resubmit(*, ref: str, as_json: bool) -> None:
    """Send an unsure task again, accepting that it may be paid for twice."""
    with connect() as client:
        _tell(client.resubmit(ref), "queued again", as_json=as_json)


@tasks.command("tell-id")
@click.argument("ref")
@click.argument("task_id")
@json_option
def tell_id(*, ref: str, task_id: str, as_json: bool) -> None:
    """Tell the provider's id of a task, so that it can be polled."""
    with connect() as client:
        _tell(client.tell_id(ref, task_id), "it can be polled now", as_json=as_json)


def describe(task: TaskView) -> str:
    """All that is known of a task, for a person: facts, pictures, notices, and what to do, if anything."""
    parts = [facts(_facts(task)), *_pictures(task), *_notices(task), *(f"What to do: {it}" for it in _advice(task))]
    return "\n".join(parts)


def _facts(task: TaskView) -> Iterator[tuple[str, str | None]]:
    yield "ref", task.ref
    yield "state", _state_in_words(task)
    yield "label", task.label and cell(task.label)
    yield "model", task.model and cell(task.model)
    for name, value in task.params.items():
        yield f"  {cell(name)}", cell(str(value))
    yield "provider's id", task.task_id and cell(task.task_id)
    yield "origin", task.origin if task.origin != "submitted" else None
    yield "created", _when(task.created_at)
    yield "submitted", _when(task.submitted_at)
    yield "settled", _when(task.settled_at)
    yield "made jobId", ", ".join(dict.fromkeys(cell(image.job_id) for image in task.images if image.job_id))
    yield "polls", str(task.polls) if task.polls else None
    yield "cost", f"${cell(task.usage.cost)}" if task.usage and task.usage.cost else None
    if task.error:
        yield "error", cell(" ".join(filter(None, (task.error.code, task.error.message))))


def _pictures(task: TaskView) -> Iterator[str]:
    for image in task.images:
        # Whole, however long: it has to open.
        yield f"{cell(image.type)} {image.image_no}  {_plain(image.url)}"


def _notices(task: TaskView) -> Iterator[str]:
    for notice in task.notices:
        tries = f" after {notice.attempts} tries" if notice.attempts > 1 else ""
        why = f": {cell(notice.error)}" if notice.error else ""
        yield f"notice to {cell(notice.target)}: {notice.event}, {notice.state}{tries}{why}"


def _advice(task: TaskView) -> Iterator[str]:
    if task.unsure and task.state in (State.WAITING, State.LOST):
        yield (
            "nobody knows whether the provider took it, as its answer never came. A callback would settle it; "
            f"`receiver tasks tell-id {task.ref} ID` if you know its id; `receiver tasks resubmit {task.ref}` sends it "
            "again, and it may be paid twice."
        )
    elif task.state == State.LOST:
        yield f"`receiver tasks poll {task.ref}` asks once more; a late callback still settles it."
    if task.state == State.FAILED and task.error and task.error.code in ADVICE:
        yield ADVICE[task.error.code]
    if task.held_by:
        yield f"{_HELD[Hold(task.held_by)]}."
    if not task.confirmed:
        yield "look before you rely on it: a callback said so, and the provider could not be asked."
    if any(notice.state == "dead" for notice in task.notices):
        yield "mend the target, then `receiver notices redrive`."


def _state(task: TaskView) -> str:
    """The state, with a question mark where there is a doubt."""
    return f"{task.state}?" if (task.unsure and task.state == State.WAITING) or not task.confirmed else task.state


def _state_in_words(task: TaskView) -> str:
    doubts = [text for text, there in (("unsure", task.unsure), ("unconfirmed", not task.confirmed)) if there]
    held = [f"held by {task.held_by}"] if task.held_by else []
    share = [f"{task.progress:.0%}"] if task.progress and task.state == State.WAITING else []
    by = [f"by {task.settled_by}"] if task.settled_by else []
    return ", ".join([task.state, *by, *doubts, *held, *share])


def _progress(task: TaskView) -> str:
    share = f"{task.progress:.0%}  " if task.progress and task.state == State.WAITING else ""
    return f"{share}{cell(task.label)}"


def _model(task: TaskView) -> str:
    return cell((task.model or "").removeprefix("midjourney_"))


def _when(moment: str | None) -> str | None:
    since = "" if moment is None else age(moment)
    return since and f"{local(moment)} ({since}{'' if since == 'now' or since.startswith('in') else ' ago'})"


def _plain(url: str) -> str:
    return url if url.isprintable() else ascii(url)[1:-1]


def _tell(task: TaskView, done: str, *, as_json: bool) -> None:
    echo_json(task) if as_json else click.echo(f"{task.ref}  {_state(task)}  {done}")
