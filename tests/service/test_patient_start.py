"""A start that waits for its database: what is answered meanwhile, and how the wait ends."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from kit.live_service import PATIENCE_S, until
from receiver.cli import patient_start
from receiver.cli.patient_start import open_patiently
from receiver.core.errors import SettingsError, StaleUpdate, StoreUnavailable

pytestmark = pytest.mark.anyio
AWAY = StoreUnavailable("the database cannot be reached (Connection refused)")
PARTS: Any = object()


class Openings:
    """Parts that open as told, in turn; the last word holds from then on."""

    def __init__(self, *words: Exception | None) -> None:
        self._words = list(words)
        self.begun = 0
        self.closed = 0

    @contextlib.asynccontextmanager
    async def __call__(self) -> AsyncIterator[Any]:
        self.begun += 1
        word = self._words.pop(0) if len(self._words) > 1 else self._words[0]
        if word is not None:
            raise word
        try:
            yield PARTS
        finally:
            self.closed += 1


class Hanging:
    """Parts that never open, until they are cancelled."""

    def __init__(self) -> None:
        self.cancelled = False

    @contextlib.asynccontextmanager
    async def __call__(self) -> AsyncIterator[Any]:
        try:
            await asyncio.Event().wait()
            yield PARTS
        except asyncio.CancelledError:
            self.cancelled = True
            raise


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_start, "AGAIN_S", 0.01)
    monkeypatch.setattr(patient_start, "ANSWERED_AFTER_S", 0.0)


@pytest.fixture
def listener() -> "contextlib.closing[socket.socket]":
    return contextlib.closing(socket.create_server(("127.0.0.1", 0)))


async def asked(port: int, path: str) -> httpx.Response | None:
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
        with contextlib.suppress(httpx.TransportError):
            return await client.get(f"http://127.0.0.1:{port}{path}")
    return None


def opening(
    openings: Callable[[], Any], listener: socket.socket, stop: asyncio.Event
) -> contextlib.AbstractAsyncContextManager[Any]:
    return open_patiently(openings, listener, stop, named="db.test:5432/r", body_timeout_s=5)


async def test_parts_that_open_at_once_are_there_and_closed_at_the_end(
    listener: "contextlib.closing[socket.socket]",
) -> None:
    openings = Openings(None)
    with listener as sock:
        async with opening(openings, sock, asyncio.Event()) as parts:
            assert parts is PARTS
            assert openings.closed == 0
    assert (openings.begun, openings.closed) == (1, 1)


async def test_what_time_may_mend_is_tried_again_and_said_once(
    listener: "contextlib.closing[socket.socket]", caplog: pytest.LogCaptureFixture
) -> None:
    openings = Openings(AWAY, StaleUpdate("another process was first"), AWAY, None)
    with listener as sock:
        async with opening(openings, sock, asyncio.Event()) as parts:
            assert parts is PARTS
    assert openings.begun == 4
    [line] = [it.getMessage() for it in caplog.records if it.levelname == "WARNING"]
    assert line == f"db.test:5432/r: {AWAY}; trying again for up to 60 seconds"


async def test_what_time_does_not_mend_ends_the_start_at_once(listener: "contextlib.closing[socket.socket]") -> None:
    openings = Openings(SettingsError("the server refuses the user's password"))
    with listener as sock, pytest.raises(SettingsError, match="refuses"):
        async with opening(openings, sock, asyncio.Event()):
            pytest.fail("it opened")
    assert openings.begun == 1


async def test_the_last_reason_is_raised_once_the_time_is_over(
    listener: "contextlib.closing[socket.socket]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient_start, "TRIED_MOST_S", 0.1)
    with listener as sock, pytest.raises(StoreUnavailable) as caught:
        async with opening(Openings(AWAY), sock, asyncio.Event()):
            pytest.fail("it opened")
    assert caught.value.problem == f"db.test:5432/r could not be used within 0.1 seconds: {AWAY}"
    assert caught.value.remedy


@pytest.mark.parametrize("openings", [Openings(AWAY), Hanging()], ids=["away", "hanging"])
async def test_a_stop_ends_the_wait(openings: Any, listener: "contextlib.closing[socket.socket]") -> None:
    stop = asyncio.Event()
    with listener as sock:
        asyncio.get_running_loop().call_later(0.05, stop.set)
        async with asyncio.timeout(PATIENCE_S), opening(openings, sock, stop) as parts:
            assert parts is None
    if isinstance(openings, Hanging):
        assert openings.cancelled


async def test_health_is_answered_meanwhile_and_the_socket_stays_open(
    listener: "contextlib.closing[socket.socket]",
) -> None:
    stop = asyncio.Event()
    with listener as sock:
        port = sock.getsockname()[1]

        async def wait_for_parts() -> None:
            async with opening(Openings(AWAY), sock, stop) as parts:
                assert parts is None

        running = asyncio.create_task(wait_for_parts())
        healthy = await until(lambda: asked(port, "/healthz"))
        assert (healthy.status_code, healthy.json()) == (200, {"status": "ok"})

        async def why() -> httpx.Response | None:
            answer = await asked(port, "/readyz")
            return answer if answer is not None and str(AWAY) in answer.text else None

        unready = await until(why)
        assert (unready.status_code, unready.json()) == (503, {"status": "unready", "why": str(AWAY)})
        other = await asked(port, "/api/v1/tasks")
        assert other is not None
        assert (other.status_code, other.json()["error"]["code"]) == (503, "unavailable")
        assert (other.headers["retry-after"], other.headers["connection"]) == ("2", "close")
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
            large = await client.post(f"http://127.0.0.1:{port}/callbacks/a-token", content=b"x" * (1 << 20))
        assert large.status_code == 503  # and no reset, though nobody wanted the body
        stop.set()
        await running
        reader, writer = await asyncio.open_connection("127.0.0.1", port)  # the kernel still takes connections
        writer.close()
        assert reader is not None
