"""How the commands of `receiver submit` submit one task: once, with its ref as the result, and perhaps a wait."""

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from msgspec import Struct

from receiver.cli.batch.estimate import estimate_cost, read_costs
from receiver.cli.main import FAILED
from receiver.cli.output import FOLDER, echo_json, json_option, pluralize, prepare_folder, safe_line
from receiver.cli.streams import echo, note, report_done
from receiver.cli.waiting import await_end
from receiver.client.client import Client, new_idempotency_key
from receiver.client.schemas import TaskView
from receiver.core.errors import ApiError
from receiver.core.money import format_estimate
from receiver.core.types import FIXED_LANES, TaskState

_UNCLEAR = (0, 500, 502, 504)  # statuses of answers after which nobody knows whether something was stored
_C = TypeVar("_C", bound=Callable[..., Any])
_T = TypeVar("_T")


def strip_option(ctx: click.Context, param: click.Parameter, text: str | None) -> str | None:
    """The text without blanks around it. Raises BadParameter if nothing is left of it."""
    if text is not None and not text.strip():
        raise click.BadParameter("it is empty")
    return text and text.strip()


label_option = click.option("--label", metavar="L", help="A name of your own for it.")
target_option = click.option(
    "--target", "targets", multiple=True, metavar="NAME", help="Notify only this target; may be repeated."
)
poll_only_option = click.option(
    "--poll-only", is_flag=True, help="Submit without a callback URL: the service polls until the task ends."
)
permutations_option = click.option(
    "--allow-permutations", is_flag=True, help="Let {a,b} or --repeat N in the prompt make several, each billed."
)
anyway_option = click.option(
    "--anyway", is_flag=True, help="Submit it although, by Midjourney's own rules, it is probably refused."
)
priority_option = click.option(
    "--priority", type=click.Choice(list(FIXED_LANES)), help="What goes first; by default normal, before batches."
)
param_option = click.option(
    "--param",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="A further parameter, unchecked; VALUE is JSON, or else text. May be repeated.",
)


class Sending(Struct, frozen=True):
    """How a task is submitted and what follows: under which key, the wait, the pictures, and what is printed."""

    key: str | None
    wait: bool
    folder: Path | None
    as_json: bool


def sending_options(command: _C) -> _C:
    """Give a command the options of `Sending`."""
    options = (
        click.option(
            "--idempotency-key", "key", metavar="K", help="For 30 days, the same K and parameters are the same task."
        ),
        click.option(
            "--wait", is_flag=True, help="Wait for its end and its pictures; exit status 1 unless it is completed."
        ),
        click.option("--pictures", "folder", type=FOLDER, metavar="DIR", help="Wait, and save its pictures in DIR."),
        json_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def submit_once(client: Client, send: Callable[[str], TaskView], how: Sending, said: Collection[str] = ()) -> None:
    """Submit with an Idempotency-Key, and print the ref, or that of each task if there is one for each picture; then
    wait for the ends, if wanted, and save the pictures. Warnings that were `said` already are not repeated."""
    if how.folder is not None:
        prepare_folder(how.folder)  # before anything is paid for
    task = send_once(send, how.key or new_idempotency_key())
    for warning in task.warnings:
        if warning not in said:
            note(f"receiver: tip: {safe_line(warning)}")
    refs = [safe_line(ref) for ref in (task.ref, *task.siblings)]
    done, good = report_done(f"{', '.join(refs)} {'was' if len(refs) == 1 else 'were'} submitted"), True
    if not how.as_json:
        with done:
            for ref in refs:
                echo(ref)
            if task.chain is not None and task.chain.image_no is None and task.held_by is not None:
                note(f"receiver: `receiver tasks pick {refs[0]} N` lets it go on from picture N, once that is there")
    with done if how.as_json else contextlib.nullcontext():
        if how.wait or how.folder is not None:
            [task, *_], good = await_all(client, [task, *map(client.get_task, task.siblings)], how)
        if how.as_json:
            echo_json(task)
    if not good:
        raise click.exceptions.Exit(FAILED)


def await_all(client: Client, tasks: Iterable[TaskView], how: Sending) -> tuple[list[TaskView], bool]:
    """Wait for tasks, one after the other, and save their pictures if that is wanted. The tasks at their ends, and
    whether all went well."""
    ended, good = [], True
    for task in tasks:
        end = await_end(client, task, saving=how.folder is not None)
        ended.append(end)
        completed = end.state == TaskState.COMPLETED
        good &= completed
        if how.folder is not None and completed:
            good &= _save_pictures(client, end, how.folder)
    return ended, good


def send_once(send: Callable[[str], _T], key: str) -> _T:
    """Submit. Where it is unknown whether that succeeded, the error says how to submit at most once."""
    same = f"it may have been submitted: the same command with --idempotency-key {key} submits it at most once"
    try:
        return send(key)
    except ApiError as error:
        if error.status in _UNCLEAR and error.code != "unreachable":
            raise ApiError(error.status, error.code, error.problem, error.field, remedy=same) from error
        problem = error.problem.replace("submit it `anyway`", "say --anyway")
        raise ApiError(error.status, error.code, problem, error.field, remedy=error.remedy) from error
    except KeyboardInterrupt:
        note(f"receiver: {same}")
        raise


def tell_cost(client: Client, counts: Mapping[str, int]) -> None:
    """Say what so many tasks of each model may cost, if that is known."""
    costs = read_costs(client)
    if costs is not None and (estimate := estimate_cost(costs, counts)) is not None:
        about = format_estimate(estimate.amount)
        note(f"receiver: {pluralize(sum(counts.values()), 'task')}, about {about} ({estimate.why})")


def _save_pictures(client: Client, task: TaskView, folder: Path) -> bool:
    """Save them, and say on standard error where: only the ref is a result. False if one could not be saved."""
    from receiver.cli.download import save_pictures

    good = True
    for saved in save_pictures(client, task, folder):
        error = f"receiver: picture {saved.image_no}: {safe_line(saved.error)}"
        note(error if saved.path is None else f"saved {saved.path}")
        good &= saved.path is not None
    return good
