"""The copies of pictures that go with a backup: a folder beside it, laid out as the archive is."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from receiver.errors import Unwritable
from receiver.files import SAMPLE
from receiver.store.backups import sync
from receiver.store.place import give, owner
from receiver.upkeep.parts import PART

SUFFIX = ".images"  # of the folder, behind the name of its backup
_UNFINISHED = "parts"  # the archive's own folder of what is not whole yet


class Images(StrEnum):
    """What becomes of the pictures' copies in a backup."""

    NONE = "none"
    LINK = "link"  # the same files under second names: takes no room, and has to be on the same disk
    COPY = "copy"


def folder_of(file: Path) -> Path:
    """The folder of the pictures that belong to a backup."""
    return file.with_name(f"{file.name}{SUFFIX}")


def _files(root: Path) -> Iterator[tuple[Path, Path]]:
    """The files of an archive, each with its path within it; the sample is drawn anew wherever it is wanted."""
    for path in sorted(root.glob("*/*/*")):
        within = path.relative_to(root)
        if within.parts[0] == _UNFINISHED or within.parts[1] == SAMPLE or within.name.endswith(PART):
            continue
        if path.is_file() and not path.is_symlink():
            yield path, within


def take(archive: Path, folder: Path, how: Images) -> int:
    part = folder.with_name(f"{folder.name}{PART}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    whose = owner(part.parent)
    give(part, whose)
    count = 0
    for path, within in _files(archive):
        with contextlib.suppress(FileNotFoundError):  # retention may have removed it meanwhile
            _place(path, part / within, how, whose)
            count += 1
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(part, folder)
    return count


def put(folder: Path, archive: Path, whose: tuple[int, int]) -> int:
    count = 0
    for path, within in _files(folder):
        if not (archive / within).exists():
            how = Images.LINK if path.stat().st_uid == whose[0] else Images.COPY
            try:
                _place(path, archive / within, how, whose)
            except Unwritable:
                _place(path, archive / within, Images.COPY, whose)
            count += 1
    return count


def _place(path: Path, there: Path, how: Images, whose: tuple[int, int]) -> None:
    """One picture under another name, whole, in folders for its owner only."""
    for folder in (there.parent.parent.parent, there.parent.parent, there.parent):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            give(folder, whose)
    if how is Images.LINK:
        try:
            os.link(path, there)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Unwritable(
                f"pictures cannot be linked to {there.parent}, which is on another disk ({error.strerror}): "
                "use --images copy"
            ) from error
        return
    part = there.with_name(f"{there.name}{PART}")
    shutil.copyfile(path, part)
    part.chmod(0o600)
    give(part, whose)
    sync(part)
    os.rename(part, there)
