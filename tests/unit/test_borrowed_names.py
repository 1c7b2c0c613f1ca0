"""Names of uvicorn, aiosqlite and Apprise that are not public, and that we override or use: they are as we expect.

Where uvicorn no longer calls one of these, nothing fails by itself: a stop, for one, would announce no last answer.
"""

import asyncio
import inspect
import re
import smtplib
import sqlite3
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import apprise
import pytest
import requests.auth
import uvicorn
from apprise.plugins import base
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


def test_a_plugin_of_apprise_asks_a_set_of_ours_what_was_delivered() -> None:
    asked: list[object] = []

    class Ours:
        def __contains__(self, slot: object) -> bool:
            asked.append(slot)
            return True

        add = asked.append

    assert isinstance(base._delivery_tracker, ContextVar)
    token = base._delivery_tracker.set(Ours())  # type: ignore[arg-type]
    try:
        plugin: Any = base.NotifyBase()  # type: ignore[no-untyped-call]
        assert plugin.is_delivered("ann")
        plugin.mark_delivered(("file", 1), per_message=True)
    finally:
        base._delivery_tracker.reset(token)
    assert asked == [(0, (str, "'ann'")), (None, (tuple, "('file', 1)"))]
    assert type(base._PIECE_DELIVERED) is object
    assert {"_delivery_tracker", "_PIECE_DELIVERED"} <= set(base.NotifyBase._timed_send.__code__.co_names) | set(
        base.NotifyBase.is_delivered.__code__.co_names
    )


def test_apprise_sleeps_only_where_we_override_it() -> None:
    """In `throttle`; and where a plugin waits for this machine's hardware or for a broker's socket."""
    assert parameters(base.NotifyBase.throttle) == ["last_io", "wait"]
    home = Path(apprise.__file__).parent
    sleeping = {
        str(path.relative_to(home))
        for path in home.rglob("*.py")
        if re.search(r"^\s+(?:time\.)?sleep\(", path.read_text(), re.MULTILINE)
    }
    assert sleeping - {"cli.py"} == {
        "dispatch.py",
        "url.py",
        "plugins/blink1.py",
        "plugins/mqtt.py",
        "plugins/windows.py",
    }


def test_smtplib_and_requests_log_in_by_what_we_override() -> None:
    assert parameters(smtplib.SMTP.auth)[:2] == ["mechanism", "authobject"]
    assert parameters(smtplib.SMTP.login)[:2] == ["user", "password"]
    assert parameters(smtplib.SMTP.sendmail)[:3] == ["from_addr", "to_addrs", "msg"]
    assert "_basic_auth_str" in requests.auth.HTTPBasicAuth.__call__.__code__.co_names
