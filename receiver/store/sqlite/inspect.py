"""Inspects a database from outside, read-only and without its lock, so that the service may be running.

The inspection is short, because a reader prevents the write-ahead log from being reset.
"""

import os
import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct

from receiver.core.errors import CorruptDatabase, StoreError, StoreUnavailable
from receiver.store.migrations.steps import missing_migrations
from receiver.store.sqlite.files import OpeningGuard

WHOLE_MOST = 128 << 20  # bytes: larger databases are not checked page by page
CHECK_MOST_S = 3.0
_STEPS = 20_000  # virtual machine instructions between two looks at the clock: a few milliseconds
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class DatabaseInspection(Struct, frozen=True):
    """What was found: the number of `missing` migrations, sizes in bytes, and whether every page was `checked`."""

    schema: int
    missing: int
    size: int
    log_size: int
    checked: bool


def inspect_database(path: Path) -> DatabaseInspection:
    """Inspect the SQLite database at `path`. Blocks for `CHECK_MOST_S` at most, plus a second if it is busy.

    Raises CorruptDatabase, NewerSchema, StoreUnavailable, UnsafeFile, or StoreError if it is not a receiver database.
    """
    # Opening an unused database in the normal way would create a -wal file, which might belong to the wrong user.
    if os.path.exists(f"{path}-wal"):
        return _inspect_with(path, "mode=ro")
    try:
        return _inspect_with(path, "immutable=1")
    except StoreError:
        if os.path.exists(f"{path}-wal"):  # it was opened meanwhile, and we may have read half a change
            return _inspect_with(path, "mode=ro")
        raise


def _inspect_with(path: Path, how: str) -> DatabaseInspection:
    guard = OpeningGuard(path)
    try:
        raw = sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True, timeout=1, isolation_level=None)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the database cannot be opened ({error})") from error
    try:
        guard.check()
        [(schema,)] = raw.execute("SELECT coalesce(max(number), 0) FROM migrations")
        steps = len(missing_migrations("sqlite", schema))
        size = path.stat().st_size
        return DatabaseInspection(
            schema, steps, size, _file_size(f"{path}-wal"), checked=size <= WHOLE_MOST and _check_pages(raw)
        )
    except sqlite3.Error as error:
        if "no such table" in str(error):
            raise StoreError("this is not a receiver database: it has no migrations table") from error
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
            raise CorruptDatabase(f"the database is damaged ({error})") from error
        raise StoreUnavailable(f"the database cannot be read ({error})") from error
    finally:
        raw.close()


def _check_pages(raw: sqlite3.Connection) -> bool:
    """Check every page; False if there was not enough time for all of them. Raises CorruptDatabase."""
    end = time.monotonic() + CHECK_MOST_S
    raw.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    try:
        found = raw.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_INTERRUPT:
            return False
        raise
    if found != "ok":
        raise CorruptDatabase(f"the database is damaged ({' '.join(str(found).split())[:200]})")
    return True


def _file_size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
