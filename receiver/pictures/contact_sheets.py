"""The picture that goes with a message: a task's contact sheet, or one sheet for all tasks of a digest or a batch.

The archive draws a task's sheet. The others are drawn here when their message is first sent, and kept under the send's
id, so that a later try finds them. A batch's sheet shows one picture of each row, or of rows at even distances, of
those that are here by then.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from receiver.core.errors import Unwritable
from receiver.core.sanitize import one_line
from receiver.core.types import AttachedPicture, ImageCopy, NoticeEvent, Send
from receiver.pictures.drawing.process import DrawSheet
from receiver.pictures.drawing.protocol import SHEET_PICTURES_MOST
from receiver.pictures.files import SHEET, ArchiveFiles
from receiver.store import Store

NAME_MOST = 18  # characters of a label; its caption also has a number
BATCH_LOOKED = 4 * SHEET_PICTURES_MOST  # rows of a batch whose pictures are looked for


class ContactSheets:
    """Finds or draws contact sheets. `link` gives the public URL of a file of the archive, if it has one."""

    def __init__(
        self, store: Store, files: ArchiveFiles, draw: DrawSheet, link: Callable[[str, str], str | None]
    ) -> None:
        self._store = store
        self._files = files
        self._draw = draw
        self._link = link

    async def __call__(self, send: Send) -> AttachedPicture | None:
        """The picture for a send; None if there is nothing to show."""
        reports = {it.ref: it.report for it in send.notices if it.event is NoticeEvent.COMPLETED and it.report.images}
        refs = [ref for ref in reports if ref is not None]
        batches = [it.report.batch for it in send.notices if it.event is NoticeEvent.BATCH and it.report.completed]
        if not refs and not batches:
            return None
        alone = len(send.notices) == 1
        if alone and refs:
            return self._find_sheet(refs[0])
        folder = f"digest-{send.id}"
        if (drawn := self._find_sheet(folder)) is not None:
            return drawn
        copies = await self._store.copies.by_refs(refs) if refs else {}
        chosen = self._choose_pictures([(ref, reports[ref].label) for ref in refs], copies)
        for name in batches:
            chosen += await self._choose_rows(name or "", SHEET_PICTURES_MOST - len(chosen), named=not alone)
        if not chosen:
            return None
        sheet = await self._draw(chosen)
        if sheet.picture is None:
            return None
        try:
            await self._files.save_file(folder, SHEET, sheet.picture)
        except Unwritable:
            return None  # the archive reports a full disk itself
        return self._find_sheet(folder)

    def _find_sheet(self, folder: str) -> AttachedPicture | None:
        path = self._files.find_file(folder, SHEET)
        return None if path is None else AttachedPicture(str(path), self._link(folder, SHEET))

    async def _choose_rows(self, batch: str, most: int, *, named: bool) -> list[tuple[str, Path]]:
        """The first picture of each row of a batch under its line, at even distances if they are more than `most`."""
        lane = await self._store.lanes.find_batch(batch) if most > 0 else None
        if lane is None:
            return []
        rows = await self._store.batch_rows.completed_rows(lane.id, BATCH_LOOKED)
        copies = await self._store.copies.by_refs([ref for _, ref in rows]) if rows else {}
        name = one_line(batch, NAME_MOST) if named and batch.isascii() else ""
        found = [
            (f"{name} · {line}" if name else f"line {line}", path)
            for line, ref in rows
            for _, path in itertools.islice(self._find_thumbnails(ref, copies.get(ref, ())), 1)
        ]
        return [found[at * len(found) // most] for at in range(most)] if len(found) > most else found

    def _find_thumbnails(self, ref: str, copies: Sequence[ImageCopy]) -> Iterator[tuple[int, Path]]:
        """The thumbnails of a task that are there, each with its picture's number. Never a stranger's file, here."""
        for copy in copies:
            if copy.small and (path := self._files.find_file(ref, copy.small)) is not None:
                yield copy.image_no, path

    def _choose_pictures(
        self, tasks: Sequence[tuple[str, str | None]], copies: dict[str, tuple[ImageCopy, ...]]
    ) -> list[tuple[str, Path]]:
        """What to draw: every picture, with its task's label and number; or each task's sheet, if that is too many."""
        pictures: list[tuple[str, Path]] = []
        sheets: list[tuple[str, Path]] = []
        for number, (ref, label) in enumerate(tasks, 1):
            name = one_line(label or "", NAME_MOST)
            if not name.isascii() or not name:  # the font has Latin letters only
                name = f"{number}"
            own = list(self._find_thumbnails(ref, copies.get(ref, ())))
            pictures += [(f"{name} · {place}" if len(own) > 1 else name, path) for place, path in own]
            if path := self._files.find_file(ref, SHEET):
                sheets.append((name, path))
        return pictures if len(pictures) <= SHEET_PICTURES_MOST else sheets[:SHEET_PICTURES_MOST]
