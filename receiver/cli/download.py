"""Saves our copies of a task's pictures as the user's own files: whole or not at all, under names made here.

Nothing from the service becomes part of a path (no path traversal), and no file is replaced unless asked for.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click
from msgspec import Struct

from receiver.atomic_files import atomic_write
from receiver.cli.output import prepare_folder
from receiver.cli.task_text import describe_copy
from receiver.client.client import Client
from receiver.client.schemas import ImageView, TaskView, image_path
from receiver.core.errors import ApiError
from receiver.pictures.files import MEDIA
from receiver.tokens import is_ref

PICTURE_MOST = 256 * 1024 * 1024  # bytes; the archive keeps none of half that size
# Characters of a REF in a file's name: its milliseconds and twelve random bits. All tasks of a minute share the first
# eight; so many are unique, and still the beginning of a REF that the commands accept.
_REF_LENGTH = 18


class SavedPicture(Struct, frozen=True):
    """What became of one picture: the `path` of its file, or why there is none."""

    image_no: int
    path: str | None = None
    error: str | None = None


class _NotSaved(Exception):
    """The text says why."""


def save_pictures(
    client: Client, task: TaskView, folder: Path, stem: str | None = None, *, force: bool = False, skip: bool = False
) -> Iterator[SavedPicture]:
    """Save the pictures one after the other, under names that begin with `stem` or else with the beginning of the ref.

    A file that is one of them already is left alone. Of other files that have their names, `force` replaces them, and
    `skip` takes them for the pictures.

    Raises ApiError where the service cannot be asked, ClickException where `folder` cannot be made.
    """
    if not is_ref(task.ref):
        raise click.ClickException(f"{client.server} sent a task with an invalid ref: check RECEIVER_SERVER")
    prepare_folder(folder)
    for image in task.images:
        try:
            path = _save_picture(
                client, task.ref, image, folder / (stem or task.ref[:_REF_LENGTH]), force=force, skip=skip
            )
            yield SavedPicture(image.image_no, str(path))
        except _NotSaved as error:
            yield SavedPicture(image.image_no, error=str(error))
        except OSError as error:
            yield SavedPicture(image.image_no, error=f"cannot write into {folder}: {error.strerror}")
        except ApiError as error:
            if error.status != 404:  # it has been removed since
                raise
            yield SavedPicture(image.image_no, error=f"no longer kept: {error}")


def _save_picture(client: Client, ref: str, image: ImageView, stem: Path, *, force: bool, skip: bool) -> Path:
    if image.archived is None:
        raise _NotSaved(describe_copy(image) or "no copy of it is kept")
    found = re.fullmatch(rf"{image_path(ref, '')}([0-9]{{1,4}}\.({'|'.join(MEDIA)}))", image.archived)
    if found is None:
        raise _NotSaved("the service keeps it under a name that this version does not know")
    path = stem.with_name(f"{stem.name}-{image.image_no}.{found[2]}")
    there = _NotSaved(f"{path} already exists, and is not the same: --force replaces it")
    if not force and os.path.lexists(path):
        if skip or _is_same(client, ref, found[1], path):
            return path
        raise there
    try:
        # not `durable`: the folder is a person's, and may be on a file system that does not synchronise folders
        with atomic_write(path, mode=0o666, replace=force, needs_links=False, durable=False) as out:
            _download_file(client, ref, found[1], out)
    except FileExistsError:
        raise there from None
    return path


def _is_same(client: Client, ref: str, file: str, path: Path) -> bool:
    """Whether the file at `path` is that picture. Reads no further than the first difference."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as own, client.open_picture(ref, file) as pieces:
        return all(own.read(len(piece)) == piece for piece in pieces) and not own.read(1)


def _download_file(client: Client, ref: str, file: str, out: BinaryIO) -> None:
    size = 0
    with client.open_picture(ref, file) as pieces:
        for piece in pieces:
            size += len(piece)
            if size > PICTURE_MOST:
                raise _NotSaved(f"it is larger than {PICTURE_MOST >> 20} MiB")
            out.write(piece)
