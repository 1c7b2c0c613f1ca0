"""What a command says of an error of the server: one line with what to do, and nothing of the URL."""

import socket

import asyncpg
import pytest

from receiver.core.errors import StoreError, StoreUnavailable
from receiver.store.postgres.connect import plain_errors

NO_ROUTE = OSError(113, "Connect call failed ('10.0.0.1', 5432)")
GONE = asyncpg.exceptions.ConnectionDoesNotExistError("connection was closed in the middle of operation")


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (asyncpg.InvalidPasswordError("for user"), StoreError, "db:5432/x refuses this user or its password; check"),
        (asyncpg.InvalidAuthorizationSpecificationError("no pg_hba.conf entry"), StoreError, "db:5432/x refuses this"),
        (asyncpg.InvalidCatalogNameError("x"), StoreError, "there is no such database at db:5432/x; make it: CREATE"),
        (
            asyncpg.InsufficientPrivilegeError("denied for tasks"),
            StoreError,
            "may not do that at db:5432/x (denied for",
        ),
        (asyncpg.ReadOnlySQLTransactionError("x"), StoreUnavailable, "db:5432/x cannot be written: it is a replica"),
        (
            asyncpg.CannotConnectNowError("starting up"),
            StoreUnavailable,
            "db:5432/x is starting up or in recovery; try",
        ),
        (
            asyncpg.TooManyConnectionsError("already"),
            StoreUnavailable,
            "db:5432/x has no connection left (already); end",
        ),
        (asyncpg.DiskFullError("no space"), StoreUnavailable, "the disk of db:5432/x is full; free some space on it"),
        (asyncpg.LockNotAvailableError("lock timeout"), StoreUnavailable, "db:5432/x is busy (lock timeout); see who"),
        (asyncpg.QueryCanceledError("statement timeout"), StoreUnavailable, "db:5432/x is busy (statement timeout)"),
        (asyncpg.CharacterNotInRepertoireError("0x00"), StoreError, "db:5432/x cannot store a row of tasks (0x00)"),
        (asyncpg.ProgramLimitExceededError("too big"), StoreError, "db:5432/x cannot store a row of tasks (too big)"),
        (TimeoutError(), StoreUnavailable, "db:5432/x did not answer in time; check the network and the server"),
        (NO_ROUTE, StoreUnavailable, "cannot reach db:5432/x: No route to host; check that the server is up"),
        (socket.gaierror(-2, "Name or service not known"), StoreUnavailable, "cannot reach db:5432/x: Name or service"),
        (GONE, StoreUnavailable, "the connection to db:5432/x was lost; check the server, and run this again"),
        (asyncpg.AdminShutdownError("x"), StoreUnavailable, "the connection to db:5432/x was lost"),
        (asyncpg.InterfaceError("connection is closed"), StoreUnavailable, "the connection to db:5432/x was lost"),
    ],
    ids=lambda it: type(it).__name__ if isinstance(it, Exception) else None,
)
def test_an_error_is_told_in_plain_words(error: Exception, kind: type[StoreError], text: str) -> None:
    with pytest.raises(StoreError) as told, plain_errors("db:5432/x", "tasks"):
        raise error
    assert type(told.value) is kind
    assert str(told.value).startswith((text, f"this user {text}"))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("error", [asyncpg.UndefinedColumnError("x"), KeyError("x"), StoreError("x")])
def test_a_bug_and_what_is_told_already_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as same, plain_errors("db:5432/x"):
        raise error
    assert same.value is error
