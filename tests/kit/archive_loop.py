"""A site that serves pictures on loopback and counts who asks, a stand-in for who draws, and the loop between them."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

from kit.fakes import NOW, POLICY, Clock, a_notice, a_task, got, notices
from kit.listening import Behave, listening
from receiver.core.types import ArchiveState, Image, ImageCopy, NoticeEvent, TaskState
from receiver.pictures.addresses import FetchAllowlist
from receiver.pictures.archive import PictureArchiver
from receiver.pictures.drawing.protocol import ContactSheet, DrawResult
from receiver.pictures.files import SHEET, ArchiveFiles
from receiver.store import Store

LOOPBACK = FetchAllowlist(networks=(ip_network("127.0.0.1/32"),))
JPEG = b"\xff\xd8\xff\xe0 drawn"
DONE = (ArchiveState.DONE, None, 0)  # a task whose pictures are all kept


def _chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def png(number: int = 0, size: int = 0) -> bytes:
    """A picture of one pixel, another for each number, with `size` bytes more."""
    head = b"\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00"
    pixel = zlib.compress(bytes((0, number % 256)))
    chunks = (_chunk(b"IHDR", head), _chunk(b"IDAT", pixel), _chunk(b"teXt", b"\0" * size), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def answer(body: bytes = b"", status: int = 200, *more: str) -> bytes:
    """An answer as bytes, with these header lines more; its length is said unless they say one."""
    lines = [f"HTTP/1.1 {status} Said", *more]
    if not any(line.lower().startswith("content-length") for line in more):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Site:
    """What is at each path: an answer, several for one request after the other, or a way to behave."""

    def __init__(self) -> None:
        self.port = 0
        self.at: dict[str, bytes | list[bytes] | Behave] = {}
        self.asked: list[str] = []
        self.heads: list[str] = []
        self.before: Callable[[str], None] = lambda path: None

    def link(self, path: str) -> str:
        """The link to a path."""
        return f"http://127.0.0.1:{self.port}{path}"

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except (asyncio.IncompleteReadError, OSError):
            head = "connected - -"
        path = head.split(" ")[1].partition("?")[0]
        self.asked.append(path)
        self.heads.append(head)
        self.before(path)
        found = self.at.get(path, answer(b"", 404))
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        if isinstance(found, bytes):
            writer.write(found)
            await writer.drain()
        else:
            await found(reader, writer)
        writer.close()


@asynccontextmanager
async def serving(pictures: int = 0) -> AsyncIterator[Site]:
    """A site with that many pictures, `/0.png` and so on."""
    site = Site()
    site.at = {f"/{number}.png": answer(png(number)) for number in range(pictures)}
    async with listening(site.meet) as site.port:
        yield site


class Drawer:
    """Draws nothing: says of each file that it did, or what `errors` has for its caption; keeps what it was given."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.errors: dict[str, str] = {}
        self.fails: list[ContactSheet | Exception] = []

    async def draw(self, paths: Sequence[tuple[str, Path]]) -> ContactSheet:
        """As `Draw` says."""
        assert all(path.is_file() for _, path in paths)
        self.asked.append([caption for caption, _ in paths])
        if self.fails:
            failed = self.fails.pop(0)
            if isinstance(failed, Exception):
                raise failed
            return failed
        drawn = tuple(
            DrawResult(error=self.errors[caption]) if caption in self.errors else DrawResult(JPEG, 1024, 768, tiny=JPEG)
            for caption, _ in paths
        )
        return ContactSheet(JPEG + b" ".join(caption.encode() for caption, _ in paths), drawn)


PICTURE_WAIT = 15_000


async def owed(store: Store, links: Sequence[str], now: int = NOW, **more: object) -> str:
    """The ref of a task that has completed with these links, and whose notice waits for its pictures."""
    task = a_task(
        TaskState.COMPLETED,
        **{"task_id": None, "settled_at": now, "archive": ArchiveState.DUE, "archive_at": now, **more},
    )
    images = tuple(Image(number, link) for number, link in enumerate(links))
    async with store.write() as tx:
        await tx.tasks.insert([task])
        await tx.tasks.add_images((task.ref, image) for image in images)
        await tx.notices.insert([a_notice(ref=task.ref, due_at=now + PICTURE_WAIT)])
    return task.ref


class Archiving:
    """The loop over a store, with its parts at hand."""

    def __init__(self, store: Store, files: ArchiveFiles, spacing_ms: int = 0) -> None:
        self.store = store
        self.clock = Clock()
        self.files = files
        self.drawer = Drawer()
        self.loop = PictureArchiver(
            *(store, self.files, POLICY, self.clock),
            allow=LOOPBACK,
            draw=self.drawer.draw,
            spacing_ms=spacing_ms,
            luck=lambda: 0.0,
        )

    async def round(self) -> bool:
        """One round of the task that is due; whether there was one."""
        task = await self.loop.claim()
        if task is not None:
            await self.loop.carry_out(task)
        return task is not None

    async def copies(self, ref: str) -> list[ImageCopy]:
        """What is recorded of the task's pictures."""
        return list((await self.store.copies.by_refs([ref])).get(ref, ()))

    async def state(self, ref: str) -> tuple[ArchiveState | None, int | None, int]:
        """State, milliseconds until the next round, and tries."""
        task = await got(self.store, ref)
        ahead = None if task.archive_at is None else task.archive_at - self.clock.now
        return task.archive, ahead, task.archive_tries

    async def waits(self, ref: str) -> int:
        """How many milliseconds the task's notice still waits."""
        [notice] = await notices(self.store, ref, NoticeEvent.COMPLETED)
        return notice.due_at - self.clock.now

    def held(self, ref: str) -> list[str]:
        """The files of the task."""
        folder = self.files.find_file(ref, "0.png") or self.files.find_file(ref, SHEET)
        return sorted(it.name for it in folder.parent.iterdir()) if folder is not None else []


def links(site: Site, count: int = 4) -> list[str]:
    """Where the site's first pictures are."""
    return [site.link(f"/{number}.png?sig=secret") for number in range(count)]


@asynccontextmanager
async def archiving(
    store: Store, root: Path, files: ArchiveFiles | None = None, spacing_ms: int = 0
) -> AsyncIterator[Archiving]:
    """The loop, closed at the end."""
    rig = Archiving(store, files or ArchiveFiles(root / "images"), spacing_ms)
    try:
        yield rig
    finally:
        await rig.loop.close()
