"""`receiver sandbox`: runs the provider's stand-in, with options for how it misbehaves."""

import asyncio
from datetime import UTC, datetime
from urllib.parse import urlsplit

import click

from receiver.cli.output import time_of_day
from receiver.cli.streams import OutputLost, discard_output, echo, note
from receiver.sandbox import IMAGES_MOST, CallbackBody, PictureCoding, SandboxOptions, serve_sandbox

_P = click.FloatRange(0, 1)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65_535), default=9100, show_default=True, help="0 picks a free one.")
@click.option(
    "--latency",
    type=click.FloatRange(0, 86_400),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Mean time until a task ends.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, metavar="N", help="The same seed makes the same failures."
)
@click.option("--fail", type=_P, default=0.0, metavar="P", help="A task fails.")
@click.option("--drop", type=_P, default=0.0, metavar="P", help="A callback is lost.")
@click.option("--duplicate", type=_P, default=0.0, metavar="P", help="A callback is sent twice.")
@click.option("--reorder", is_flag=True, help="Callbacks overtake each other; progress may arrive after the end.")
@click.option("--early", type=_P, default=0.0, metavar="P", help="A callback comes before the submission is answered.")
@click.option(
    "--body",
    type=click.Choice([body.value for body in CallbackBody]),
    default=CallbackBody.TASK.value,
    show_default=True,
    help="The shape of the callbacks' bodies.",
)
@click.option("--reject", type=_P, default=0.0, metavar="P", help="A submission is rejected with 429 or 503.")
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="A submission while N tasks are under way is answered 429."
)
@click.option("--slow", type=_P, default=0.0, metavar="P", help="A submission's answer hangs.")
@click.option("--refuse-key", type=_P, default=0.0, metavar="P", help="A submission or a poll is refused with 401.")
@click.option(
    "--refuse-prompt", type=_P, default=0.0, metavar="P", help="A submission is refused with 403, each time it comes."
)
@click.option("--gateway", type=_P, default=0.0, metavar="P", help="A task is accepted, but a gateway answers 503.")
@click.option("--created", type=_P, default=0.0, metavar="P", help="A task is accepted with 201 instead of 200.")
@click.option("--stall", type=_P, default=0.0, metavar="P", help="A task never ends.")
@click.option(
    "--images",
    type=click.IntRange(0, IMAGES_MOST),
    metavar="N",
    help="Results of a task; by default as many as its model makes.",
)
@click.option("--no-job-id", is_flag=True, help="Results do not name the job that a next step needs.")
@click.option(
    "--strict",
    is_flag=True,
    help="What only Midjourney's own API refuses is refused: unknown jobs, steps that cannot follow, some ranges.",
)
@click.option(
    "--late-pictures",
    type=click.FloatRange(0, 86_400),
    default=0.0,
    metavar="SECONDS",
    help="After a task's end, its pictures are 404 for so long.",
)
@click.option(
    "--picture-coding",
    type=click.Choice([coding.value for coding in PictureCoding]),
    default=PictureCoding.PLAIN.value,
    show_default=True,
    help="The Content-Encoding of pictures, true or not.",
)
def sandbox(
    *,
    host: str,
    port: int,
    latency: float,
    seed: int,
    fail: float,
    drop: float,
    duplicate: float,
    reorder: bool,
    early: float,
    body: str,
    reject: float,
    limit: int | None,
    slow: float,
    refuse_key: float,
    refuse_prompt: float,
    gateway: float,
    created: float,
    stall: float,
    images: int | None,
    no_job_id: bool,
    strict: bool,
    late_pictures: float,
    picture_coding: str,
) -> None:
    """Run a stand-in for the provider until Ctrl-C. P is a probability from 0 (the default) to 1.

    It knows every model, and draws pictures and videos in which one sees what each of them did.
    Prints a line for each submission and each callback, with why one was not delivered.
    """
    options = SandboxOptions(
        latency_s=latency,
        seed=seed,
        fail=fail,
        drop=drop,
        duplicate=duplicate,
        reorder=reorder,
        early=early,
        body=CallbackBody(body),
        reject=reject,
        limit=limit,
        slow=slow,
        refuse_key=refuse_key,
        refuse_prompt=refuse_prompt,
        gateway=gateway,
        created=created,
        stall=stall,
        images=images,
        no_job_id=no_job_id,
        strict=strict,
        late_pictures_s=late_pictures,
        picture_coding=PictureCoding(picture_coding),
    )
    try:
        asyncio.run(serve_sandbox(options, host, port, ready=_print_url, report=_print_line))
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {host} port {port}: {error.strerror}; choose another --port"
        ) from None


def _print_line(line: str) -> None:
    try:
        echo(f"{time_of_day(datetime.now(UTC))}  {line}")
    except OutputLost:  # nobody reads it any more
        discard_output()


def _print_url(url: str) -> None:
    note(f"The sandbox is at {url}/model/v1/generation (set RECEIVER_PROVIDER_URL to that; any key works).")
    note(
        f"RECEIVER_FETCH_ALLOW={urlsplit(url).hostname} lets the service fetch the pictures there (a private address)."
    )
