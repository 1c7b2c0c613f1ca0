"""PostgreSQL's errors as ours, by SQLSTATE.

Only what is certainly the fault of a row comes through as it is, since callbacks are then stored one by one and the one
at fault without its outcome. A race becomes StaleUpdate, and whatever is unknown StoreUnavailable: an outage must never
look like a bad row.
"""

import contextlib
from collections.abc import Iterator

import asyncpg

from receiver.core.errors import ReceiverError, StaleUpdate, StoreError, StoreUnavailable

_OF_ROW = ("22",)  # classes: data that cannot be stored
_OF_ROW_TOO = frozenset({"23502", "23514", "54000"})
_RACES = frozenset({"23505", "40P01", "40001", "0A000"})  # taken, deadlock, not serializable, plan of an older schema
_BUGS = ("42",)
_TEXTS = {
    "55P03": "others hold what this needs",
    "57014": "the database took too long",
    "53300": "the database has no connection left",
    "53100": "the database's disk is full",
    "25006": "the database is read-only, as a replica is",
    "25P03": "the database ended a transaction that was idle",
    "57P01": "the database is shutting down",
    "57P02": "the database is restarting after a crash",
    "57P03": "the database is starting",
}
_SHORTLY = frozenset({"55P03", "57014", "53300"})
RETRY_SHORTLY_S = 2


class OutcomeUnknown(StoreUnavailable):
    """The connection ended while a transaction was being committed: it may be stored, and may not."""

    outcome_unknown = True


def is_of_row(error: BaseException) -> bool:
    """Whether a value is at fault that cannot be stored."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state in _OF_ROW_TOO or state.startswith(_OF_ROW)
    return isinstance(error, ValueError) and not isinstance(error, OSError)  # half a character; no wrong certificate


def is_bug(error: BaseException) -> bool:
    """Whether a statement is at fault, or the use of the connection."""
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith(_BUGS)


def ends_connections(error: BaseException) -> bool:
    """Whether after this error no connection is to be used again that was there before."""
    cause = _cause_of(error)
    if isinstance(cause, asyncpg.PostgresError):
        state = cause.sqlstate or ""
        return state.startswith(("08", "57P")) or state in ("25006", "25P03")
    return isinstance(cause, OSError | asyncpg.InterfaceError) and not isinstance(cause, ValueError | TimeoutError)


def may_not_answer(error: BaseException) -> bool:
    """Whether a call took too long, so that what is said next on its connection may, too."""
    return isinstance(error, StoreError) and isinstance(error.__cause__, TimeoutError)


def _cause_of(error: BaseException) -> BaseException:
    return error.__cause__ if isinstance(error, StoreError) and error.__cause__ is not None else error


def as_ours(error: BaseException) -> StoreError | None:
    """What becomes of an error of the driver; None: it stays as it is. Whatever we do not know is an outage."""
    if isinstance(error, ReceiverError) or is_of_row(error) or is_bug(error):
        return None
    if isinstance(error, TimeoutError):
        return StoreUnavailable("the database does not answer in time", retry_after_s=RETRY_SHORTLY_S)
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if state in _RACES:
            return StaleUpdate(f"another process was first ({_first_line(error)})")
        gone = "the connection to the database is gone" if state.startswith("08") else "the database fails"
        text = _TEXTS.get(state, gone)
        return StoreUnavailable(
            f"{text} ({_first_line(error)})", retry_after_s=RETRY_SHORTLY_S if state in _SHORTLY else 5
        )
    if isinstance(error, OSError):
        return StoreUnavailable(f"the database cannot be reached ({error.strerror or type(error).__name__})")
    return StoreUnavailable(f"the connection to the database is gone ({_first_line(error)})")


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """Raise the driver's errors as ours."""
    try:
        yield
    except Exception as error:
        if isinstance(error, asyncpg.PostgresError):
            error.detail = None  # shows values of rows, which are for no log
        ours = as_ours(error)
        if ours is None:
            raise
        raise ours from error


def _first_line(error: BaseException) -> str:
    """The server's own words. Details, which may show values, come after them."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
