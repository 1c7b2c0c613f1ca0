"""`receiver tasks pick`, `release` and `chain`: what a person decides about a chain, and how it stands."""

from typing import Any

import click

from receiver.cli.chain_text import describe_rest, format_chain
from receiver.cli.connect import resolve_ref, with_client
from receiver.cli.output import echo_json, json_option, pluralize, safe_line
from receiver.cli.streams import echo
from receiver.cli.submit.picture_numbers import read_image_numbers
from receiver.cli.task_text import state_of
from receiver.client.client import Client
from receiver.core.chains import CHILDREN_MOST
from receiver.core.queue_waits import QueueReason


class PictureNumbers(click.ParamType[tuple[int, ...]]):
    """A picture's number, or several with commas between them, as `--image-no` takes them."""

    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        try:
            found = read_image_numbers(str(value).strip(","))
        except ValueError as wrong:
            self.fail(str(wrong), param, ctx)
        numbers = found if isinstance(found, tuple) else (found,)
        if not all(isinstance(it, int) and it >= 0 for it in numbers):
            self.fail(f"{str(value)[:40]}: say the numbers of pictures, such as 0, or 0,2 for several", param, ctx)
        return tuple(map(int, numbers))


@click.command(short_help="Pick the picture from which a chain goes on.")
@click.argument("ref")
@click.argument("given", metavar="N...", type=PictureNumbers(), nargs=-1, required=True)
@click.option("--job-id", metavar="J", help="The jobId of picture N, if it did not come with it, or the task is lost.")
@json_option
@with_client
def pick(client: Client, *, ref: str, given: tuple[tuple[int, ...], ...], job_id: str | None, as_json: bool) -> None:
    """Let the task REF go on from picture N of the task before it.

    REF may also be that earlier task: then all that waits for a pick of its pictures goes on from N. What wanted a
    picture that did not come is picked for by itself; what lacks only the id of its job goes on, with --job-id, from
    the picture that it wanted. With several N, written 0 2 or 0,2, what waits is made once for each of them, and each
    is paid for; what goes on from a whole job is made once.

    With --job-id, this is also for what waits for a task that is lost, or whose end is not confirmed: once for each
    picture that it waits for.
    """
    numbers = tuple(number for some in given for number in some)
    if len(numbers) > CHILDREN_MOST:
        raise click.UsageError(f"pick at most {CHILDREN_MOST} pictures")
    whole = resolve_ref(client, ref, waits=QueueReason.PICK.value)
    picked = client.pick_picture(whole, numbers, job_id=job_id)
    if as_json:
        return echo_json(picked)
    for task in picked:
        number = "" if task.chain is None or task.chain.image_no is None else f" from picture {task.chain.image_no}"
        echo(f"{safe_line(task.ref)}  {state_of(task)}  it goes on{number}")
    return None


@click.command(short_help="Let go on what waits for an unconfirmed end.")
@click.argument("ref")
@json_option
@with_client
def release(client: Client, *, ref: str, as_json: bool) -> None:
    """Let what waits for the task REF go on, though no poll has confirmed its end.

    Look at its result first: whoever knows a callback URL could have made it up, and what goes on is paid for.
    """
    task = client.release_children(resolve_ref(client, ref))
    if as_json:
        return echo_json(task)
    count = task.chain.children if task.chain else 0
    what = f"{pluralize(count, 'task')} will go on" if count else "what waits for it will go on"
    return echo(f"{safe_line(task.ref)}  {state_of(task)}  {what}")


@click.command(short_help="Show the chain of a task as a tree.")
@click.argument("ref")
@json_option
@with_client
def chain(client: Client, *, ref: str, as_json: bool) -> None:
    """Show the chain to which the task REF belongs, and what it costs."""
    whole = resolve_ref(client, ref, chains="first")
    found = client.get_chain(whole)
    if as_json:
        return echo_json(found)
    echo(format_chain(found, whole))
    if rest := describe_rest(found):
        echo(rest)
    return None
