"""Atomic writes: a file is there whole under its name, or not at all. And what to say when a disk takes nothing.

Every writer follows the same order: a temporary file beside the final one, its content on disk (fsync), a rename, the
folder on disk (fsync). `atomic_write` does all of it. `open_new` and `rename_into_place` are its halves, for writers
that have more to do in between; `draft_file` is for large files that only one process at a time may write.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from receiver.core.errors import Unwritable

SPARE_BYTES = 64 << 20  # bytes that stay free on a disk to which a copy is written
DRAFT_SUFFIX = ".part"


@contextlib.contextmanager
def atomic_write(
    path: Path, *, mode: int = 0o600, replace: bool = True, needs_links: bool = True, durable: bool = True
) -> Iterator[BinaryIO]:
    """A file to write into; it becomes `path` when the block ends, and is removed if the block raises. Raises OSError.

    `mode` is subject to the umask. Unless `replace`, an existing file stays, and FileExistsError is raised; that takes
    hard links. Unless it `needs_links`, we look and rename where the file system has none. Unless `durable`, the folder
    is not synchronised, so that a loss of power may take the name away again.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with new_file(draft, mode) as file:
            yield file
        if replace:
            os.rename(draft, path)
        else:
            _link_or_rename(draft, path, needs_links=needs_links)
    finally:
        draft.unlink(missing_ok=True)
    if durable:
        fsync_path(path.parent)


def _link_or_rename(draft: Path, path: Path, *, needs_links: bool) -> None:
    try:
        os.link(draft, path)  # unlike a rename, it never replaces what another process has put there meanwhile
    except FileExistsError:
        raise
    except OSError:
        if needs_links:
            raise
        if os.path.lexists(path):
            raise FileExistsError from None
        os.rename(draft, path)


def remove_drafts(path: Path) -> None:
    """Remove what killed calls of `atomic_write` left beside `path`; it may hold secrets. No other may be running."""
    draft = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}")
    for found in path.parent.iterdir() if path.parent.is_dir() else ():
        if draft.fullmatch(found.name):
            found.unlink(missing_ok=True)


def open_new(path: Path, mode: int = 0o600) -> int:
    """A descriptor of a new file, open for writing: never of one that was there, nor of one that a link leads to."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


@contextlib.contextmanager
def new_file(path: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A new file to write into: on disk when the block ends, gone if it raises. `mode` is subject to the umask."""
    with open(open_new(path, mode), "wb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def rename_into_place(draft: Path, path: Path) -> None:
    """Give a file whose content is on disk its final name in the same folder, and put that on disk too."""
    os.rename(draft, path)
    fsync_path(path.parent)


def move_into_place(draft: Path, path: Path) -> None:
    """The same from any folder, even on another disk: then it is copied beside `path` first, with its owner."""
    try:
        os.rename(draft, path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with draft.open("rb") as source, atomic_write(path) as copy:
            state = os.fstat(source.fileno())
            shutil.copyfileobj(source, copy, 1 << 20)
            os.fchmod(copy.fileno(), stat.S_IMODE(state.st_mode))
            if os.geteuid() == 0:
                os.fchown(copy.fileno(), state.st_uid, state.st_gid)
    fsync_path(path.parent)


@contextlib.contextmanager
def draft_file(file: Path) -> Iterator[Path]:
    """A new, empty file, for its owner only, to be renamed to `file`; it is removed if it was not.

    Raises Unwritable while another process is writing the same file.
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
        # No link, and no second name: the folder may be another user's, who could have root empty what it leads to.
        opened = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if os.fstat(opened).st_nlink > 1:
            os.close(opened)
            raise Unwritable(f"{part} has a second name elsewhere", remedy=f"remove it: rm {part}")
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(opened)
            raise Unwritable(f"another process is writing {file}", remedy="wait until it is done") from None
        if _is_same_file(opened, part):  # else it got its final name meanwhile, and is not ours to empty
            return opened
        os.close(opened)


def _is_same_file(opened: int, path: Path) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(opened))
    except FileNotFoundError:
        return False


def is_being_written(file: Path) -> bool:
    """Whether a process is writing the draft of `file`."""
    try:
        draft = file.with_name(f"{file.name}{DRAFT_SUFFIX}")
        with open(os.open(draft, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def remove_path(path: Path) -> None:
    """Remove a file or a link, or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def require_free_space(folder: Path, size: int) -> None:
    """Raises Unwritable if `size` bytes would leave too little room on the folder's disk."""
    free, needed = shutil.disk_usage(folder).free, size + SPARE_BYTES
    if free < needed:
        raise Unwritable(
            f"the disk of {folder} has {free >> 20:,} MiB free, and {needed >> 20:,} MiB are needed",
            remedy="make room, or choose another disk",
        )


@contextlib.contextmanager
def explain_os_errors(what: str) -> Iterator[None]:
    """Raises Unwritable in place of OSError: `what` failed, and why."""
    try:
        yield
    except OSError as error:
        remedy = "check who owns it, and run this as its owner or as root"
        raise Unwritable(f"{what}: {error.strerror or error}", remedy=remedy) from error


def fsync_path(path: Path) -> None:
    """Have a file, or the names in a folder, on disk. Raises OSError."""
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
