"""Around the database file: its lock file, its owner, and the free space on its disk."""

import contextlib
import fcntl
import os
from pathlib import Path

from receiver.core.errors import DatabaseLocked, StoreUnavailable

FREE_FLOOR = 16 << 20  # bytes: below it callbacks are refused, so that work on the stored ones can still be recorded


def take_lock(path: Path) -> int:
    """Lock the database at `path` for this process; returns a descriptor, and closing it releases the lock.

    Creates the folder if necessary. Raises DatabaseLocked if another process holds the lock, and StoreUnavailable.
    """
    path = path.resolve()  # links to one file share one lock
    beside = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # O_NOFOLLOW: in another user's folder, a link could make root chown some other file
        lock = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StoreUnavailable(
            f"cannot open {beside}: {error.strerror}", remedy="check the owner and mode of its directory"
        ) from error
    if os.fstat(lock).st_nlink == 1:
        chown_if_root(lock, database_owner(path))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise DatabaseLocked(
            f"another process is using {path}", remedy="stop it first, or set RECEIVER_DATABASE_URL to another file"
        ) from None
    return lock


def database_owner(path: Path) -> tuple[int, int]:
    """The user and group that own the database at `path`, or its folder while there is no database yet."""
    try:
        found = path.stat()
    except FileNotFoundError:
        found = path.parent.stat()
    return found.st_uid, found.st_gid


def chown_if_root(file: int | Path, whose: tuple[int, int]) -> None:
    """Give a file that we created to this user and group if we are root; otherwise it would lock them out.

    SQLite does the same for the files that it creates beside a database.
    """
    if os.geteuid() == 0:
        with contextlib.suppress(PermissionError):  # a user namespace without these ids
            os.chown(file, *whose, follow_symlinks=isinstance(file, int))


def disk_full_reason(path: Path) -> str | None:
    """Why no more callbacks may be stored in the database at `path`; None while the disk has room.

    The limit is `FREE_FLOOR` bytes, or a sixteenth of a disk that is smaller than 256 MiB.
    """
    try:
        disk = os.statvfs(path)
    except OSError:
        return None  # SQLite will report the problem itself
    free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    if free >= min(FREE_FLOOR, total // 16):
        return None
    return f"the disk is full: {free >> 10:,} of {total >> 10:,} KiB are free"
