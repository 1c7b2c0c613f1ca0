"""SQLite's errors as ours."""

import contextlib
import sqlite3
from collections.abc import Iterator

from receiver.core.errors import CorruptDatabase, StoreUnavailable

_PASSING_ERRORS = {
    sqlite3.SQLITE_BUSY: "another process holds the database",
    sqlite3.SQLITE_LOCKED: "another connection holds the database",
    sqlite3.SQLITE_READONLY: "the database cannot be written",
    sqlite3.SQLITE_IOERR: "the disk reports an error",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_PERM: "access to the database is denied",
    sqlite3.SQLITE_PROTOCOL: "too many processes compete for the database's lock",
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened",
    sqlite3.SQLITE_NOMEM: "the process is out of memory",
    sqlite3.SQLITE_INTERRUPT: "the query took too long",
}


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """Translate SQLite's errors: passing ones become StoreUnavailable, damage CorruptDatabase; others are bugs."""
    try:
        yield
    except sqlite3.ProgrammingError as error:
        if "closed" in str(error):
            raise StoreUnavailable("the store is closing") from error
        raise
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _PASSING_ERRORS:
            raise StoreUnavailable(f"{_PASSING_ERRORS[code]} ({error})") from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise CorruptDatabase(
                f"the database is damaged ({error})",
                remedy="stop the service, keep a copy of the file, and restore a backup",
            ) from error
        raise
    except ValueError as error:
        if str(error) in ("no active connection", "Connection closed"):
            raise StoreUnavailable("the store is closing") from error
        raise
