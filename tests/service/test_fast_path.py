"""A callback that is here whole is answered without a task of its own: nobody outside can tell the difference."""

import asyncio
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.fakes import a_ref, elapse
from kit.live_service import PATIENCE_S, until
from kit.web import DONE, FullDisk, callback_path, opened, served, serving, wired
from receiver.core.types import Verdict
from receiver.web.http.fast_path import FastPathProtocol, _FastCycle

pytestmark = pytest.mark.anyio

PAGE = b"GET /healthz HTTP/1.1\r\nHost: receiver\r\n\r\n"
BODY = json.dumps(DONE).encode()


def post(path: str, body: bytes = BODY, *more: str) -> bytes:
    """A callback as bytes."""
    head = (f"POST {path} HTTP/1.1", "Host: receiver", f"Content-Length: {len(body)}", *more)
    return "".join(f"{line}\r\n" for line in (*head, "")).encode() + body


class Slow(FullDisk):
    """An ingest whose disk takes a while: verdicts come when the test says so."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def receive_nowait(self, ref: str, body: bytes, headers: bytes, told: object) -> None:
        self.told.append(told)

    def store(self) -> None:
        """Tell the first that still waits."""
        self.told.pop(0)(Verdict.ACCEPTED)  # type: ignore[operator]

    async def waiting(self) -> bool:
        """Whether there is one."""
        return bool(self.told)


class Broken(FullDisk):
    """An ingest with a fault of ours."""

    def receive_nowait(self, ref: str, body: bytes, headers: bytes, told: object) -> None:
        raise RuntimeError("planted")

    async def receive_callback(self, ref: str, body: bytes, headers: bytes) -> None:
        raise RuntimeError("planted")


async def test_in_one_piece_or_in_two_the_answer_is_the_same_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is answered directly, the second by the application; each settles a task."""
    direct: list[bytes] = []
    answered = FastPathProtocol._write_answer

    def heard(self: FastPathProtocol, answering: _FastCycle, response: bytes) -> None:
        direct.append(response)
        answered(self, answering, response)

    monkeypatch.setattr(FastPathProtocol, "_write_answer", heard)
    async with served(tmp_path) as web, wired(web.port) as wire:
        whole, halved = a_ref(), a_ref()
        wire.writer.write(post(callback_path(web.parts, whole)))
        first = await wire.answer()
        request = post(callback_path(web.parts, halved))
        wire.writer.write(request[:-7])
        await wire.writer.drain()
        await asyncio.sleep(0.05)  # so that it is a read of its own; were it not, the test would still hold
        wire.writer.write(request[-7:])
        second = await wire.answer()
        assert (first[0], first[1]) == (second[0], second[1])
        assert json.loads(first[2]) == {"ref": whole, "verdict": "hint"}
        assert json.loads(second[2]) == {"ref": halved, "verdict": "hint"}
        assert len(direct) == 1
        assert direct[0].endswith(first[2])


async def test_pipelined_requests_are_answered_in_their_order(tmp_path: Path) -> None:
    """Callbacks, a page, a refusal, a callback: in one packet, whoever answers each of them."""
    async with served(tmp_path) as web, wired(web.port) as wire:
        refs = [a_ref() for _ in range(3)]
        first, second, third = (post(callback_path(web.parts, ref)) for ref in refs)
        foreign = post("/callbacks/nobody", b"")
        wire.writer.write(first + PAGE + second + third + foreign)
        said = [await wire.answer() for _ in range(5)]
    assert [status for status, _, _ in said] == [200, 200, 200, 200, 404]
    assert [json.loads(said[place][2]).get("ref") for place in (0, 2, 3)] == refs


async def test_a_request_behind_a_callback_waits_for_its_answer(tmp_path: Path) -> None:
    slow = Slow()
    async with opened(tmp_path) as parts, serving(replace(parts, ingest=slow)) as web, wired(web.port) as wire:
        wire.writer.write(post(callback_path(parts, a_ref())))
        await until(slow.waiting)
        wire.writer.write(PAGE)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wire.reader.readexactly(1), 0.1)
        slow.store()
        assert b"verdict" in (await wire.answer())[2]
        assert (await wire.answer())[0] == 200


async def test_a_stop_answers_what_is_in_flight_and_then_hangs_up(tmp_path: Path) -> None:
    slow = Slow()
    async with opened(tmp_path) as parts, serving(replace(parts, ingest=slow)) as web, wired(web.port) as wire:
        wire.writer.write(post(callback_path(parts, a_ref())))
        await until(slow.waiting)
        web.stop.set()
        await asyncio.sleep(0.05)
        slow.store()
        assert (await wire.answer())[0] == 200
        assert await wire.closed()
        await asyncio.wait_for(web.ended(), PATIENCE_S)


async def test_a_sender_that_has_gone_is_no_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    slow = Slow()
    async with opened(tmp_path) as parts, serving(replace(parts, ingest=slow)) as web:
        async with wired(web.port) as wire:
            wire.writer.write(post(callback_path(parts, a_ref())))
            await until(slow.waiting)
        async with wired(web.port) as other:  # its answer shows that the loop has seen the first one go
            other.writer.write(PAGE)
            assert (await other.answer())[0] == 200
        slow.store()
    assert not caplog.records


async def test_a_fault_of_ours_is_500_and_never_a_bad_request(tmp_path: Path) -> None:
    async with opened(tmp_path) as parts, serving(replace(parts, ingest=Broken())) as web, wired(web.port) as wire:
        wire.writer.write(post(callback_path(parts, a_ref())))
        status = int((await wire.reader.readuntil(b"\r\n")).split()[1])
    assert status == 500


async def test_an_idle_connection_is_closed(tmp_path: Path, idle_s: float) -> None:
    """Each of ten callbacks begins the wait anew."""
    async with served(tmp_path) as web, wired(web.port) as wire:
        path = callback_path(web.parts, a_ref())
        for _ in range(10):
            wire.writer.write(post(path))
            assert (await wire.answer())[0] == 200
            await elapse(0.6 * idle_s)
        await elapse(0.6 * idle_s)
        assert await wire.closed()


async def test_one_that_says_it_is_the_last_is_hung_up_on(tmp_path: Path) -> None:
    async with served(tmp_path) as web, wired(web.port) as wire:
        wire.writer.write(post(callback_path(web.parts, a_ref()), BODY, "Connection: close"))
        assert (await wire.answer())[0] == 200
        assert await wire.closed()
