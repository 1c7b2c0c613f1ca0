"""How a connection ends when the service stops: never over a request that was sent, and without holding the stop up."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kit.fakes import a_ref
from kit.live_service import PATIENCE_S, until
from kit.web import BEARER, DONE, OUTPAINT, Served, callback_path, served, taken, wired
from receiver.store.tables.callbacks import StoredCallback
from receiver.web.http import graceful_close, server
from receiver.web.http.graceful_close import GracefulProtocol

pytestmark = pytest.mark.anyio

LONG_S = 300.0  # what ends within `PATIENCE_S` was not ended by it
BODY = json.dumps(DONE).encode()
PAGE = b"GET /healthz HTTP/1.1\r\nHost: receiver\r\n\r\n"


def post(path: str) -> bytes:
    """A callback as bytes."""
    return f"POST {path} HTTP/1.1\r\nHost: receiver\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY


@pytest.mark.parametrize("direct", [True, False])
async def test_answers_say_that_they_are_the_last_from_the_first_word_of_a_stop_on(
    tmp_path: Path, direct: bool
) -> None:
    """Who hears it opens another connection for his next request, and none is closed under it."""
    async with served(tmp_path) as web, wired(web.port) as wire:
        request = post(callback_path(web.parts, a_ref())) if direct else PAGE
        wire.writer.write(request)
        assert "connection: close" not in (await wire.answer())[1]
        web.draining.set()
        wire.writer.write(request)
        status, head, _ = await wire.answer()
        assert (status, head.count("connection: close")) == (200, 1)
        assert await wire.closed()


async def test_requests_that_came_together_are_all_answered_in_a_stop(tmp_path: Path) -> None:
    async with served(tmp_path) as web, wired(web.port) as wire:
        wire.writer.write(post(callback_path(web.parts, a_ref())) + post(callback_path(web.parts, a_ref())))
        web.draining.set()
        for _ in range(2):
            assert (await wire.answer())[0] == 200
        assert await wire.closed()


async def test_a_connection_that_was_just_used_is_answered_once_more_though_the_service_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graceful_close, "WARM_S", LONG_S)
    async with served(tmp_path) as web, wired(web.port) as wire:
        wire.writer.write(PAGE)
        await wire.answer()
        web.stop.set()
        await web.draining.wait()
        wire.writer.write(post(callback_path(web.parts, a_ref())))
        assert (await wire.answer())[0] == 200
        assert await wire.closed()


class Peer:
    """A client's socket that is connected to the web, and what the web has of it."""

    def __init__(self, port: int, mine: list[GracefulProtocol]) -> None:
        self.raw = socket.create_connection(("127.0.0.1", port))
        self._mine = mine

    async def protocol(self) -> GracefulProtocol:
        """The web's side, once it is there."""

        async def connected() -> bool:
            return bool(self._mine)

        await until(connected)
        return self._mine[-1]

    async def heard(self) -> bytes:
        """What comes next; b"" is an end, ConnectionResetError one that may have cost a request."""
        self.raw.setblocking(False)
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.get_running_loop().sock_recv(self.raw, 4096)


@pytest.fixture
def protocols(monkeypatch: pytest.MonkeyPatch) -> list[GracefulProtocol]:
    """Every connection of the web, in the order in which they came."""
    found: list[GracefulProtocol] = []
    begun = GracefulProtocol.connection_made

    def noted(self: GracefulProtocol, transport: asyncio.Transport) -> None:
        found.append(self)
        begun(self, transport)

    monkeypatch.setattr(GracefulProtocol, "connection_made", noted)
    return found


@contextlib.asynccontextmanager
async def quiet_peer(
    tmp_path: Path, protocols: list[GracefulProtocol], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Served, Peer]]:
    """A peer whose connection has been quiet for long."""
    monkeypatch.setattr(graceful_close, "WARM_S", 0.0)
    async with served(tmp_path) as web:
        peer = Peer(web.port, protocols)
        with peer.raw:
            await peer.protocol()
            yield web, peer


@pytest.mark.parametrize("stopping", [True, False])
async def test_a_connection_is_not_closed_over_a_request_that_nobody_has_read(
    tmp_path: Path, protocols: list[GracefulProtocol], monkeypatch: pytest.MonkeyPatch, stopping: bool
) -> None:
    """However long it was idle: the kernel is asked what it holds, in a stop and where its idle time is over."""
    async with quiet_peer(tmp_path, protocols, monkeypatch) as (web, peer):
        ours = await peer.protocol()
        peer.raw.sendall(post(callback_path(web.parts, a_ref())))
        if stopping:
            web.draining.set()
            ours.shutdown()
        else:
            ours.timeout_keep_alive_handler()
        assert (await peer.heard()).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("stopping", [True, False])
async def test_a_callback_that_crosses_the_end_of_its_connection_is_stored_and_its_sender_is_not_reset(
    tmp_path: Path, protocols: list[GracefulProtocol], monkeypatch: pytest.MonkeyPatch, stopping: bool
) -> None:
    """It is sent after the kernel was asked what waits, and before the connection has ended."""
    monkeypatch.setattr(graceful_close, "LINGER_S", LONG_S)
    async with quiet_peer(tmp_path, protocols, monkeypatch) as (web, peer):
        ref = a_ref()
        look = GracefulProtocol._unread_bytes

        def looked(self: GracefulProtocol) -> int:
            found = look(self)
            peer.raw.sendall(post(callback_path(web.parts, ref)))
            return found

        ours = await peer.protocol()
        monkeypatch.setattr(GracefulProtocol, "_unread_bytes", looked)
        if stopping:
            web.draining.set()
            ours.shutdown()
        else:
            ours.timeout_keep_alive_handler()
        assert await peer.heard() == b""

        async def stored() -> list[StoredCallback]:
            return await web.parts.store.callbacks.page(ref=ref)

        assert len(await until(stored)) == 1


async def test_a_submission_that_crosses_the_end_of_its_connection_is_not_begun(
    tmp_path: Path, protocols: list[GracefulProtocol], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sender hears nothing of it, repeats it, and would pay for it twice."""
    body = json.dumps(OUTPAINT).encode()
    lines = ("POST /api/v1/tasks HTTP/1.1", "Host: receiver", f"Authorization: {BEARER['Authorization']}")
    request = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body
    async with quiet_peer(tmp_path, protocols, monkeypatch) as (web, peer):
        ours = await peer.protocol()
        ours.timeout_keep_alive_handler()
        peer.raw.sendall(request)
        assert await peer.heard() == b""

        async def gone() -> bool:
            return ours not in ours.connections

        await until(gone)
        assert await web.parts.store.tasks.page() == []


async def test_a_peer_that_does_not_hang_up_is_hung_up_on(
    tmp_path: Path, protocols: list[GracefulProtocol], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "STOP_MOST_S", LONG_S)
    async with quiet_peer(tmp_path, protocols, monkeypatch) as (web, peer):
        web.stop.set()
        async with asyncio.timeout(PATIENCE_S):
            await web.ended()
        assert await peer.heard() == b""


@pytest.mark.parametrize("brings", [True, False])
async def test_a_connection_that_comes_to_life_behind_the_listeners_end_has_its_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brings: bool
) -> None:
    """The kernel had handed it over before. Whoever ends the rest does not know of it."""
    async with served(tmp_path) as web:
        monkeypatch.setattr(GracefulProtocol, "last_call", True)
        web.draining.set()
        async with wired(web.port) as wire:
            if brings:
                wire.writer.write(post(callback_path(web.parts, a_ref())))
                assert (await wire.answer())[0] == 200
            async with asyncio.timeout(PATIENCE_S):
                assert await wire.closed()


async def test_a_connection_that_brings_nothing_does_not_hold_a_stop_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was just opened is given half a second, not the time that requests in flight have."""
    monkeypatch.setattr(server, "STOP_MOST_S", LONG_S)
    async with served(tmp_path, body_timeout=str(round(LONG_S))) as web, wired(web.port) as wire:
        wire.writer.write(b"POST /callbacks/")  # and no more
        await taken(web.port)
        web.stop.set()
        async with asyncio.timeout(PATIENCE_S):
            await web.ended()
        assert await wire.closed()
