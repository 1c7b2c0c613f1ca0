"""Files that are there whole under their names, or not at all, and what disks say when they take nothing."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from receiver.core.errors import Unwritable

SPARE_BYTES = 64 << 20  # bytes that stay free on a disk to which a copy is written
DRAFT_SUFFIX = ".part"


@contextlib.contextmanager
def draft_file(file: Path) -> Iterator[Path]:
    """A new, empty file, for its owner only, that is to be renamed to `file`; gone afterwards, if it was not.

    Raises Unwritable while another process drafts the same.
    """
    part = file.with_name(f"{file.name}{DRAFT_SUFFIX}")
    opened = _open_locked(part, file)
    try:
        os.ftruncate(opened, 0)
        os.fchmod(opened, 0o600)
        yield part
    finally:
        if _is_same_file(opened, part):
            part.unlink()
        os.close(opened)


def _open_locked(part: Path, file: Path) -> int:
    while True:
        # no link, and no second name: the folder may be another user's, who would have root empty what it leads to
        opened = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if os.fstat(opened).st_nlink > 1:
            os.close(opened)
            raise Unwritable(f"{part} has a second name elsewhere; remove it")
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(opened)
            raise Unwritable(f"another process is just writing {file}") from None
        if _is_same_file(opened, part):  # else it has got its own name meanwhile, and is not ours to empty
            return opened
        os.close(opened)


def _is_same_file(opened: int, path: Path) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(opened))
    except FileNotFoundError:
        return False


def is_being_written(file: Path) -> bool:
    """Whether a process is writing what is to be `file`."""
    try:
        with file.with_name(f"{file.name}{DRAFT_SUFFIX}").open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def remove_path(path: Path) -> None:
    """A file or a folder, with all that is in it, is gone."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def copy_content(file: Path, part: Path) -> None:
    with file.open("rb") as source, part.open("r+b") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def require_free_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size + SPARE_BYTES:
        raise Unwritable(
            f"the disk of {folder} has {free >> 20:,} MiB free, and {(size + SPARE_BYTES) >> 20:,} are needed: "
            "make room, or choose another disk"
        )


@contextlib.contextmanager
def explain_os_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unwritable(
            f"{what}: {error.strerror or error}; see who owns it, and run this as its owner or root"
        ) from error


def fsync_path(path: Path) -> None:
    """Have a file, or the names in a folder, on disk. Raises OSError."""
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
