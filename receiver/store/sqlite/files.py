"""Where a database is: the lock beside it, whose its files are, and the room that is left on its disk."""

import contextlib
import fcntl
import os
from pathlib import Path

from receiver.core.errors import DatabaseLocked, StoreUnavailable

FREE_FLOOR = 16 << 20  # bytes that callbacks leave free, so that what follows from those we have can still be recorded


def take_lock(path: Path) -> int:
    """The lock of the database at `path`, for this process alone, as a descriptor to be closed; makes its folder.

    Raises Locked where another process has it, and Unavailable.
    """
    path = path.resolve()  # one file, by whatever name
    beside = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # no link: the folder may be another user's, who would have root give away what it leads to
        lock = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StoreUnavailable(
            f"cannot open {beside}: {error.strerror}; check the directory's owner and mode"
        ) from error
    if os.fstat(lock).st_nlink == 1:
        chown_if_root(lock, database_owner(path))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise DatabaseLocked(
            f"another process is running on {path}; stop it first, or point RECEIVER_DATABASE_URL elsewhere"
        ) from None
    return lock


def database_owner(path: Path) -> tuple[int, int]:
    """The user and the group that a database at `path` belongs to: its own, or its folder's where there is none yet."""
    try:
        found = path.stat()
    except FileNotFoundError:
        found = path.parent.stat()
    return found.st_uid, found.st_gid


def chown_if_root(file: int | Path, whose: tuple[int, int]) -> None:
    """Let a file that we made belong to this user and group, if we are root: else it would lock them out.

    SQLite does so itself with the files that it makes beside a database.
    """
    if os.geteuid() == 0:
        with contextlib.suppress(PermissionError):  # a namespace that does not know them
            os.chown(file, *whose, follow_symlinks=isinstance(file, int))


def disk_full_reason(path: Path) -> str | None:
    """Why no more callbacks may be stored in the database at `path`; None while there is room.

    That is less than `FLOOR` bytes, or a sixteenth of a disk that is smaller than 256 MiB.
    """
    try:
        disk = os.statvfs(path)
    except OSError:
        return None  # SQLite will say so itself
    free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    if free >= min(FREE_FLOOR, total // 16):
        return None
    return f"the disk is full: {free >> 10:,} of {total >> 10:,} KiB are free"
