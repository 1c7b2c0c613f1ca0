"""Names of uvicorn and aiosqlite that are not public, and that we override or use: they are still as we expect.

Where uvicorn no longer calls one of these, nothing fails by itself: a stop, for one, would announce no last answer.
"""

import asyncio
import inspect
import re
import sqlite3
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from receiver.store.sqlite.batching import BatchingConnection
from receiver.web.http.fast_path import _FastCycle
from receiver.web.http.graceful_close import GracefulProtocol
from receiver.web.http.server import _UvicornServer

# What our classes override, with the arguments that uvicorn passes.
PROTOCOL = {
    "_start_asgi_task": ["cycle", "app"],
    "_unset_keepalive_if_required": [],
    "connection_lost": ["exc"],
    "connection_made": ["transport"],
    "data_received": ["data"],
    "eof_received": [],
    "on_body": ["body"],
    "on_headers_complete": [],
    "on_message_complete": [],
    "on_response_complete": [],
    "pause_writing": [],
    "resume_writing": [],
    "send_400_response": ["msg"],
    "shutdown": [],
    "timeout_keep_alive_handler": [],
}
SERVER = {"capture_signals": [], "main_loop": [], "startup": ["sockets"]}
# What ours read and set of a connection.
STATE = [
    *("access_log", "client", "connections", "cycle", "expect_100_continue", "headers", "logger", "loop", "parser"),
    *("pipeline", "scope", "server_state", "timeout_keep_alive", "timeout_keep_alive_task", "transport"),
]


def parameters(function: Any) -> list[str]:
    return [it for it in inspect.signature(function).parameters if it != "self"]


def overridden(ours: type, theirs: type) -> set[str]:
    """Names that a class of ours has anew, and theirs has too."""
    classes = ours.__mro__[: ours.__mro__.index(theirs)]
    return {
        name
        for it in classes
        for name, value in vars(it).items()
        if inspect.isfunction(value) and hasattr(theirs, name)
    } - {"__init__"}


@pytest.mark.parametrize(
    ("ours", "theirs", "names"),
    [(GracefulProtocol, HttpToolsProtocol, PROTOCOL), (_UvicornServer, uvicorn.Server, SERVER)],
)
def test_what_we_override_of_uvicorn_is_there_with_its_arguments(
    ours: type, theirs: type, names: dict[str, list[str]]
) -> None:
    assert overridden(ours, theirs) == set(names)
    assert {name: parameters(getattr(theirs, name)) for name in names} == names


@pytest.mark.anyio
async def test_a_connection_of_uvicorn_has_the_state_that_we_use() -> None:
    loop = asyncio.get_running_loop()
    connection = HttpToolsProtocol(uvicorn.Config(print), ServerState(), {}, loop)
    assert [name for name in STATE if not hasattr(connection, name)] == []
    assert connection.server_state.total_requests == 0
    assert connection.server_state.connections == set()


def test_uvicorn_itself_calls_what_we_override() -> None:
    """Or ours would never be called."""
    calling = inspect.getsource(HttpToolsProtocol) + inspect.getsource(uvicorn.Server)
    for name in ("_start_asgi_task", "_unset_keepalive_if_required", "timeout_keep_alive_handler", "send_400_response"):
        assert f"self.{name}" in calling
    assert "connection.shutdown()" in calling
    for name in ("startup", "main_loop", "capture_signals"):
        assert f"self.{name}(" in calling


def test_our_stand_in_for_a_cycle_has_all_that_uvicorn_s_connection_asks_of_one() -> None:
    asked = set(re.findall(r"\bself\.cycle\.(\w+)", inspect.getsource(HttpToolsProtocol)))
    assert asked >= {"response_complete", "keep_alive", "disconnected"}
    assert [name for name in asked - {"body"} if not hasattr(_FastCycle(), name)] == []  # its body never comes in parts


@pytest.mark.anyio
async def test_aiosqlite_runs_a_function_of_ours_in_its_thread() -> None:
    assert parameters(BatchingConnection._execute) == ["fn", "args", "kwargs"]
    async with BatchingConnection(":memory:") as connection:
        assert await connection._execute(lambda *args: args, 1, "two") == (1, "two")  # type: ignore[no-untyped-call]
        assert isinstance(connection._conn, sqlite3.Connection)
