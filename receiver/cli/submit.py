"""`receiver submit`: submits one generation. Its parameters are checked here first, as the service checks them."""

import contextlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace

from receiver.cli.batch.submit_command import batch
from receiver.cli.connect import resolve_ref, with_client
from receiver.cli.main import FAILED
from receiver.cli.output import FOLDER, echo_json, json_option, prepare_folder, safe_line
from receiver.cli.streams import echo, note, report_done
from receiver.cli.waiting import await_end
from receiver.client.client import ENDS, Client, new_idempotency_key
from receiver.client.schemas import AgainRequest, NewTask, TaskView
from receiver.core.errors import ApiError, RequestRefused
from receiver.core.types import FIXED_LANES, TaskState
from receiver.providers import models
from receiver.providers.models import OUTPAINT

_UNCLEAR = (0, 500, 502, 504)  # statuses of answers after which nobody knows whether something was stored
_OPTIONS = {"jobId": "--job-id", "imageNo": "--image-no", "scale": "--scale", "remixPrompt": "--prompt"}


class _Number(click.types.FloatParamType):
    """A number; one with a comma gets the advice to write a point."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and re.fullmatch(r"[0-9]+,[0-9]+", value.strip()):
            self.fail(f"use a point: {value.strip().replace(',', '.')}", param, ctx)
        return super().convert(value, param, ctx)


def _strip_option(ctx: click.Context, param: click.Parameter, text: str | None) -> str | None:
    if text is not None and not text.strip():
        raise click.BadParameter("it is empty")
    return text and text.strip()


_LABEL = click.option("--label", metavar="L", help="A name of your own for it.")
_PERMUTATIONS = click.option(
    "--allow-permutations", is_flag=True, help="Let {a,b} in the prompt make several pictures, each billed."
)
_KEY = click.option(
    "--idempotency-key", "key", metavar="K", help="For 30 days, the same K and parameters are the same task."
)
_PRIORITY = click.option(
    "--priority", type=click.Choice(list(FIXED_LANES)), help="What goes first; by default normal, before batches."
)
_WAIT = click.option(
    "--wait", is_flag=True, help="Wait for its end and its pictures; exit status 1 unless it is completed."
)
_PICTURES = click.option("--pictures", "folder", type=FOLDER, metavar="DIR", help="Wait, and save its pictures in DIR.")


@click.group()
def submit() -> None:
    """Submit a generation, and print its ref."""


submit.add_command(batch)


@submit.command()
@click.option(
    "--job-id",
    metavar="J",
    callback=_strip_option,
    help="The jobId in an earlier task's output, not that task's own id.",
)
@click.option("--from", "earlier", metavar="REF", help="An earlier task, whose jobId is looked up.")
@click.option("--image-no", type=int, required=True, metavar="N", help="Which of its pictures: 0 to 3.")
@click.option("--scale", type=_Number(), required=True, metavar="S", help="How much wider: 1.1 to 2.0.")
@click.option("--prompt", metavar="T", callback=_strip_option, help="What to paint; by default, more of the same.")
@_LABEL
@click.option("--target", "targets", multiple=True, metavar="NAME", help="Notify only this target; may be repeated.")
@click.option("--poll-only", is_flag=True, help="Submit without a callback URL: the service polls until the task ends.")
@_PERMUTATIONS
@_PRIORITY
@_KEY
@_WAIT
@_PICTURES
@json_option
@with_client
def outpaint(
    client: Client,
    *,
    job_id: str | None,
    earlier: str | None,
    image_no: int,
    scale: float,
    prompt: str | None,
    label: str | None,
    targets: tuple[str, ...],
    poll_only: bool,
    allow_permutations: bool,
    priority: str | None,
    key: str | None,
    wait: bool,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Extend a picture beyond its edges."""
    if (job_id is None) == (earlier is None):
        raise click.UsageError("give either --job-id or --from, to say which picture to extend")
    params: dict[str, Any] = {
        "jobId": job_id if earlier is None else find_job_id(client.get_task(resolve_ref(client, earlier)), image_no),
        "imageNo": image_no,
        "scale": scale,
    }
    if prompt is not None:
        params["remixPrompt"] = prompt
    _check_params(params, allow_permutations=allow_permutations)
    asked = NewTask(
        model=OUTPAINT,
        params=params,
        label=label,
        targets=targets or None,
        poll_only=poll_only,
        allow_permutations=allow_permutations,
        priority=priority,
    )
    _submit(
        client,
        lambda key: client.create_task(replace(asked, idempotency_key=key)),
        key=key,
        wait=wait,
        folder=folder,
        as_json=as_json,
    )


@submit.command()
@click.argument("ref")
@click.option("--prompt", metavar="T", callback=_strip_option, help="Another prompt.")
@click.option("--label", metavar="L", help="Another label.")
@_PERMUTATIONS
@_KEY
@_WAIT
@_PICTURES
@json_option
@with_client
def again(
    client: Client,
    *,
    ref: str,
    prompt: str | None,
    label: str | None,
    allow_permutations: bool,
    key: str | None,
    wait: bool,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Submit another task like REF, changed if you like. It is paid for like any other."""
    earlier = resolve_ref(client, ref)
    asked = AgainRequest(prompt=prompt, label=label, allow_permutations=allow_permutations)

    def send(key: str) -> TaskView:
        task = client.submit_again(earlier, asked, key)
        if label is None and task.label:
            name = safe_line(task.label)
            note(f"receiver: several tasks are called {name!r} now: use their refs, and name the next one with --label")
        return task

    _submit(
        client,
        send,
        key=key,
        wait=wait,
        folder=folder,
        as_json=as_json,
    )


def _submit(
    client: Client,
    send: Callable[[str], TaskView],
    *,
    key: str | None,
    wait: bool,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Submit with an Idempotency-Key, and print the ref; then wait for the end, if wanted, and save the pictures."""
    if folder is not None:
        prepare_folder(folder)  # before anything is paid for
    task = _send(send, key or new_idempotency_key())
    done, good = report_done(f"{safe_line(task.ref)} was submitted"), True
    if not as_json:
        with done:
            echo(safe_line(task.ref))
    with done if as_json else contextlib.nullcontext():
        if wait or folder is not None:
            task = await_end(client, task, saving=folder is not None)
            good = task.state == TaskState.COMPLETED
        if folder is not None and good:
            good = _save_pictures(client, task, folder)
        if as_json:
            echo_json(task)
    if not good:
        raise click.exceptions.Exit(FAILED)


def _send(send: Callable[[str], TaskView], key: str) -> TaskView:
    """Submit. Where it is unknown whether that succeeded, the error says how to submit at most once."""
    same = f"it may have been submitted: the same command with --idempotency-key {key} submits it at most once"
    try:
        return send(key)
    except ApiError as error:
        if error.status in _UNCLEAR and error.code != "unreachable":
            raise ApiError(error.status, error.code, error.problem, error.field, remedy=same) from error
        raise
    except KeyboardInterrupt:
        note(f"receiver: {same}")
        raise


def _save_pictures(client: Client, task: TaskView, folder: Path) -> bool:
    """Save them, and say on standard error where: only the ref is a result. False if one could not be saved."""
    from receiver.cli.download import save_pictures

    good = True
    for saved in save_pictures(client, task, folder):
        error = f"receiver: picture {saved.image_no}: {safe_line(saved.error)}"
        note(error if saved.path is None else f"saved {saved.path}")
        good &= saved.path is not None
    return good


def find_job_id(task: TaskView, image_no: int) -> str:
    """The jobId in an earlier task's pictures: that picture's own, or another's, since they share it."""
    own = [image.job_id for image in task.images if image.image_no == image_no]
    found = next((job for job in (*own, *(image.job_id for image in task.images)) if job), None)
    if found is None:
        why = "its pictures came without a jobId" if task.images else f"it is {task.state} and has no pictures"
        how = "find it elsewhere, and give --job-id"
        if not task.images and task.state not in ENDS:
            how = "wait until it is completed, or give --job-id"
        raise click.ClickException(f"{task.ref} has no jobId: {why}; {how}")
    return found


def _check_params(params: Mapping[str, object], *, allow_permutations: bool) -> None:
    try:
        models.check_params(OUTPAINT, params, allow_permutations=allow_permutations)
    except RequestRefused as refused:
        text = str(refused).partition(", sent as")[0]  # how it is sent does not matter here
        for name, option in (*_OPTIONS.items(), ("allow_permutations", "--allow-permutations")):
            text = text.replace(name, option)
        raise click.UsageError(text) from None
    for hint in models.param_hints(OUTPAINT, params):
        note(f"receiver: tip: {hint}")
