"""The copies of pictures that go with a backup: a folder beside it, laid out as the archive is."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from receiver.atomic_files import DRAFT_SUFFIX
from receiver.core.errors import Unwritable
from receiver.pictures.files import SAMPLE, ArchiveFiles
from receiver.store.sqlite.files import chown_if_root, database_owner

SUFFIX = ".images"  # of the folder, behind the name of its backup


class ImagesMode(StrEnum):
    """What becomes of the pictures' copies in a backup."""

    NONE = "none"
    LINK = "link"  # the same files under second names: takes no room, and has to be on the same disk
    COPY = "copy"


def folder_of(file: Path) -> Path:
    """The folder of the pictures that belong to a backup."""
    return file.with_name(f"{file.name}{SUFFIX}")


def _archive_files(root: Path) -> Iterator[tuple[Path, Path]]:
    """The files of an archive, each with its path within it; the sample is drawn anew wherever it is wanted.

    Only what the archive would write itself: the service's user, for whom root may be doing this, can put links to
    anything between them. That includes its folders: none that is a link is looked into.
    """
    files = ArchiveFiles(root)
    for top in _list_folders(root):
        if len(top) != 2:  # that of what is not whole yet, or a disk's own
            continue
        for folder in _list_folders(root / top):
            if folder == SAMPLE or folder[-2:] != top:
                continue
            names: list[str] = []
            with contextlib.suppress(FileNotFoundError):  # retention may have removed it meanwhile
                names = sorted(os.listdir(root / top / folder))
            for name in names:
                if (path := files.find_file(folder, name)) is not None:
                    yield path, path.relative_to(root)


def _list_folders(path: Path) -> list[str]:
    """The folders in a folder, by name, without links; none where it is none itself."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(path) as entries:
        return sorted(it.name for it in entries if it.is_dir(follow_symlinks=False))
    return []


def back_up_pictures(archive: Path, folder: Path, how: ImagesMode) -> int:
    """Copy or link all pictures of `archive` into `folder`, in place of what is there; gives how many.

    Raises Unwritable, OSError.
    """
    part = folder.with_name(f"{folder.name}{DRAFT_SUFFIX}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    whose = database_owner(part.parent)
    chown_if_root(part, whose)
    count = 0
    for path, within in _archive_files(archive):
        with contextlib.suppress(FileNotFoundError):  # retention may have removed it meanwhile
            _place_picture(path, part, within, how, whose)
            count += 1
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(part, folder)
    return count


def restore_pictures(folder: Path, archive: Path, whose: tuple[int, int]) -> int:
    """Put the pictures in `folder` into `archive` where they are missing; gives how many. Raises Unwritable, OSError.

    Another disk's folder may stand in for the archive, by a link; in it, no link is followed.
    """
    count, files = 0, ArchiveFiles(archive)
    for path, within in _archive_files(folder):
        if files.find_file(within.parts[1], within.name) is None:
            how = ImagesMode.LINK if path.stat().st_uid == whose[0] else ImagesMode.COPY
            try:
                _place_picture(path, archive, within, how, whose)
            except _CrossDevice:
                _place_picture(path, archive, within, ImagesMode.COPY, whose)
            count += 1
    return count


class _CrossDevice(Unwritable):
    """A picture cannot have a second name there."""


def _place_picture(path: Path, root: Path, within: Path, how: ImagesMode, whose: tuple[int, int]) -> None:
    """One picture under another name, whole, in folders for its owner only."""
    there = root / within
    for folder in (root, there.parent.parent, there.parent):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            chown_if_root(folder, whose)
        if folder != root and folder.is_symlink():
            raise Unwritable(f"{folder} is a link, where pictures have a folder: remove it")
    if how is ImagesMode.LINK:
        try:
            os.link(path, there)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _CrossDevice(
                f"pictures cannot be linked to {there.parent}, which is on another disk ({error.strerror}): "
                "use --images copy"
            ) from error
        return
    part = there.with_name(f"{there.name}{DRAFT_SUFFIX}")
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as source:
        part.unlink(missing_ok=True)  # a killed one's, or a link
        made = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(made, "wb") as copy:
            shutil.copyfileobj(source, copy)
            copy.flush()
            chown_if_root(made, whose)
            os.fsync(made)
    os.rename(part, there)
