"""The archive's loop, wrapped so that it kills itself: `kit.dying_archive FOLDER POINT` of `kit.programs`.

Points, each met with the second picture or with the thumbnails: `written` (half of it is on disk under a temporary
name), `synced` (all of it), `kept` (under its own), `recorded` (its row is written, not committed), `drawn` (nothing of
it is kept), `thumbnail` (one is), `tiny` (its smaller one too), `sheet` (all are), `ended` (the round is written, not
committed).
"""

import asyncio
import os
import signal
from pathlib import Path

from kit.archive_loop import LOOPBACK, Drawer
from kit.fakes import POLICY, Clock
from receiver.core.types import ArchiveState
from receiver.pictures.archive import PictureArchiver
from receiver.pictures.files import SHEET, ArchiveFiles, PendingFile
from receiver.store import open_store
from receiver.store.sqlite.engine import SqliteConnection

POINTS = ("written", "synced", "kept", "recorded", "drawn", "thumbnail", "tiny", "sheet", "ended")


class Fuse:
    """Ends the process when it comes to its point, as if the power went."""

    def __init__(self, point: str) -> None:
        self._point = point
        self.pictures = 0

    def at(self, point: str, *, when: bool = True) -> None:
        """The process is at `point`."""
        if when and point == self._point:
            os.kill(os.getpid(), signal.SIGKILL)


def wrap(fuse: Fuse) -> None:
    """Die in the archive's rooms."""
    write, keep, put, commit = (
        PendingFile._write_chunk,
        PendingFile.keep_as,
        ArchiveFiles.save_file,
        SqliteConnection.commit,
    )

    def dying_write(self: PendingFile, chunk: bytes) -> None:
        fuse.pictures += 1
        second = fuse.pictures == 2
        write(self, chunk[: len(chunk) // 2])
        fuse.at("written", when=second)
        write(self, chunk[len(chunk) // 2 :])
        fuse.at("synced", when=second)

    async def dying_keep(self: PendingFile, folder: str, file: str) -> Path:
        path = await keep(self, folder, file)
        fuse.at("kept", when=fuse.pictures == 2)
        return path

    async def dying_put(self: ArchiveFiles, folder: str, file: str, content: bytes) -> Path:
        path = await put(self, folder, file, content)
        fuse.at("sheet" if file == SHEET else "tiny" if ".tiny." in file else "thumbnail")
        return path

    async def dying_commit(self: SqliteConnection) -> bool:
        rows = await self.fetch_rows("SELECT archive FROM tasks")
        fuse.at("recorded", when=fuse.pictures == 2)
        fuse.at("ended", when=rows == [(ArchiveState.DONE,)])
        return await commit(self)

    PendingFile._write_chunk = dying_write  # type: ignore[method-assign]  # the harness's own wrapping
    PendingFile.keep_as = dying_keep  # type: ignore[method-assign]  # likewise
    ArchiveFiles.save_file = dying_put  # type: ignore[method-assign]  # likewise
    SqliteConnection.commit = dying_commit  # type: ignore[method-assign]  # likewise


async def main(folder: Path, fuse: Fuse) -> None:
    """One round of the task that is due."""
    store = await open_store(folder / "r.db")
    drawer = Drawer()

    async def draw(paths):  # type: ignore[no-untyped-def]  # as Drawer says
        sheet = await drawer.draw(paths)
        fuse.at("drawn")
        return sheet

    loop = PictureArchiver(store, ArchiveFiles(folder / "images"), POLICY, Clock(), allow=LOOPBACK, draw=draw)
    task = await loop.claim()
    assert task is not None
    wrap(fuse)
    await loop.carry_out(task)


def run(words: list[str]) -> None:
    folder, point = words
    asyncio.run(main(Path(folder), Fuse(point)))
