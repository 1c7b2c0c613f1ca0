"""A restart loses no request: the socket outlives the process, and no connection is closed over what it was sent."""

import asyncio
from pathlib import Path

import anyio
import pytest

from bench import restart
from bench.restart import SystemdUnit, run_under_calls
from kit.live_service import PATIENCE_S, until
from kit.web import wired
from receiver.web.http.server import BACKLOG

pytestmark = pytest.mark.anyio

LONG_S = 300.0  # what ends within `PATIENCE_S` was not ended by it
PAGE = b"GET /healthz HTTP/1.1\r\nHost: receiver\r\n\r\n"


async def test_no_callback_fails_in_restarts_under_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty a second, half of them over kept connections. The kernel tells the caller which of these have ended; only
    what it sends over one that is ending at that moment may go unanswered, and is sent again. Four stops, and for each
    a moment between two system calls: one call was seen in such a moment, in some hundreds of runs; two are a fault."""
    monkeypatch.setattr(restart, "ANSWER_MOST_S", LONG_S)
    async with run_under_calls(tmp_path, seconds=120) as (unit, calls):
        for turn in range(4):
            assert await unit.stop() == 0
            await unit.start()

            async def answered(least: int = 50 * (turn + 1), reused: int = calls.reused) -> bool:
                return len(calls.waits) >= least and calls.reused > reused

            await until(answered)
    assert calls.failed == []
    assert calls.ended_unseen <= 1


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


async def test_a_unit_that_cannot_start_says_why(tmp_path: Path) -> None:
    """What holds the socket in these tests is no part of the service, and yet has to be right."""
    unit = SystemdUnit(tmp_path, {"RECEIVER_DATABASE_URL": "nonsense"})
    with pytest.raises(RuntimeError, match="RECEIVER_DATABASE_URL"):
        await unit.start()
    await unit.close()
