"""Backup copies of a database: made while the service runs, verified page by page, prepared to be served again.

A copy is a normal SQLite database with one table more, `backup`: what belongs to a backup and is not in the database.
"""

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from msgspec import Struct

from receiver.atomic_files import fsync_path
from receiver.core.errors import CorruptDatabase, StoreError
from receiver.store.migrations.steps import missing_migrations
from receiver.store.sqlite.errors import translate_errors
from receiver.store.sqlite.expected_schema import refuse_foreign_schema
from receiver.store.sqlite.files import SIDE_FILES, OpeningGuard
from receiver.store.sqlite.restored_books import carry_spend
from receiver.store.sqlite.write_ahead_log import count_left_out, is_log_header
from receiver.store.tables.connection import placeholders

FLUSH_S = 0.05  # between two hints to the kernel to write back what is there
_STEPS = 4_000  # virtual machine instructions between two rests: some milliseconds
_REST_SHARE = 0.25  # of the working time
# A 64-bit checksum of the copy, in two header fields that SQLite leaves to its users. SQLite's own check does not see
# bit rot in a row that no index holds. https://www.sqlite.org/fileformat.html#the_database_header
_CHECKSUM_PLACES = (60, 68)
_HEADER_BYTES = 100  # bytes


class DatabaseSummary(Struct, frozen=True):
    """What a database holds: its schema, its tasks, those still queued, and the extra content `kept` in a backup."""

    schema: int
    tasks: int
    queued: int
    kept: Mapping[str, bytes]  # empty: a plain database, not made by `copy_database`


class FoldedLog(Struct, frozen=True):
    """What became of a -wal: how many pages were taken from it, and how many of an unfinished transaction were not."""

    pages: int = 0
    left_out: int = 0


def copy_database(source: Path, target: Path, kept: Mapping[str, bytes]) -> DatabaseSummary:
    """Write a snapshot of the database at `source`, and `kept`, into the empty file `target`; then it is on disk.

    The snapshot holds everything committed before, even if the service keeps writing. The copying pauses now and then
    to leave time for the service. Raises StoreUnavailable, CorruptDatabase (also if the copy is damaged), and
    StoreError if `source` is not a receiver database.
    """
    # An unused database is opened in "rw" mode, so that SQLite removes the -wal file that reading creates.
    mode = "ro" if os.path.exists(f"{source}-wal") else "rw"
    with translate_errors(), _open_raw(source, mode) as raw, _background_flush(target):
        raw.set_progress_handler(_make_throttle(), _STEPS)
        raw.execute("PRAGMA synchronous = OFF")  # for the copy, which is synchronised below, in small steps
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
    """Check every page and index of a database that is not in use, and summarise it.

    Raises CorruptDatabase, NewerSchema, or StoreError if it is not a receiver database, or holds more than one.
    """
    with translate_errors(), _open_raw(path, "ro", immutable=True) as raw:
        raw.execute("PRAGMA trusted_schema = OFF")  # it may come from anywhere
        if restful:
            raw.set_progress_handler(_make_throttle(), _STEPS)
        names = {name for (name,) in raw.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if not {"migrations", "tasks"} <= names:
            raise StoreError("this is not a receiver database")
        [(schema,)] = raw.execute("SELECT coalesce(max(number), 0) FROM migrations")
        missing_migrations("sqlite", schema)
        refuse_foreign_schema(raw)
        found = raw.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise CorruptDatabase(f"SQLite's integrity check failed: {' '.join(str(found).split())[:200]}")
        [(tasks,)] = raw.execute("SELECT count(*) FROM tasks")
        [(queued,)] = raw.execute("SELECT count(*) FROM tasks WHERE state = 'queued'")
        kept = dict(raw.execute("SELECT name, content FROM backup")) if "backup" in names else {}
    if kept:
        with path.open("rb") as file:
            if _file_checksum(file) != b"".join(os.pread(file.fileno(), 4, place) for place in _CHECKSUM_PLACES):
                raise CorruptDatabase("its checksum does not match")
    return DatabaseSummary(schema, tasks, queued, kept)


def is_backup(path: Path) -> bool:
    """Whether a file was made by `copy_database`."""
    with suppress(sqlite3.Error), _open_raw(path, "ro", immutable=True) as raw:
        return bool(raw.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'backup'").fetchall())
    return False


def fold_in_log(path: Path) -> FoldedLog:
    """Move what is in the -wal (or -journal) of a copy that is not in use into the copy itself; then they are gone.

    Commits that had not reached the database itself are in there alone. Raises a kind of StoreError, also where SQLite
    would take a -wal that is damaged, cut off or another database's for a shorter one.
    """
    log = Path(f"{path}-wal")
    size = log.stat().st_size if log.exists() else 0
    if size:
        with log.open("rb") as file:
            if not is_log_header(file.read(32)):
                raise CorruptDatabase("its header is damaged")
    known = _sample_refs(path)
    with translate_errors(), _open_raw(path, "rw") as raw:
        raw.execute("PRAGMA trusted_schema = OFF")
        raw.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # rolls a -journal back
        [(_, pages, _)] = raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        folded = FoldedLog(max(0, pages))
        if size:
            with log.open("rb") as file:
                folded = FoldedLog(folded.pages, count_left_out(file, size, folded.pages))
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        raw.execute("PRAGMA journal_mode = DELETE")
    for end in SIDE_FILES:
        Path(f"{path}{end}").unlink(missing_ok=True)
    if known and not _has_any_task(path, known):
        raise CorruptDatabase("none of the database's tasks would be left, so it is another database's")
    fsync_path(path)
    return folded


def _sample_refs(path: Path) -> list[str]:
    """Refs of some of the oldest and the newest tasks in the database itself; none if they cannot be read."""
    with suppress(sqlite3.Error), _open_raw(path, "ro", immutable=True) as raw:
        rows = raw.execute(
            "SELECT * FROM (SELECT ref FROM tasks ORDER BY ref LIMIT 100)"
            " UNION SELECT * FROM (SELECT ref FROM tasks ORDER BY ref DESC LIMIT 100)"
        )
        return [ref for (ref,) in rows]
    return []


def _has_any_task(path: Path, refs: Sequence[str]) -> bool:
    with translate_errors(), _open_raw(path, "ro", immutable=True) as raw:
        return bool(raw.execute(f"SELECT 1 FROM tasks WHERE ref IN ({placeholders(len(refs))})", refs).fetchone())


def prepare_restored(path: Path, now: int, *, queue: bool, batches_closed: str, made_at: int | None = None) -> int:
    """Prepare a copy that is not in use to be served: remove the backup's extra content without a trace.

    Queued tasks may have been submitted after the copy was made, and submitting them again could cost twice. So unless
    `queue`, they end up like tasks whose process died while submitting them, also those that waited for another one.
    Nor does the copy know the rows that a batch took since it was made (`made_at`, if that is known), so open batches
    are closed, with `batches_closed` as the reason; and the database remembers that it was restored. Returns how many.

    Raises a kind of StoreError.
    """
    closed = 0
    with translate_errors(), _open_raw(path, "rw") as raw:
        raw.executescript("PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;")
        raw.execute("BEGIN IMMEDIATE")
        raw.execute("DROP TABLE IF EXISTS backup")
        raw.execute("PRAGMA user_version = 0")
        raw.execute("PRAGMA application_id = 0")
        if raw.execute("SELECT 1 FROM sqlite_schema WHERE name = 'served'").fetchone():
            raw.execute("DELETE FROM served")  # where it is restored, a person wants it served
        if raw.execute("SELECT 1 FROM sqlite_schema WHERE name = 'restores'").fetchone():
            raw.execute("INSERT INTO restores (at, made_at) VALUES (?, ?)", (now, made_at))
        if raw.execute("SELECT 1 FROM sqlite_schema WHERE name = 'sessions'").fetchone():  # none comes back to life
            raw.execute(
                "INSERT OR REPLACE INTO sessions (id, generation, since) VALUES (1, lower(hex(randomblob(8))), ?)",
                (now,),
            )
        if not queue:
            raw.execute(
                "UPDATE tasks SET state = 'submitting', held_by = NULL, due_at = NULL, submitted_at = ?,"
                " lease_until = 0, claim = claim + 1 WHERE state = 'queued'",
                (now,),
            )
            if raw.execute("SELECT 1 FROM sqlite_schema WHERE name = 'followups'").fetchone():
                raw.execute("UPDATE tasks SET children = 0, picks = 0 WHERE children > 0")  # none is held any more
                raw.execute("DELETE FROM followups")
            if raw.execute("SELECT 1 FROM sqlite_schema WHERE name = 'lanes'").fetchone():
                closed = raw.execute(
                    "UPDATE lanes SET closed_at = ?, closed_why = ? WHERE batch = 1 AND closed_at IS NULL",
                    (now, batches_closed),
                ).rowcount
        raw.execute("COMMIT")
    fsync_path(path)
    return closed


def carry_books(copy: Path, previous: Path) -> int | None:
    """Count in a copy that is not in use what `previous`, which it replaces, has spent since, in nano-USD; None if that
    cannot be read."""
    if not previous.exists():
        return None
    with suppress(sqlite3.Error), _open_raw(previous, "rw") as old, _open_raw(copy, "rw") as raw:  # with its log
        old.execute("PRAGMA trusted_schema = OFF")
        return carry_spend(raw, old)
    return None


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
    """Checkpoint a database that is not in use: move its log into its file and remove the log, if possible."""
    with suppress(sqlite3.Error), _open_raw(path, "rw") as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def _open_raw(path: Path, mode: str, *, immutable: bool = False) -> Iterator[sqlite3.Connection]:
    uri = f"file:{quote(str(path.absolute()))}?mode={mode}{'&immutable=1' if immutable else ''}"
    guard = OpeningGuard(path)
    with closing(sqlite3.connect(uri, uri=True, timeout=5, isolation_level=None)) as raw:
        guard.check()
        raw.execute("PRAGMA cache_size = -2000")
        yield raw


def _make_throttle() -> Callable[[], int]:
    """A progress handler that sleeps for a share of the time since its last rest."""
    ended = time.monotonic()

    def throttle() -> int:
        nonlocal ended
        time.sleep(_REST_SHARE * min(0.1, time.monotonic() - ended))
        ended = time.monotonic()
        return 0

    return throttle


@contextmanager
def _background_flush(path: Path) -> Iterator[None]:
    """Write a growing file back to the disk bit by bit; all at once, it would delay every other commit."""
    over = threading.Event()

    def flush_until_over() -> None:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while not over.wait(FLUSH_S):
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)  # starts writing and does not wait
        finally:
            os.close(file)

    thread = threading.Thread(target=flush_until_over, name="flush", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
