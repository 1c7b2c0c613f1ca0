"""The bounds of connections: the slow are cut, crowds are turned away, and honest callbacks are answered meanwhile."""

import asyncio
import contextlib
import re
from ipaddress import ip_network
from itertools import chain, repeat
from pathlib import Path

import pytest

from kit.fakes import a_ref, elapse
from kit.live_service import PATIENCE_S, until
from kit.web import Wire, callback_path, opened, served, serving, taken, wired
from receiver.web.http import connection_limits
from receiver.web.http.connection_limits import (
    HEAD_MOST,
    HEADERS_MOST,
    PER_ADDRESS_MOST,
    PIPELINE_MOST,
    BoundedProtocol,
    ConnectionLimiter,
)

pytestmark = pytest.mark.anyio

SLOW = 300
LONG = "300"  # seconds: what ends within `PATIENCE_S` was not ended by its deadline
DRIP_S = 0.05


async def said(wire: Wire, *, patience_s: float = PATIENCE_S) -> list[int]:
    """The statuses of all that is answered until the other side closes or resets."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while more := await asyncio.wait_for(wire.reader.read(65536), patience_s):
            got += more
    return [int(it) for it in re.findall(rb"HTTP/1\.1 (\d{3}) ", got)]


# -- the crowd --


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7", "::ffff:192.0.2.7", "10.1.2.3"])
def test_an_address_has_so_many_connections_and_gets_a_place_back_when_one_ends(address: str) -> None:
    crowd = ConnectionLimiter([ip_network("10.9.0.0/16")])
    assert all(crowd.try_enter(address) for _ in range(PER_ADDRESS_MOST))
    assert not crowd.try_enter(address)
    assert crowd.try_enter("192.0.2.8")
    crowd.leave(address)
    assert crowd.try_enter(address)
    assert not crowd.try_enter(address)


@pytest.mark.parametrize("address", [None, "127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "10.1.2.3", "fd00::7"])
def test_loopback_and_trusted_proxies_are_bounded_only_with_all_others(
    address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_limits, "CONNECTIONS_MOST", 2 * PER_ADDRESS_MOST)
    crowd = ConnectionLimiter([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])
    assert all(crowd.try_enter(address) for _ in range(2 * PER_ADDRESS_MOST))
    assert not crowd.try_enter(address)
    assert not crowd.try_enter("192.0.2.7")


def test_addresses_of_one_subscriber_count_as_one() -> None:
    """IPv6 gives everyone 2⁶⁴ of them; and an IPv4 address is the same in IPv6's clothes."""
    crowd = ConnectionLimiter()
    assert all(crowd.try_enter(f"2001:db8:0:1::{number:x}") for number in range(PER_ADDRESS_MOST))
    assert not crowd.try_enter("2001:db8:0:1:ffff::")
    assert crowd.try_enter("2001:db8:0:2::")
    assert all(crowd.try_enter("192.0.2.7") for _ in range(PER_ADDRESS_MOST))
    assert not crowd.try_enter("::ffff:192.0.2.7")


async def test_a_connection_too_many_is_503_and_the_place_of_one_that_ended_is_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_limits, "CONNECTIONS_MOST", 1)
    async with opened(tmp_path) as parts, serving(parts) as web:

        async def room() -> bool:
            async with wired(web.port) as wire:
                await wire.send("GET /healthz HTTP/1.1", "Connection: close")
                return await said(wire) == [200]

        async with wired(web.port) as first:
            await first.send("GET /healthz HTTP/1.1")
            assert (await first.answer())[0] == 200
            async with wired(web.port) as second:
                assert await said(second) == [503]
        await until(room)


# -- the head --


@pytest.mark.parametrize(
    ("size", "wanted"), [(HEADERS_MOST - 1, 200), (HEADERS_MOST, 431)], ids=["as many as may be", "one too many"]
)
async def test_headers_are_counted(tmp_path: Path, size: int, wanted: int) -> None:
    async with served(tmp_path) as web, wired(web.port) as wire:
        await wire.send("GET /healthz HTTP/1.1", "Connection: close", *repeat("X: y", size - 1))  # and Host
        assert await said(wire) == [wanted]


@pytest.mark.parametrize("pieces", [1, 40])
async def test_a_head_has_a_size_in_one_piece_or_in_many(tmp_path: Path, pieces: int) -> None:
    async with served(tmp_path, body_timeout=LONG) as web, wired(web.port) as wire:
        wire.writer.write(b"GET /healthz HTTP/1.1\r\n")
        for _ in range(pieces):
            wire.writer.write(b"X: " + b"x" * (HEAD_MOST // pieces) + b"\r\n")
        wire.writer.write(b"\r\n")
        assert await said(wire) == [431]


async def test_a_head_without_end_is_hung_up_on(tmp_path: Path) -> None:
    """With a 431, unless it is lost with the connection: a close over unread bytes is a reset."""
    async with served(tmp_path, body_timeout=LONG) as web, wired(web.port) as wire:
        wire.writer.write(b"GET /healthz HTTP/1.1\r\nX-Long: " + b"x" * 1_000_000)
        assert await said(wire) in ([431], [])


async def test_what_trails_a_body_has_a_size_too(tmp_path: Path) -> None:
    async with served(tmp_path, body_timeout=LONG) as web, wired(web.port) as wire:
        await wire.send(f"POST {callback_path(web.parts, a_ref())} HTTP/1.1", "Transfer-Encoding: chunked")
        wire.writer.write(b"1\r\nx\r\n0\r\nX-Trailer: " + b"x" * 8 * HEAD_MOST)
        assert await said(wire) in ([431], [])
        assert await web.parts.store.callbacks.page() == []


async def test_a_large_body_behind_a_small_head_is_no_large_head(tmp_path: Path) -> None:
    async with served(tmp_path) as web, wired(web.port) as wire:
        size = 3 * HEAD_MOST
        head = (f"POST {callback_path(web.parts, a_ref())} HTTP/1.1", f"Content-Length: {size}", "Connection: close")
        await wire.send(*head, body=b"x" * size)
        assert await said(wire) == [200]


async def test_requests_that_wait_for_their_turn_are_counted(tmp_path: Path) -> None:
    async with served(tmp_path) as web, wired(web.port) as wire:
        wire.writer.write(b"GET /healthz HTTP/1.1\r\n\r\n" * (PIPELINE_MOST + 2))
        assert await said(wire) == [200] * (PIPELINE_MOST + 1) + [429]


# -- slowness --


@pytest.mark.usefixtures("idle_s")
async def test_a_body_that_comes_after_its_answer_has_the_same_deadline(tmp_path: Path) -> None:
    """The application has answered without it and waits for nothing: uvicorn alone would take bytes for ever."""
    async with served(tmp_path, body_timeout=LONG) as web, wired(web.port) as wire:
        wire.writer.write(b"GET /healthz HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n")
        assert (await wire.answer())[0] == 200
        for _ in range(2):
            wire.writer.write(b"x")
            await taken(web.port)
            await elapse(0.6 * float(LONG))
        assert await wire.closed()


@pytest.mark.usefixtures("idle_s")
async def test_a_peer_that_takes_no_answers_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The transport says that what is written waits, and after a while that it does no longer, or it is cut."""
    connections: list[BoundedProtocol] = []
    begun = BoundedProtocol.connection_made

    def noted(self: BoundedProtocol, transport: asyncio.Transport) -> None:
        connections.append(self)
        begun(self, transport)

    monkeypatch.setattr(BoundedProtocol, "connection_made", noted)
    async with served(tmp_path, body_timeout=LONG) as web, wired(web.port) as wire:
        await wire.send("GET /healthz HTTP/1.1")
        assert (await wire.answer())[0] == 200
        [connection] = connections
        connection.pause_writing()
        connection.resume_writing()
        await elapse(float(LONG))
        await wire.send("GET /healthz HTTP/1.1")
        assert (await wire.answer())[0] == 200, "it took what waited"
        connection.pause_writing()
        await elapse(float(LONG))
        assert await said(wire) == []


async def dripped(port: int, begun: bytes) -> list[int]:
    """The statuses that one gets who begins well and then sends a byte now and then, until it is cut."""
    async with wired(port) as wire:
        reading = asyncio.create_task(said(wire, patience_s=2 * float(LONG)))
        for piece in chain([begun], repeat(b"x")):
            wire.writer.write(piece)
            await asyncio.wait({reading}, timeout=DRIP_S)
            if reading.done():
                break
        return await reading


async def test_three_hundred_slow_senders_are_cut_while_every_honest_callback_is_answered(tmp_path: Path) -> None:
    """After the time of a body, however many bytes each has sent until then."""
    async with served(tmp_path, body_timeout=LONG) as web:
        head = f"POST {callback_path(web.parts, a_ref())} HTTP/1.1\r\nX-Slow: "
        body = f"POST {callback_path(web.parts, a_ref())} HTTP/1.1\r\nContent-Length: 100000\r\n\r\n"
        begun = [head.encode(), body.encode()]
        slow = [asyncio.create_task(dripped(web.port, begun[number % 2])) for number in range(SLOW)]
        honest = []

        async def some_honest() -> None:
            for _ in range(10):
                path = callback_path(web.parts, a_ref())
                honest.append((await web.client.post(path, content=b"{}")).status_code)

        await some_honest()
        for _ in range(2):
            assert not any(it.done() for it in slow)
            await elapse(0.6 * float(LONG))
            await some_honest()
        async with asyncio.timeout(PATIENCE_S):
            answers = await asyncio.gather(*slow)
        assert set(honest) == {200}
        assert answers[::2] == [[]] * (SLOW // 2)
        assert [it for it in answers[1::2] if it not in ([408], [])] == []
        assert [408] in answers
