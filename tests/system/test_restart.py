"""A restart loses no request: the socket outlives the process, and no connection is closed over what it was sent."""

import asyncio
import json
import socket
import time
from pathlib import Path

import anyio
import pytest

from bench.restart import SystemdUnit, run_under_calls
from kit.fakes import a_ref
from kit.live_service import PATIENCE_S, until
from kit.web import DONE, callback_path, served, taken, wired
from receiver.web.http import graceful_close, server
from receiver.web.http.graceful_close import GracefulProtocol
from receiver.web.http.server import BACKLOG

pytestmark = pytest.mark.anyio

LONG_S = 300.0  # what ends within `PATIENCE_S` was not ended by it
BODY = json.dumps(DONE).encode()
PAGE = b"GET /healthz HTTP/1.1\r\nHost: receiver\r\n\r\n"


def post(path: str) -> bytes:
    """A callback as bytes."""
    return f"POST {path} HTTP/1.1\r\nHost: receiver\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY


async def test_no_callback_fails_in_restarts_under_load_and_none_waits_for_long(tmp_path: Path) -> None:
    """Fifty a second, half of them over kept connections; the longest wait is a stop and a start, well under 5 s: where
    these take longer, less than two of them."""
    took = []
    async with run_under_calls(tmp_path, seconds=120) as (unit, calls):
        for turn in range(4):
            began = time.perf_counter()
            assert await unit.stop() == 0
            await unit.start()
            took.append(time.perf_counter() - began)

            async def answered(least: int = 50 * (turn + 1), reused: int = calls.reused) -> bool:
                return len(calls.waits) >= least and calls.reused > reused

            await until(answered)
    assert calls.failed == []
    assert max(calls.waits) < max(5, 2 * max(took))


async def test_a_caller_that_comes_while_nobody_is_there_is_answered_by_the_next(tmp_path: Path) -> None:
    async with run_under_calls(tmp_path, seconds=0.02) as (unit, _):
        await unit.stop()
        async with wired(unit.port) as wire:
            wire.writer.write(PAGE)
            await unit.start()
            assert (await wire.answer())[0] == 200


async def test_many_callers_find_room_in_the_queue_while_nobody_is_there(tmp_path: Path) -> None:
    """More than asyncio would leave room for, which takes the length of the queue for its own purpose."""
    most = int((await anyio.Path("/proc/sys/net/core/somaxconn").read_text()).strip())
    async with run_under_calls(tmp_path, seconds=0.02) as (unit, _):
        await unit.stop()
        async with asyncio.timeout(PATIENCE_S):
            waiting = [await asyncio.open_connection("127.0.0.1", unit.port) for _ in range(min(500, most // 2))]
            assert len(waiting) > BACKLOG or most < 2 * BACKLOG
            for _, writer in waiting:
                writer.write(PAGE)
            await unit.start()
            heads = [await reader.readuntil(b"\r\n") for reader, _ in waiting]
        assert set(heads) == {b"HTTP/1.1 200 OK\r\n"}
        for _, writer in waiting:
            writer.close()


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


async def test_a_connection_is_not_closed_over_a_request_that_nobody_has_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it was idle: the kernel is asked what it holds."""
    found: list[GracefulProtocol] = []
    begun = GracefulProtocol.connection_made

    def noted(self: GracefulProtocol, transport: asyncio.Transport) -> None:
        found.append(self)
        begun(self, transport)

    monkeypatch.setattr(GracefulProtocol, "connection_made", noted)
    async with served(tmp_path) as web:
        with socket.create_connection(("127.0.0.1", web.port)) as raw:

            async def taken() -> bool:
                return bool(found)

            await until(taken)
            monkeypatch.setattr(graceful_close, "WARM_S", 0.0)  # nothing is warm any more
            raw.sendall(post(callback_path(web.parts, a_ref())))
            web.draining.set()
            found[0].shutdown()
            raw.setblocking(False)
            async with asyncio.timeout(PATIENCE_S):
                answer = await asyncio.get_running_loop().sock_recv(raw, 4096)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\nconnection: close\r\n")


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


async def test_a_unit_that_cannot_start_says_why(tmp_path: Path) -> None:
    """What holds the socket in these tests is no part of the service, and yet has to be right."""
    unit = SystemdUnit(tmp_path, {"RECEIVER_DATABASE_URL": "nonsense"})
    with pytest.raises(RuntimeError, match="RECEIVER_DATABASE_URL"):
        await unit.start()
    await unit.close()
