"""Checks on this machine: owners and modes of files, room on the disk, the database."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from receiver.core.errors import CorruptDatabase, NewerSchema, StoreError, UnsafeFile
from receiver.pictures.disk_room import disk_reserve
from receiver.safe_open import look_at, user_name
from receiver.store.sqlite.engine import LOG_MOST
from receiver.store.sqlite.inspect import inspect_database
from receiver.upkeep.doctor.findings import Finding, failure, ok, skip, warning

ROOM_LEAST = 64 << 20  # bytes; with less, callbacks will soon be refused
LOG_LONG = 4 * LOG_MOST  # bytes of a write-ahead log that SQLite should have reset long ago
_BESIDE = ("", "-wal", "-shm", ".lock")
_FREE_SPACE = "free some space, or give the service a larger disk"


class DiskSpace(Struct, frozen=True):
    """Room in bytes, and how many more `files` fit (None: the file system does not count them)."""

    free: int
    total: int
    files: int | None
    read_only: bool


def check_permissions(
    state_dir: Path, database: Path | None, kept: Sequence[str], named: Sequence[tuple[str, Path]]
) -> Iterator[Finding]:
    """Check who owns the state directory and who can read secrets: the files `kept` in it, and files that settings
    `named` (pairs of what they hold and their path). Without a `database` it is not a file."""
    wrong = [*_check_state_dir(state_dir, database, kept), *_check_named_files(named)]
    yield from wrong
    if not wrong:
        owner = (
            f", owner {user_name(state_dir.stat().st_uid)}" if state_dir.exists() else ", created at the first start"
        )
        yield ok(f"{state_dir.absolute()}{owner}; other users can read no secrets")


def _check_state_dir(state_dir: Path, database: Path | None, kept: Sequence[str]) -> Iterator[Finding]:
    if not state_dir.exists():
        near = next(it for it in state_dir.absolute().parents if it.exists())
        if not near.is_dir() or not os.access(near, os.W_OK | os.X_OK):
            place = state_dir.absolute()
            remedy = f"make it as root: `install -d -m 700 -o {user_name(os.geteuid())} {place}`, or set STATE_DIR"
            yield failure(f"{state_dir} does not exist and cannot be created", remedy)
        return
    if not state_dir.is_dir():
        yield failure(f"{state_dir} is not a directory", "move it away, or set STATE_DIR to another place")
        return
    found = state_dir.stat()
    shared = found.st_mode & stat.S_ISVTX and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if shared:
        text = f"{state_dir.absolute()} is for all users, so another one could put keys there before the service does"
        yield warning(text, "give the service a folder of its own, with mode 0700, and name it in STATE_DIR")
    elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield failure(f"other users can write to {state_dir} and replace the keys", f"chmod go-w {state_dir}")
    if not os.access(state_dir, os.R_OK | os.W_OK | os.X_OK):
        remedy = f"run the doctor as {' or '.join(dict.fromkeys((user_name(found.st_uid), 'root')))}"
        yield failure(f"{user_name(os.geteuid())} has no access to {state_dir.absolute()}", remedy)
        return
    files = [state_dir / name for name in kept] + [Path(f"{database}{suffix}") for suffix in _BESIDE if database]
    for path in files:
        if os.path.lexists(path):
            yield from _check_own_file(path, None if shared else found)


def _check_own_file(path: Path, folder: os.stat_result | None) -> Iterator[Finding]:
    """Check a file of the service: it must belong to the service's user, and nobody else may read it.

    That user is the owner of the `folder`, unless it is everybody's.

    No remedy touches more than what is in the folder: its owner may have put a link there, to have a file given away.
    """
    try:
        found = look_at(path)
    except UnsafeFile as error:
        yield failure(error.problem, error.remedy or f"remove it: `rm {path}`")
        return
    if found is None:  # removed meanwhile
        return
    if folder is not None and found.st_uid != folder.st_uid:
        users = f"{user_name(found.st_uid)}, its directory to {user_name(folder.st_uid)}"
        text = f"{path} belongs to {users}: one of them is locked out"
        yield failure(text, f"chown -h {folder.st_uid}:{folder.st_gid} {path}")
    if stat.S_IMODE(found.st_mode) & 0o077:
        yield failure(f"other users can read {path} (mode {stat.S_IMODE(found.st_mode):04o})", f"chmod 600 {path}")


def _check_named_files(named: Sequence[tuple[str, Path]]) -> Iterator[Finding]:
    """Check files that a person made: a group may read them, but not everybody."""
    for what, path in named:
        try:
            found = look_at(path)
        except UnsafeFile as error:
            yield failure(f"{error.problem}; it should hold {what}", error.remedy or f"remove it: `rm {path}`")
            continue
        if found is not None and found.st_mode & 0o007:
            yield failure(f"every user can read {path}, which holds {what}", f"chmod o= {path.resolve()}")


def check_disk(state_dir: Path) -> Iterator[Finding]:
    """Check the disk of the state directory."""
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
    """What the figures of a disk mean. Pure."""
    room = f"{_format_bytes(found.free)} of {_format_bytes(found.total)} free at {place}"
    if found.read_only:
        return failure(f"the disk at {place} is read-only", "find the reason with `dmesg`, and mount it writable")
    if found.files == 0:
        return failure(
            f"the disk at {place} can hold no more files", "remove some files; `df -i` shows how many inodes are left"
        )
    if found.free < ROOM_LEAST:
        return failure(f"{room}: callbacks will soon be refused", _FREE_SPACE)
    if found.free < disk_reserve(found.total):
        least = _format_bytes(disk_reserve(found.total))
        return warning(f"{room}: below {least}, pictures are not archived", _FREE_SPACE)
    return ok(room)


def check_database(path: Path, *, made_by_unit: bool = False) -> Iterator[Finding]:
    """Check the database; the service may be writing to it. `made_by_unit`: a unit makes its directory."""
    if not os.path.lexists(path):
        if (folder := path.parent.absolute()).is_dir() or made_by_unit:
            yield ok(f"{path} does not exist yet; the first start creates it")
        else:
            yield failure(
                f"the directory {folder} of the database {path.name} does not exist",
                f"create it with `mkdir -p {folder}`, or correct DATABASE_URL",
            )
        return
    if not os.access(path, os.R_OK):
        yield skip(f"{user_name(os.geteuid())} cannot read {path}", "run the doctor as its owner or as root")
        return
    try:
        seen = inspect_database(path)
    except NewerSchema as error:
        yield failure(f"{path}: {error.problem}", error.remedy or "install a newer version")
    except CorruptDatabase as error:
        remedy = "stop the service, keep a copy of the file, and restore a backup: `receiver restore FILE`"
        yield failure(f"{path}: {error.problem}", remedy)
    except UnsafeFile as error:
        yield failure(error.problem, error.remedy or f"remove it: `rm {path}`")
    except StoreError as error:
        remedy = "check what else uses it, and whether DATABASE_URL names the right file"
        yield failure(f"{path}: {error.problem}", remedy)
    else:
        parts = [
            f"{path}, schema {seen.schema}, {_format_bytes(seen.size)}, write-ahead log {_format_bytes(seen.log_size)}"
        ]
        parts += [f"the next start runs {seen.missing} migration{'s'[: seen.missing - 1]}"] if seen.missing else []
        parts += [] if seen.checked else ["too large to check here; `receiver backup` checks every page"]
        yield ok("; ".join(parts))
        if seen.log_size > LOG_LONG:
            text = f"its write-ahead log has grown to {_format_bytes(seen.log_size)}"
            yield warning(text, "end what has been reading it for long: a sqlite3 shell, or a hanging backup")


def _format_bytes(count: int) -> str:
    size, units = float(count), iter(("KiB", "MiB", "GiB"))
    unit = "bytes"
    while size >= 1024 and (larger := next(units, None)):
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "bytes" or size >= 10 else f"{size:.1f} {unit}"
