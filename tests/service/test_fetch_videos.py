"""Videos are larger than pictures, and take longer: they have limits of their own, which a picture does not get."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kit.archive_loop import LOOPBACK, answer, png, serving
from kit.listening import listening
from kit.live_service import PATIENCE_S
from receiver.core.errors import NotFetched
from receiver.pictures.fetch import PictureFetcher
from receiver.pictures.files import ArchiveFiles
from receiver.sandbox.drawing.film import draw_mp4
from receiver.sandbox.drawing.plan import plan_pictures

pytestmark = pytest.mark.anyio

REF = "0199c0de-0000-7000-8000-000000000001"
MIB = 1 << 20
HEAD = b"\0\0\0\x18ftypisom\0\0\2\0isomavc1"
WEBM = b"\x1a\x45\xdf\xa3\x93\x42\x82\x88matroska\x42\x82\x84webm"


def video(size: int, head: bytes = HEAD) -> bytes:
    return head + b"v" * (size - len(head))


class Rig:
    def __init__(self, root: Path, fetch: PictureFetcher) -> None:
        self.files = ArchiveFiles(root)
        self._fetch = fetch

    async def kept(self, link: str) -> Path:
        async with self.files.open_pending() as part:
            suffix = await self._fetch.fetch_picture(link, part)
            return await part.keep_as(REF, f"0.{suffix}")


@asynccontextmanager
async def rigged(root: Path, *, total_s: float = PATIENCE_S, video_total_s: float = PATIENCE_S) -> AsyncIterator[Rig]:
    """Pictures of at most one MiB, videos of at most two."""
    fetch = PictureFetcher(
        LOOPBACK, most=MIB, video_most=2 * MIB, total_s=total_s, video_total_s=video_total_s, idle_s=PATIENCE_S
    )
    try:
        yield Rig(root, fetch)
    finally:
        await fetch.close()


@pytest.mark.parametrize("head", [HEAD, WEBM], ids=["mp4", "webm"])
@pytest.mark.parametrize("kind", ["video/mp4", "image/png", "application/octet-stream"])
async def test_a_video_may_be_larger_than_a_picture_whatever_it_is_called(
    tmp_path: Path, head: bytes, kind: str
) -> None:
    content = video(2 * MIB, head)
    async with serving() as site, rigged(tmp_path) as rig:
        site.at["/a"] = answer(content, 200, f"Content-Type: {kind}")
        path = await rig.kept(site.link("/a"))
    assert path.name == ("0.mp4" if head == HEAD else "0.webm")
    assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(content).digest()


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (answer(video(2 * MIB + 1)), "the file is larger than 2 MiB"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + video(2 * MIB + 1), "the video is larger than 2 MiB"),
        (b"HTTP/1.0 200 OK\r\nContent-Type: video/mp4\r\n\r\n" + png(0, MIB + 1), "the picture is larger than 1 MiB"),
        (answer(png(0, MIB + 1), 200, "Content-Type: video/mp4"), "the picture is larger than 1 MiB"),
        (answer(b"", 200, f"Content-Length: {2 * MIB + 1}"), "the file is larger than 2 MiB"),
    ],
    ids=["video", "unannounced", "picture", "announced-picture", "announced"],
)
async def test_what_is_larger_than_its_kind_may_be_is_refused_for_good(tmp_path: Path, sent: bytes, says: str) -> None:
    async with serving() as site, rigged(tmp_path) as rig:
        site.at["/a"] = sent
        with pytest.raises(NotFetched) as refused:
            await rig.kept(site.link("/a"))
        assert (str(refused.value), refused.value.permanent) == (says, True)
        assert rig.files.find_file(REF, "0.mp4") is None


@asynccontextmanager
async def stalling(first: bytes, rest: bytes, go_on: asyncio.Event) -> AsyncIterator[str]:
    """A host that sends the rest only when it is told to."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + first)
        await writer.drain()
        await go_on.wait()
        writer.write(rest)
        await writer.drain()

    async with listening(serve) as port:
        yield f"http://127.0.0.1:{port}/a"


async def test_a_video_gets_more_time(tmp_path: Path) -> None:
    go_on, content = asyncio.Event(), video(10_000)
    async with stalling(content[:5_000], content[5_000:], go_on) as link, rigged(tmp_path, total_s=1.0) as rig:
        fetching = asyncio.create_task(rig.kept(link))
        await asyncio.sleep(1.3)
        assert not fetching.done()
        go_on.set()
        assert (await fetching).read_bytes() == content


async def test_a_video_that_never_ends_is_given_up(tmp_path: Path) -> None:
    async with (
        stalling(video(9_000), b"", asyncio.Event()) as link,
        rigged(tmp_path, total_s=1.0, video_total_s=1.1) as rig,
    ):
        with pytest.raises(NotFetched, match=r"took longer than 1(\.1)? s") as refused:
            await rig.kept(link)
    assert refused.value.silent


async def test_the_sandboxs_videos_are_known_as_such(tmp_path: Path) -> None:
    [picture] = plan_pictures("video_diffusion", {"prompt": "a boat"}, None, "seed", 1)
    async with serving() as site, rigged(tmp_path) as rig:
        site.at["/a"] = answer(draw_mp4(picture, 0))
        assert (await rig.kept(site.link("/a"))).name == "0.mp4"
