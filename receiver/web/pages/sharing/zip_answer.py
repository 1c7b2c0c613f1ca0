"""Sends pictures of the archive as one ZIP, piece by piece: memory stays the same however many there are.

Each file is read twice, first for its checksum. What is missing is left out, and listed in `MISSING.txt`. Whoever goes
away, or reads too slowly for the server, ends the work; so does a file that vanishes after its size was promised, and
a database that fails.
"""

import asyncio
import contextlib
import logging
import os
import stat
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from msgspec import Struct
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from receiver.core.errors import StoreError
from receiver.core.sanitize import one_line
from receiver.pictures.files import ArchiveFiles
from receiver.web.pages.sharing.zip_format import ZipWriter, zip_size

DOWNLOADS_MOST = 4
"""Archives that are sent at once."""

STRANGERS_MOST = 3
"""Of these, for share links: one place is left for people who are logged in."""

RETRY_AFTER_S = 30
MISSING = "MISSING.txt"
_MISSING_MOST = 1_000  # lines
_PIECE = 64 * 1024  # bytes
_STEM_MOST = 60  # characters of a label in a file name
_STEM_BYTES_MOST = 180  # of 255 that a file name may have
_FORBIDDEN = str.maketrans(dict.fromkeys('/\\:*?"<>|', "-"))  # in file names, here or there

log = logging.getLogger(__name__)


class ZipItem(Struct, frozen=True):
    """A picture for an archive: its name there, and where it is; `at` (milliseconds) is when it was made.

    Without a `file` there is no copy, and `why` says so. `size` is that of the file, if it was promised.
    """

    name: str
    folder: str
    file: str | None
    at: int
    why: str = "was not kept"
    size: int | None = None


class DownloadSlots:
    """Counts the archives that are being sent."""

    def __init__(self) -> None:
        self._taken = 0

    @contextlib.contextmanager
    def try_take(self, most: int) -> Iterator[bool]:
        """Count one, as long as the block runs; False if `most` are being sent already."""
        if self._taken >= most:
            yield False
            return
        self._taken += 1
        try:
            yield True
        finally:
            self._taken -= 1


class ZipAnswer(Response):
    """An archive of `items` as a download called `name`; `length` is its size in bytes, if that is known.

    While `most` of `slots` are taken, it is what `refuse` makes instead.
    """

    def __init__(
        self,
        files: ArchiveFiles,
        items: AsyncGenerator[ZipItem, None],
        name: str,
        *,
        length: int | None = None,
        slots: DownloadSlots,
        most: int = DOWNLOADS_MOST,
        refuse: Callable[[], Awaitable[Response]],
    ) -> None:
        super().__init__(media_type="application/zip")
        plain = name.encode("ascii", "replace").decode().replace("?", "-")
        self.headers["content-disposition"] = (
            f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
        )
        self.headers["cache-control"] = "private, no-store"
        self.headers["referrer-policy"] = "no-referrer"
        self.headers["x-content-type-options"] = "nosniff"
        self.headers["x-robots-tag"] = "noindex"
        self.headers["x-accel-buffering"] = "no"  # nginx would fill its disk, whoever has gone away
        del self.headers["content-length"]
        if length is not None:
            self.headers["content-length"] = str(length)
        self._pieces = _archive_pieces(files, items)
        self._slots, self._most = slots, most
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        async with contextlib.aclosing(self._pieces) as pieces:
            if scope["method"] == "HEAD":
                await send(start)
                await send({"type": "http.response.body", "body": b""})
                return
            with self._slots.try_take(self._most) as taken:
                if taken:
                    await send(start)
                    await _send_pieces(pieces, receive, send)
                    return
        refused = await self._refuse()
        refused.headers["retry-after"] = str(RETRY_AFTER_S)
        await refused(scope, receive, send)


async def measure_zip(files: ArchiveFiles, items: Sequence[ZipItem]) -> tuple[list[ZipItem], int]:
    """The items, those whose file is gone without it; and how many bytes their archive has."""
    sizes = await asyncio.to_thread(lambda: [_file_size(files, it) for it in items])
    there = [
        ZipItem(it.name, it.folder, it.file if size is not None else None, it.at, it.why, size)
        for it, size in zip(items, sizes, strict=True)
    ]
    members = [(it.name, it.size) for it in there if it.size is not None]
    if missing := [_missing_line(it) for it in there if it.file is None]:
        members.append((MISSING, len(_missing_text(missing, len(missing)))))
    return there, zip_size(members)


def safe_stem(text: str) -> str:
    """`text` from outside as the beginning of a file name, on every system; empty if nothing of it can be."""
    line = one_line(text.translate(_FORBIDDEN), _STEM_MOST).strip(" .-")
    return line.replace("…", "").encode()[:_STEM_BYTES_MOST].decode(errors="ignore").strip(" .-")


async def _send_pieces(pieces: AsyncIterator[bytes], receive: Receive, send: Send) -> None:
    gone = asyncio.create_task(_wait_until_gone(receive))
    try:
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            if gone.done():
                return
        await send({"type": "http.response.body", "body": b""})
    except (_FileChanged, OSError, StoreError) as error:
        # The size was promised: what was sent must not look whole, and the server cuts off what is not.
        log.warning("a download was cut off: %s", error, extra={"action": "pages.zip"})
    finally:
        gone.cancel()


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _FileChanged(Exception):
    """A file is not there any more, or not as it was."""


async def _archive_pieces(files: ArchiveFiles, items: AsyncGenerator[ZipItem, None]) -> AsyncGenerator[bytes, None]:
    """The bytes of an archive. Raises _FileChanged."""
    writer, missing, count, last = ZipWriter(), list[str](), 0, 0
    async with contextlib.aclosing(items):
        async for item in items:
            last = item.at
            file = await asyncio.to_thread(_open_file, files, item)
            if file is None:
                if item.size is not None:
                    raise _FileChanged(f"{item.file} of {item.folder} is gone")
                count += 1
                if len(missing) < _MISSING_MOST:
                    missing.append(_missing_line(item))
                continue
            with file:
                size, crc = await _measure_file(file)
                if item.size not in (None, size):
                    raise _FileChanged(f"{item.file} of {item.folder} is another one now")
                yield writer.begin_file(item.name, size, crc, item.at)
                while size:
                    piece = await asyncio.to_thread(file.read, min(size, _PIECE))
                    if not piece:
                        raise _FileChanged(f"{item.file} of {item.folder} became shorter")
                    size -= len(piece)
                    yield piece
    if missing:
        text = _missing_text(missing, count)
        yield writer.begin_file(MISSING, len(text), zlib.crc32(text), last) + text
    for piece in writer.end():
        yield piece


def _open_file(files: ArchiveFiles, item: ZipItem) -> BinaryIO | None:
    """The file of an item; None if it is not there."""
    path = None if item.file is None else files.find_file(item.folder, item.file)
    with contextlib.suppress(OSError):
        return None if path is None else open(path, "rb", opener=_open_no_link)
    return None


async def _measure_file(file: BinaryIO) -> tuple[int, int]:
    """The size and the checksum of an opened file, which is then at its beginning again. Raises OSError."""
    size = crc = 0
    while piece := await asyncio.to_thread(file.read, 16 * _PIECE):
        crc, size = zlib.crc32(piece, crc), size + len(piece)
    file.seek(0)
    return size, crc


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)


def _file_size(files: ArchiveFiles, item: ZipItem) -> int | None:
    path: Path | None = None if item.file is None else files.find_file(item.folder, item.file)
    with contextlib.suppress(OSError):
        found = None if path is None else path.stat()
        return found.st_size if found is not None and stat.S_ISREG(found.st_mode) else None
    return None


def _missing_line(item: ZipItem) -> str:
    return f"{item.name} {item.why}."


def _missing_text(lines: Sequence[str], count: int) -> bytes:
    first = lines[:_MISSING_MOST]
    more = [f"… and {count - len(first)} more."] if count > len(first) else []
    return "".join(f"{line}\r\n" for line in (*first, *more)).encode()
