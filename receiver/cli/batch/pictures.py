"""`receiver batch pictures`: saves our copies of the pictures of all rows of a batch, named by line and label."""

import os
import re
from pathlib import Path

import click

from receiver.cli.connect import with_client
from receiver.cli.download import save_pictures
from receiver.cli.main import FAILED
from receiver.cli.output import FOLDER, pluralize, prepare_folder, safe_line
from receiver.cli.streams import echo, note
from receiver.cli.waiting import await_pictures
from receiver.client.batch_schemas import BatchRowResult
from receiver.client.client import Client
from receiver.core.types import TaskState

_LABEL_MOST = 60  # characters of a label in a file's name
_REF_DIGITS = 6
_LINE_DIGITS = 4  # so that files sort as their rows do


@click.command(short_help="Save the pictures of all rows.")
@click.argument("name")
@click.argument("folder", metavar="[DIR]", type=FOLDER, required=False)
@click.option("--after", type=click.IntRange(min=0), metavar="LINE", help="Only the rows after this line.")
@click.option("--force", is_flag=True, help="Replace existing files.")
@with_client
def pictures(client: Client, *, name: str, folder: Path | None, after: int | None, force: bool) -> None:
    """Save our copies of the pictures of the batch NAME in DIR, or else in a folder of that name here.

    A file is named after its row's line, its label and the picture's number; of a chain also after the step:

    \b
      0012-hero-2.png
      0012-hero-wide-3fa92c-2.png

    One that is there already is left alone, so the same command later adds what has come since. Waits for what the
    service is fetching, and prints the path of each. Exit status 1 if a picture of a completed row could not be saved.
    """
    client.get_batch(name)  # first, so that a wrong name makes no folder
    folder = Path(name) if folder is None else folder
    prepare_folder(folder)
    rows = saved = missing = 0
    for result in client.stream_results(name, after=after):
        if result.state != TaskState.COMPLETED:
            continue
        rows += 1
        task = await_pictures(client, client.get_task(result.ref))
        for picture in save_pictures(client, task, folder, _stem(result), force=force, skip=True):
            if picture.path is not None:
                saved += 1
                echo(os.fsencode(picture.path))
            else:
                missing += 1
                note(f"receiver: line {result.line}, picture {picture.image_no}: {safe_line(picture.error)}")
    note(f"receiver: {pluralize(saved, 'picture')} of {pluralize(rows, 'completed row')} in {folder}")
    if missing:
        note(f"receiver: {pluralize(missing, 'picture')} not saved; the same command tries again")
        raise click.exceptions.Exit(FAILED)


def _stem(result: BatchRowResult) -> str:
    """What the names of a row's files begin with. Of a label, only what is safe in a name is left. A chain may have
    several tasks of one row, label and step, so the end of the ref tells them apart."""
    label = re.sub(r"[^\w.-]+", "-", result.label or "").strip(".-")[:_LABEL_MOST]
    step = (result.step, result.ref[-_REF_DIGITS:]) if result.step else ()
    return "-".join(filter(None, (f"{result.line:0{_LINE_DIGITS}}", label, *step)))
