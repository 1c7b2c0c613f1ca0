"""Whole copies of a database: made while the service runs, judged page by page, and made ready to be served again.

A copy is an SQLite database like any other, with one table more: what belongs to a backup and is not in the database.
"""

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from msgspec import Struct

from receiver.atomic_files import fsync_path
from receiver.core.errors import CorruptDatabase, StoreError
from receiver.store.migrations.steps import missing_migrations
from receiver.store.sqlite.engine import translate_errors

FLUSH_S = 0.05  # between two times that the disk is given what was written meanwhile
_STEPS = 4_000  # of SQLite's machine, between two rests: some milliseconds
_REST_SHARE = 0.25  # of the time that was worked
# Of each copy 64 bits of a digest of its bytes, in two places of the header that SQLite leaves to its users: what is in
# a row, and in no index, could rot without its noticing. https://www.sqlite.org/fileformat.html#the_database_header
_CHECKSUM_PLACES = (60, 68)
_HEADER_BYTES = 100  # bytes


class DatabaseSummary(Struct, frozen=True):
    """What a database holds: its schema, how many tasks, how many of them still queued, and what was `kept` with it."""

    schema: int
    tasks: int
    queued: int
    kept: Mapping[str, bytes]  # empty: it is a plain database, and was not made by `copy`


def copy_database(source: Path, target: Path, kept: Mapping[str, bytes]) -> DatabaseSummary:
    """Write a snapshot of the database at `source` into the empty file `target`, with `kept`; it is on disk then.

    Of a database that is being written to it holds all that was committed before. It rests now and then, for the sake
    of who writes. Raises Unavailable, Corrupt (also of the copy), StoreError where it is no database of ours.
    """
    # One that nobody uses is opened for writing, though nothing is written: then the log that reading makes goes again.
    mode = "ro" if os.path.exists(f"{source}-wal") else "rw"
    with translate_errors(), _open_raw(source, mode) as raw, _background_flush(target):
        raw.set_progress_handler(_make_throttle(), _STEPS)
        raw.execute("PRAGMA synchronous = OFF")  # of the copy, which is synchronised below, and not all at once
        raw.execute("VACUUM INTO ?", (str(target),))
    with translate_errors(), _open_raw(target, "rw") as raw:
        raw.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
        raw.execute("DROP TABLE IF EXISTS backup")
        raw.execute("CREATE TABLE backup (name TEXT PRIMARY KEY, content BLOB NOT NULL) STRICT, WITHOUT ROWID")
        raw.executemany("INSERT INTO backup (name, content) VALUES (?, ?)", list(kept.items()))
    with target.open("r+b") as file:
        seal = _file_checksum(file)
        for place, part in zip(_CHECKSUM_PLACES, (seal[:4], seal[4:]), strict=True):
            os.pwrite(file.fileno(), part, place)
        os.fsync(file.fileno())
    return verify_database(target, restful=True)


def verify_database(path: Path, *, restful: bool = False) -> DatabaseSummary:
    """What a database that nobody uses holds, after every page and index was checked. Raises Corrupt, Newer,
    StoreError where it is no database of ours."""
    with translate_errors(), _open_raw(path, "ro", immutable=True) as raw:
        if restful:
            raw.set_progress_handler(_make_throttle(), _STEPS)
        names = {name for (name,) in raw.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if not {"migrations", "tasks"} <= names:
            raise StoreError("this is no database of receiver's")
        [(schema,)] = raw.execute("SELECT coalesce(max(number), 0) FROM migrations")
        missing_migrations("sqlite", schema)
        found = raw.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise CorruptDatabase(f"it does not pass SQLite's own check: {' '.join(str(found).split())[:200]}")
        [(tasks,)] = raw.execute("SELECT count(*) FROM tasks")
        [(queued,)] = raw.execute("SELECT count(*) FROM tasks WHERE state = 'queued'")
        kept = dict(raw.execute("SELECT name, content FROM backup")) if "backup" in names else {}
    if kept:
        with path.open("rb") as file:
            if _file_checksum(file) != b"".join(os.pread(file.fileno(), 4, place) for place in _CHECKSUM_PLACES):
                raise CorruptDatabase("its bytes are not those that were written")
    return DatabaseSummary(schema, tasks, queued, kept)


def is_backup(path: Path) -> bool:
    """Whether a file was made by `copy`."""
    with suppress(sqlite3.Error), _open_raw(path, "ro", immutable=True) as raw:
        return bool(raw.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'backup'").fetchall())
    return False


def prepare_restored(path: Path, now: int, *, queue: bool) -> None:
    """Make a copy that nobody uses ready to be served: what was kept with it leaves no trace in it.

    Unless `queue`, its queued tasks become such as were being submitted when their process died: nobody knows whether
    they were since the copy was made, and a repeat could be paid twice. Raises StoreError's children.
    """
    with translate_errors(), _open_raw(path, "rw") as raw:
        raw.executescript("PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;")
        raw.execute("BEGIN IMMEDIATE")
        raw.execute("DROP TABLE IF EXISTS backup")
        raw.execute("PRAGMA user_version = 0")
        raw.execute("PRAGMA application_id = 0")
        if not queue:
            raw.execute(
                "UPDATE tasks SET state = 'submitting', held_by = NULL, due_at = NULL, submitted_at = ?,"
                " lease_until = 0, claim = claim + 1 WHERE state = 'queued'",
                (now,),
            )
        raw.execute("COMMIT")
    fsync_path(path)


def _file_checksum(file: BinaryIO) -> bytes:
    header = bytearray(os.pread(file.fileno(), _HEADER_BYTES, 0))
    for place in _CHECKSUM_PLACES:
        header[place : place + 4] = bytes(4)
    digest = hashlib.blake2b(header, digest_size=8)
    file.seek(_HEADER_BYTES)
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.digest()


def checkpoint_wal(path: Path) -> None:
    """Bring what is in the log of a database that nobody uses into its file, and remove the log, if that can be."""
    with suppress(sqlite3.Error), _open_raw(path, "rw") as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def _open_raw(path: Path, mode: str, *, immutable: bool = False) -> Iterator[sqlite3.Connection]:
    uri = f"file:{quote(str(path.absolute()))}?mode={mode}{'&immutable=1' if immutable else ''}"
    with closing(sqlite3.connect(uri, uri=True, timeout=5, isolation_level=None)) as raw:
        raw.execute("PRAGMA cache_size = -2000")
        yield raw


def _make_throttle() -> Callable[[], int]:
    """For a progress handler: rest for a share of the time that went by since the last rest."""
    ended = time.monotonic()

    def throttle() -> int:
        nonlocal ended
        time.sleep(_REST_SHARE * min(0.1, time.monotonic() - ended))
        ended = time.monotonic()
        return 0

    return throttle


@contextmanager
def _background_flush(path: Path) -> Iterator[None]:
    """Bring what is written into a file to the disk bit by bit: at once, it would hold every other commit up."""
    over = threading.Event()

    def flush_until_over() -> None:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while not over.wait(FLUSH_S):
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)  # begins to write, and waits for nothing
        finally:
            os.close(file)

    thread = threading.Thread(target=flush_until_over, name="flush", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
