"""Which picture a task goes on from, as the options say it: a task of ours that may not have ended, one that has, or
an id or address that the user knows."""

from collections.abc import Mapping
from typing import Any

import click
from msgspec import Struct

from receiver.cli.connect import resolve_ref
from receiver.cli.submit.picture_numbers import ImageNumbers, read_image_numbers
from receiver.client.client import ENDS, Client
from receiver.client.schemas import IMAGE_NO_MOST, TaskView, WaitFor
from receiver.core.types import TaskState
from receiver.providers.declarations import JobFeed, Model


class ImageNumberType(click.ParamType[ImageNumbers]):
    """`0`, `0,2`, `all` or `pick`."""

    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ImageNumbers:
        try:
            return read_image_numbers(str(value))
        except ValueError as wrong:
            self.fail(str(wrong), param, ctx)


class PictureSource(Struct, frozen=True):
    """What a task goes on from: the parameters that say it, or the task that is waited for."""

    params: Mapping[str, Any] = {}
    wait_for: WaitFor | None = None


def check_source(
    model: Model, params: Mapping[str, Any], after: str | None, earlier: str | None, numbers: ImageNumbers | None
) -> None:
    """Whether the options say once, and not twice, which picture it is. Raises UsageError."""
    if model.feed is None:
        return
    feed = model.feed
    own = feed.job if isinstance(feed, JobFeed) else feed.url
    own_option = next(f"--{it.option_name}" for it in model.fields if it.name == own)
    place_option = place_flag(model)
    given = [flag for flag, it in (("--after", after), ("--from", earlier), (own_option, params.get(own))) if it]
    optional = own in model.any_of
    if len(given) > 1:
        raise click.UsageError(f"give either {given[0]} or {given[1]}, to say which picture to go on from")
    if not given and not optional:
        raise click.UsageError(f"say which picture to go on from: --after REF, --from REF or {own_option}")
    if place_option is None or numbers is None:
        return
    if not given:
        raise click.UsageError(f"{place_option} says which picture of a task: give --after REF too")
    if isinstance(feed, JobFeed) and given != ["--after"] and not isinstance(numbers, int):
        raise click.UsageError(
            f"{place_option}: with {given[0]} it is one number; several, all and pick go with --after"
        )
    if not isinstance(feed, JobFeed) and given == [own_option]:
        raise click.UsageError(f"{place_option} says which picture of a task, and {own_option} is a picture already")
    shown = numbers if isinstance(numbers, tuple) else (numbers,)
    if given != [own_option] and any(isinstance(it, int) and not 0 <= it <= IMAGE_NO_MOST for it in shown):
        raise click.UsageError(f"{place_option}: the first picture is 0, and the last of four is 3")


def place_flag(model: Model) -> str | None:
    """The option that says which picture of a task it is; None if the model goes on from all of them."""
    if model.feed is None:
        return None
    if not isinstance(model.feed, JobFeed):
        return "--image-no"
    place = model.feed.place
    return next((f"--{it.option_name}" for it in model.fields if it.name == place), None)


def find_source(
    client: Client, model: Model, after: str | None, earlier: str | None, numbers: ImageNumbers | None
) -> PictureSource:
    """What the options say that is not a parameter by itself. Looks tasks up."""
    feed = model.feed
    if feed is None:
        return PictureSource()
    if after is not None:
        return PictureSource(wait_for=_wait_for(resolve_ref(client, after, chains="first"), numbers))
    place = feed.place if isinstance(feed, JobFeed) else None
    known = {place: numbers} if place is not None and numbers is not None else {}
    if earlier is None:
        return PictureSource(known)
    task = client.get_task(resolve_ref(client, earlier, chains="first"))
    if isinstance(feed, JobFeed):
        return PictureSource({feed.job: find_job_id(task, numbers if isinstance(numbers, int) else 0)} | known)
    if task.state != TaskState.COMPLETED:
        raise click.ClickException(f"{task.ref} is {task.state}, and has no pictures yet; --after waits for them")
    return PictureSource(wait_for=_wait_for(task.ref, numbers))


def _wait_for(ref: str, numbers: ImageNumbers | None) -> WaitFor:
    return WaitFor(ref=ref, image_no=numbers)


def find_job_id(task: TaskView, image_no: int) -> str:
    """The jobId in an earlier task's pictures: that picture's own, or another's, since they share it."""
    own = [image.job_id for image in task.images if image.image_no == image_no]
    found = next((job for job in (*own, *(image.job_id for image in task.images)) if job), None)
    if found is None:
        why = "its pictures came without a jobId" if task.images else f"it is {task.state} and has no pictures"
        how = "find it elsewhere, and give --job-id"
        if not task.images and task.state not in ENDS:
            how = "--after waits until it is completed; else give --job-id"
        raise click.ClickException(f"{task.ref} has no jobId: {why}; {how}")
    return found
