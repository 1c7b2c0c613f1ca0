"""The copies of pictures that go with a backup: a folder beside it, laid out like the archive."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from receiver.atomic_files import DRAFT_SUFFIX, new_file, remove_path
from receiver.core.errors import Unwritable
from receiver.pictures.files import SAMPLE, ArchiveFiles
from receiver.safe_open import open_file, pinned_folder
from receiver.store.sqlite.files import chown_if_ours, database_owner

SUFFIX = ".images"  # of the folder, after the name of its backup


class ImagesMode(StrEnum):
    """What a backup does with the archived pictures."""

    NONE = "none"
    LINK = "link"  # hard links: they take no room, but must be on the same disk
    COPY = "copy"


def folder_of(file: Path) -> Path:
    """The folder of the pictures that belong to a backup."""
    return file.with_name(f"{file.name}{SUFFIX}")


def _archive_files(root: Path) -> Iterator[tuple[Path, Path]]:
    """The files of an archive, each with its path inside it; without the sample, which the service can draw again.

    Only files that the archive would write itself, and no folder that is a link. Whoever opens them must not rely on
    it: root may be running this, and the service's user can put links to anything there meanwhile.
    """
    files = ArchiveFiles(root)
    for top in _list_folders(root):
        if len(top) != 2:  # the folder of unfinished files, or one that the disk has
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
    """The folders in a folder, by name, without links; none if it is not a folder."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(path) as entries:
        return sorted(it.name for it in entries if it.is_dir(follow_symlinks=False))
    return []


def back_up_pictures(archive: Path, folder: Path, how: ImagesMode) -> int:
    """Copy or link all pictures of `archive` into `folder`, replacing it; returns how many.

    Raises Unwritable, OSError.
    """
    whose = database_owner(folder.parent)
    with pinned_folder(folder.parent) as around:
        part = around / f"{folder.name}{DRAFT_SUFFIX}"
        remove_path(part)
        _make_folder(part, whose)
        count = 0
        for path, within in _archive_files(archive):
            with contextlib.suppress(FileNotFoundError):  # retention may have removed it meanwhile
                _place_picture(path, folder.parent / part.name, within, how, whose)
                count += 1
        remove_path(around / folder.name)
        os.rename(part, around / folder.name)
    return count


def restore_pictures(folder: Path, archive: Path, whose: tuple[int, int]) -> int:
    """Put the pictures in `folder` into `archive` where they are missing; returns how many.

    Raises Unwritable, UnsafeFile, OSError.
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
    """A hard link to that place is not possible."""


def _place_picture(path: Path, root: Path, within: Path, how: ImagesMode, whose: tuple[int, int]) -> None:
    """Copy or link one picture, whole, into folders for its owner only."""
    there = root / within
    for folder in (root, there.parent.parent, there.parent):
        with pinned_folder(folder.parent) as around:
            _make_folder(around / folder.name, whose)
        if folder != root and folder.is_symlink():
            raise Unwritable(f"{folder} is a link, but must be a folder", remedy=f"remove it: rm {folder}")
    with open(path, "rb", opener=open_file) as source, pinned_folder(there.parent) as folder:
        if how is ImagesMode.LINK:
            _link_picture(source.fileno(), folder, there)
            return
        part = folder / f"{there.name}{DRAFT_SUFFIX}"
        part.unlink(missing_ok=True)  # a killed backup's, or a link
        with new_file(part) as copy:
            shutil.copyfileobj(source, copy)
            chown_if_ours(copy.fileno(), whose)
        os.rename(part, folder / there.name)


def _link_picture(opened: int, folder: Path, there: Path) -> None:
    """Give an opened file another name. By its descriptor: its first name may lead elsewhere by now."""
    into = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.link(f"/proc/self/fd/{opened}", there.name, dst_dir_fd=into)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _CrossDevice(
            f"cannot link pictures into {there.parent}, which is on another disk ({error.strerror})",
            remedy="use --images copy",
        ) from error
    finally:
        os.close(into)


def _make_folder(folder: Path, whose: tuple[int, int]) -> None:
    """Make a folder for its owner only, unless there is one."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        made = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            chown_if_ours(made, whose)
        finally:
            os.close(made)
