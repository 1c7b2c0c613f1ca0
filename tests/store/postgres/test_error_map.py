"""Every error of the server and its driver means something to us: only what is certainly a row's own fault passes."""

import socket
import ssl
from typing import Any

import asyncpg
import pytest

from receiver.core.errors import SettingsError, StaleUpdate, StoreUnavailable
from receiver.store.postgres.errors import as_ours, ends_connections, translate_errors


def kinds(kind: type[Any]) -> set[type[Any]]:
    """It and all kinds of it."""
    return {kind}.union(*map(kinds, kind.__subclasses__()))


OF_SERVER = sorted(
    (kind for kind in kinds(asyncpg.PostgresError) if getattr(kind, "sqlstate", None)),
    key=lambda kind: (kind.sqlstate, kind.__name__),
)
RACES = {"23505", "40P01", "40001", "0A000"}
OF_ROW = {"23502", "23514", "54000"}


def test_asyncpg_knows_them_all() -> None:
    assert len(OF_SERVER) > 200


@pytest.mark.parametrize("kind", OF_SERVER, ids=lambda kind: f"{kind.sqlstate} {kind.__name__}")
def test_every_state_of_the_server(kind: type[asyncpg.PostgresError]) -> None:
    state = kind.sqlstate
    ours = as_ours(kind("what the server says\nDETAIL: with values"))
    if state.startswith("22") or state in OF_ROW:
        assert ours is None, "the row's fault"
    elif state.startswith("42"):
        assert ours is None, "ours"
    elif state in RACES:
        assert isinstance(ours, StaleUpdate)
    else:
        assert isinstance(ours, StoreUnavailable)
        assert ours.retry_after_s == (2 if state in {"55P03", "57014", "53300"} else 5)
    assert "with values" not in str(ours)


def test_a_state_of_a_later_server_is_an_outage() -> None:
    error = asyncpg.PostgresError("made up")
    error.sqlstate = "ZZ999"
    assert isinstance(as_ours(error), StoreUnavailable)


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        ConnectionResetError(104, "Connection reset by peer"),
        ConnectionRefusedError(111, "Connection refused"),
        socket.gaierror(-2, "Name or service not known"),
        ssl.SSLError("handshake"),
        EOFError(),
        RuntimeError("the transport is closed"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("made up"),
        *(kind("made up") for kind in sorted(kinds(asyncpg.InternalClientError), key=lambda it: it.__name__)),
    ],
    ids=lambda it: type(it).__name__,
)
def test_what_the_driver_raises_is_an_outage(error: Exception) -> None:
    with pytest.raises(StoreUnavailable), translate_errors():
        raise error


@pytest.mark.parametrize("error", [asyncpg.DataError("a value"), UnicodeEncodeError("utf-8", "\ud800", 0, 1, "half")])
def test_what_cannot_be_sent_is_the_rows_fault(error: Exception) -> None:
    assert as_ours(error) is None


def test_an_error_of_ours_stays_as_it_is() -> None:
    with pytest.raises(SettingsError), translate_errors():
        raise SettingsError("it is wrong")


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (asyncpg.AdminShutdownError("x"), True),
        (asyncpg.CannotConnectNowError("x"), True),
        (asyncpg.ConnectionDoesNotExistError("x"), True),
        (asyncpg.ReadOnlySQLTransactionError("x"), True),
        (asyncpg.IdleInTransactionSessionTimeoutError("x"), True),
        (asyncpg.InterfaceError("x"), True),
        (ConnectionResetError(), True),
        (asyncpg.DeadlockDetectedError("x"), False),
        (asyncpg.QueryCanceledError("x"), False),
        (asyncpg.UniqueViolationError("x"), False),
        (asyncpg.DataError("x"), False),
        (TimeoutError(), False),
    ],
    ids=lambda it: type(it).__name__,
)
def test_after_some_no_connection_is_used_again(error: Exception, ends: bool) -> None:
    assert ends_connections(error) is ends
    if (ours := as_ours(error)) is not None:
        ours.__cause__ = error
        assert ends_connections(ours) is ends
