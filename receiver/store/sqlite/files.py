"""Around the database file: its lock file, its owner, links in its place, and the free space on its disk."""

import contextlib
import fcntl
import os
import stat
from pathlib import Path

from receiver.core.errors import DatabaseLocked, StoreUnavailable, UnsafeFile
from receiver.safe_open import is_exposed, look_at, opened_files, real_path

SIDE_FILES = ("-wal", "-shm", "-journal")  # that SQLite makes beside a database, after its name
FREE_FLOOR = 16 << 20  # bytes: below it callbacks are refused, so that work on the stored ones can still be recorded


def take_lock(path: Path) -> int:
    """Lock the database at `path` for this process; returns a descriptor, and closing it releases the lock.

    Creates the folder if necessary. Raises DatabaseLocked if another process holds the lock, StoreUnavailable, and
    UnsafeFile.
    """
    path = resolve_database(path)
    beside = path.with_name(path.name + ".lock")
    try:
        look_at(beside)
        # O_NOFOLLOW: in another user's folder, a link could make root chown some other file
        lock = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StoreUnavailable(
            f"cannot open {beside}: {error.strerror}", remedy="check the owner and mode of its directory"
        ) from error
    chown_if_ours(lock, database_owner(path))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise DatabaseLocked(
            f"another process is using {path}", remedy="stop it first, or set RECEIVER_DATABASE_URL to another file"
        ) from None
    return lock


def resolve_database(path: Path) -> Path:
    """The path of the database without links, so that links to one file share its -wal and its .lock.

    Creates the folder if necessary. Raises UnsafeFile, and StoreUnavailable.
    """
    try:
        near = next(it for it in path.absolute().parents if os.path.lexists(it))
        look_at(near)
        path.parent.mkdir(parents=True, exist_ok=True)
        return real_path(path)
    except OSError as error:
        raise StoreUnavailable(
            f"cannot open {path}: {error.strerror}", remedy="check the owner and mode of its directory"
        ) from error


class OpeningGuard:
    """Makes sure that SQLite, which takes names only, opens the database that is there, if root opens another user's.

    Made before the database is opened: none of its files may be a link. `check` is called once it is open, before
    anything is read from it or written to it: what is open has to be what was there before. So a link that takes the
    database's place meanwhile is noticed in time. SQLite itself follows no link in the place of a -wal or -shm. What is
    left is a hard link made at that very moment, which the kernel refuses by default (fs.protected_hardlinks).
    Raises UnsafeFile.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before: set[int] | None = None
        if not is_exposed(path.parent):
            return
        self._seen = [look_at(Path(f"{path}{end}")) for end in ("", *SIDE_FILES)]
        self._before = set(opened_files())

    def check(self) -> None:
        """Compare what this process has open with what was there."""
        if self._before is None:
            return
        opened, [seen, *_] = opened_files(), self._seen
        if seen is None or not any(os.path.samestat(seen, it) for it in opened.values()):
            raise UnsafeFile(
                f"{self._path} was replaced while it was being opened", remedy=f"see what it is: `ls -l {self._path}*`"
            )
        for end in ("", *SIDE_FILES):
            look_at(Path(f"{self._path}{end}"))


def database_owner(path: Path) -> tuple[int, int]:
    """The user and group that own the database at `path`, or its folder while there is no database yet."""
    try:
        found = path.stat()
    except FileNotFoundError:
        found = path.parent.stat()
    return found.st_uid, found.st_gid


def chown_if_ours(opened: int, whose: tuple[int, int]) -> None:
    """Give a file or folder that root has just made to this user and group; otherwise it would lock them out.

    SQLite does the same for the files that it creates beside a database. It takes a descriptor, since another user
    could put a link in the place of a name; and a file that has a second name stays whose it is.
    """
    found = os.fstat(opened)
    alone = found.st_nlink == 1 or stat.S_ISDIR(found.st_mode)
    if os.geteuid() == 0 and found.st_uid == 0 and alone:
        with contextlib.suppress(PermissionError):  # a user namespace without these ids
            os.fchown(opened, *whose)


def chown_path_if_ours(path: Path, whose: tuple[int, int]) -> None:
    """The same by name; not through a link."""
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        chown_if_ours(opened, whose)
    finally:
        os.close(opened)


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
