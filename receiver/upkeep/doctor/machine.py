"""What can be seen on this machine: whose the files are and who may read them, the room on the disk, the database."""

import os
import pwd
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from receiver.core.errors import CorruptDatabase, NewerSchema, StoreError
from receiver.pictures.archive import disk_reserve
from receiver.store.sqlite.engine import LOG_MOST
from receiver.store.sqlite.inspect import inspect_database
from receiver.upkeep.doctor.findings import Finding, failure, ok, skip, warning

ROOM_LEAST = 64 << 20  # bytes, under which callbacks are about to be refused
LOG_LONG = 4 * LOG_MOST  # bytes of a write-ahead log that should have started again long ago
_BESIDE = ("", "-wal", "-shm", ".lock")


class DiskSpace(Struct, frozen=True):
    """Room in bytes, files that can still be made (None: the file system does not count them)."""

    free: int
    total: int
    files: int | None
    read_only: bool


def check_permissions(
    state_dir: Path, check_database: Path, kept: Sequence[str], named: Sequence[tuple[str, Path]]
) -> Iterator[Finding]:
    """Who owns the state, and who may read what is secret: the files `kept` in it, and those that settings have `named`
    (with what they are called)."""
    wrong = [*_check_state_dir(state_dir, check_database, kept), *_check_named_files(named)]
    yield from wrong
    if not wrong:
        owner = f", owner {_user_name(state_dir.stat().st_uid)}" if state_dir.exists() else ", made at the first start"
        yield ok(f"{state_dir}{owner}; nothing secret is for others to read")


def _check_state_dir(state_dir: Path, database: Path, kept: Sequence[str]) -> Iterator[Finding]:
    if not state_dir.exists():
        near = next(it for it in state_dir.absolute().parents if it.exists())
        if not near.is_dir() or not os.access(near, os.W_OK | os.X_OK):
            yield failure(f"{state_dir} is not there, and cannot be made", f"make {near} writable, or set STATE_DIR")
        return
    if not state_dir.is_dir():
        yield failure(f"{state_dir} is no directory", "move it away, or set STATE_DIR to another place")
        return
    found = state_dir.stat()
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield failure(f"others may write into {state_dir}, and so replace the keys", f"chmod go-w {state_dir}")
    if not os.access(state_dir, os.R_OK | os.W_OK | os.X_OK):
        remedy = f"run the doctor as {_user_name(found.st_uid)} or root"
        yield failure(f"{state_dir} is closed to {_user_name(os.geteuid())}", remedy)
        return
    files = [state_dir / name for name in kept] + [Path(f"{database}{suffix}") for suffix in _BESIDE]
    for path in files:
        if path.exists():
            yield from _check_own_file(path, found.st_uid)


def _check_own_file(path: Path, owner: int) -> Iterator[Finding]:
    """A file of the service's own: its owner's alone."""
    found = path.stat()
    if found.st_uid != owner:
        users = f"{_user_name(found.st_uid)}, its directory to {_user_name(owner)}"
        text = f"{path} belongs to {users}: one of them is locked out"
        yield failure(text, f"chown --reference={path.parent} {path}")
    if stat.S_IMODE(found.st_mode) & 0o077:
        yield failure(f"others may read {path} (mode {stat.S_IMODE(found.st_mode):04o})", f"chmod 600 {path}")


def _check_named_files(named: Sequence[tuple[str, Path]]) -> Iterator[Finding]:
    """Files that a person made: a group may share them, but not everybody."""
    for what, path in named:
        if path.exists() and path.stat().st_mode & 0o007:
            yield failure(f"everybody may read {path}, which holds {what}", f"chmod o= {path}")


def check_disk(state_dir: Path) -> Iterator[Finding]:
    """The room where the state is kept."""
    near = next(it for it in (state_dir.absolute(), *state_dir.absolute().parents) if it.is_dir())
    found = os.statvfs(near)
    yield judge_disk(
        DiskSpace(
            free=found.f_bavail * found.f_frsize,
            total=found.f_blocks * found.f_frsize,
            files=found.f_favail if found.f_files else None,
            read_only=bool(found.f_flag & os.ST_RDONLY),
        ),
        near,
    )


def judge_disk(found: DiskSpace, place: Path) -> Finding:
    """What a disk's figures mean. Pure."""
    room = f"{_format_bytes(found.free)} of {_format_bytes(found.total)} free at {place}"
    if found.read_only:
        return failure(f"the disk at {place} is read-only", "see `dmesg` for the reason, and mount it writable")
    if found.files == 0:
        return failure(f"the disk at {place} can hold no more files", "remove some: `df -i` tells of inodes")
    if found.free < ROOM_LEAST:
        return failure(f"{room}: callbacks are about to be refused", "free some, or give the service a larger disk")
    if found.free < disk_reserve(found.total):
        least = _format_bytes(disk_reserve(found.total))
        return warning(f"{room}: under {least} no picture is archived", "free some, or give the service a larger disk")
    return ok(room)


def database(path: Path) -> Iterator[Finding]:
    """The database, read while the service may be writing to it."""
    if not path.exists():
        if (folder := path.parent.absolute()).is_dir():
            yield ok(f"{path} is made at the first start")
        else:
            yield failure(
                f"there is no directory {folder} for {path.name}", f"mkdir -p {folder}, or set DATABASE_URL right"
            )
        return
    if not os.access(path, os.R_OK):
        yield skip(f"{path} is not for {_user_name(os.geteuid())} to read", "run the doctor as its owner or as root")
        return
    try:
        seen = inspect_database(path)
    except NewerSchema as error:
        yield failure(*_split_remedy(str(error)))
    except CorruptDatabase as error:
        yield failure(f"{path}: {error}", "stop the service, keep a copy of the file, and restore a backup")
    except StoreError as error:
        yield failure(f"{path}: {error}", "see who else holds it, and whether DATABASE_URL names the right file")
    else:
        parts = [
            f"{path}, schema {seen.schema}, {_format_bytes(seen.size)}, write-ahead log {_format_bytes(seen.log_size)}"
        ]
        parts += [f"a start brings it {seen.missing} step{'s'[: seen.missing - 1]} further"] if seen.missing else []
        parts += [] if seen.checked else ["too large to be checked here; a backup checks its copy whole"]
        yield ok("; ".join(parts))
        if seen.log_size > LOG_LONG:
            text = f"its write-ahead log has grown to {_format_bytes(seen.log_size)}"
            yield warning(text, "end what reads it for long: a sqlite3 shell, or a backup that hangs")


def _split_remedy(text: str) -> tuple[str, str]:
    what, _, remedy = text.partition(": ")
    return what, remedy


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # a DynamicUser that does not run now
        return f"user {number}"


def _format_bytes(count: int) -> str:
    size, units = float(count), iter(("KiB", "MiB", "GiB"))
    unit = "bytes"
    while size >= 1024 and (larger := next(units, None)):
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "bytes" or size >= 10 else f"{size:.1f} {unit}"
