"""An answer that never gets beyond its head costs one fetch: it ends soon, and others have their turn meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import h11
import pytest

from kit.archive_loop import LOOPBACK, answer, png, serving
from kit.listening import Behave, listening
from kit.live_service import PATIENCE_S
from receiver.core.errors import NotFetched
from receiver.pictures import fetch
from receiver.pictures.fetch import CRUMBS_MOST, PictureFetcher
from receiver.pictures.files import ArchiveFiles

pytestmark = pytest.mark.anyio

EARLY = b"HTTP/1.1 103 E\r\n\r\n"
LADEN = b"HTTP/1.1 103 E\r\n" + b"".join(b"X%d: y\r\n" % number for number in range(90)) + b"\r\n"


@asynccontextmanager
async def fetching(root: Path) -> AsyncIterator[tuple[fetch.PictureFetcher, ArchiveFiles]]:
    client = fetch.PictureFetcher(LOOPBACK)
    try:
        yield client, ArchiveFiles(root)
    finally:
        await client.close()


def endless(answers: bytes) -> Behave:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        while not writer.is_closing():
            writer.write(answers)
            await writer.drain()

    return pour


@pytest.mark.parametrize("answers", [EARLY * 5000, LADEN * 50], ids=["bare", "laden"])
async def test_informational_answers_without_an_end_are_not_listened_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: bytes
) -> None:
    """Not many are parsed in one turn of the loop, nor in all: a callback that comes meanwhile is answered."""
    parsed = 0
    longest, at_turn = 0, 0
    next_event = h11.Connection.next_event

    def counted(self: h11.Connection) -> object:
        nonlocal parsed, longest
        event = next_event(self)
        parsed += isinstance(event, h11.InformationalResponse)
        longest = max(longest, parsed - at_turn)
        return event

    async def others() -> None:
        nonlocal at_turn
        while True:
            at_turn = parsed
            await asyncio.sleep(0)

    monkeypatch.setattr(h11.Connection, "next_event", counted)
    turns = asyncio.create_task(others())
    async with listening(endless(answers)) as port, fetching(tmp_path) as (client, files), files.open_pending() as part:
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(NotFetched, match="headers without end") as refused:
                await client.fetch_picture(f"http://127.0.0.1:{port}/0.png?sig=secret", part)
    turns.cancel()
    assert not refused.value.permanent
    assert "secret" not in str(refused.value)
    assert 0 < parsed <= (fetch.HEAD_MOST + 4096) // len(EARLY)
    assert longest <= 4096 // len(EARLY) + 1


async def test_a_few_informational_answers_and_a_long_head_are_read_as_ever(tmp_path: Path) -> None:
    """And what follows a head is bounded by the picture's own bounds alone."""
    content = png(0, 300_000)
    async with serving() as site, fetching(tmp_path) as (client, files):
        site.at["/0.png"] = EARLY * 20 + answer(content, 200, f"X-Long: {'x' * 20_000}")
        async with files.open_pending() as part:
            assert await client.fetch_picture(site.link("/0.png"), part) == "png"
            assert part.size == len(content)


async def test_a_picture_in_crumbs_is_refused_and_holds_up_nobody(tmp_path: Path) -> None:
    """Each chunk costs as much as a thousand bytes; a host chooses how many there are."""

    async def crumble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        picture = png(0, 300_000)
        try:
            for at in range(0, len(picture), 1000):
                writer.write(b"".join(b"1\r\n%c\r\n" % byte for byte in picture[at : at + 1000]))
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    async with await asyncio.start_server(crumble, "127.0.0.1", 0) as host:
        port = host.sockets[0].getsockname()[1]
        fetch, files = PictureFetcher(LOOPBACK, most=1 << 20, total_s=20, idle_s=20), ArchiveFiles(tmp_path)
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        watching = asyncio.create_task(others())
        with pytest.raises(NotFetched, match="in tiny pieces") as refused:
            async with files.open_pending() as part:
                await fetch.fetch_picture(f"http://127.0.0.1:{port}/0.png", part)
        watching.cancel()
        await fetch.close()
    assert refused.value.permanent
    assert turns > CRUMBS_MOST / 32
