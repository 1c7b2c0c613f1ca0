"""A digest sent by a process that kills itself: `kit.dying_sheet FOLDER POINT` of `kit.programs`.

It sends what is due to the target `slack`, with its contact sheet, which the real child draws and the real archive
keeps. What it sends goes to the file `sent` in the folder, a line each: how many bytes the picture has, and its digest.
With `-` it lives. Points:

drawing   the child has drawn the first of the pictures
drawn     the sheet is drawn, nothing of it is kept
written   half of it is on disk, under a temporary name
kept      it is there under its own name, nothing is sent
sent      it is sent, and that is not recorded
"""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from kit.dying import Fuse
from kit.fakes import POLICY, SLACK, Clock, steady
from kit.picture_files import PATIENT
from receiver.core.types import AttemptResult, MessageStyle, Target
from receiver.notify.dispatch import NoticeDispatcher
from receiver.notify.messages.message import Message, NoLinks
from receiver.pictures.contact_sheets import ContactSheets
from receiver.pictures.drawing import process
from receiver.pictures.files import SHEET, ArchiveFiles, PendingFile
from receiver.store import open_store
from receiver.telemetry.metrics import Metrics

POINTS = ("drawing", "drawn", "written", "kept", "sent")


def wrap(fuse: Fuse) -> None:
    """Die in the rooms that a digest's sheet comes through."""
    record, draw, write, keep = (
        process._read_record,
        process.DrawingProcess.draw_sheet,
        PendingFile._write_chunk,
        PendingFile.keep_as,
    )
    records = 0

    async def dying_record(out: asyncio.StreamReader) -> Any:
        nonlocal records
        records += 1
        if records == 3:  # the first was about its limits, the second about the first picture
            fuse.at("drawing")
        return await record(out)

    async def dying_draw(self: process.DrawingProcess, paths: Any) -> Any:
        sheet = await draw(self, paths)
        fuse.at("drawn")
        return sheet

    def dying_write(self: PendingFile, chunk: bytes) -> None:
        write(self, chunk[: len(chunk) // 2])
        fuse.at("written")
        write(self, chunk[len(chunk) // 2 :])

    async def dying_keep(self: PendingFile, folder: str, file: str) -> Path:
        path = await keep(self, folder, file)
        assert file == SHEET
        fuse.at("kept")
        return path

    process._read_record = dying_record
    process.DrawingProcess.draw_sheet = dying_draw  # type: ignore[method-assign]  # the harness's own wrapping
    PendingFile._write_chunk = dying_write  # type: ignore[method-assign]  # likewise
    PendingFile.keep_as = dying_keep  # type: ignore[method-assign]  # likewise


class FileSender:
    """Sends into a file."""

    def __init__(self, path: Path, fuse: Fuse) -> None:
        self._path = path
        self._fuse = fuse

    async def send(self, target: Target, message: Message) -> AttemptResult:
        picture = b"" if message.picture is None else message.picture.read_bytes()
        with self._path.open("a") as sent:
            sent.write(f"{len(picture)} {hashlib.sha256(picture).hexdigest()}\n")
        self._fuse.at("sent")
        return AttemptResult()


async def main(folder: Path, fuse: Fuse) -> None:
    """Send until nothing is due, or the fuse has burnt."""
    clock = Clock()
    store = await open_store(folder / "r.db")
    files = ArchiveFiles(folder / "images")
    wrap(fuse)
    notify = NoticeDispatcher(
        store,
        FileSender(folder / "sent", fuse),
        replace(POLICY, targets=(replace(SLACK, digest_ms=300_000, style=MessageStyle.EMAIL),)),
        clock,
        schedule_ms=[5_000],
        timeout_ms=30_000,
        links=NoLinks(),
        metrics=Metrics(),
        watch=steady(clock),
        picture=ContactSheets(
            store, files, process.DrawingProcess(limits=PATIENT, within_s=600).draw_sheet, lambda folder, file: None
        ),
    )
    while (send := await notify.claim()) is not None:
        await notify.carry_out(send)
    await notify.close()
    await store.close()


def run(words: list[str]) -> None:
    folder, point = words
    asyncio.run(main(Path(folder), Fuse(point, 1)))
