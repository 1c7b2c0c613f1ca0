"""The picture that goes with a message: a task's contact sheet, or one of all the tasks of a digest.

A task's sheet is the archive's doing; a digest's is drawn here, when it is first sent, and kept under the send's id, so
that a later try finds it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from receiver.core.errors import Unwritable
from receiver.core.sanitize import one_line
from receiver.core.types import AttachedPicture, ImageCopy, NoticeEvent, Send
from receiver.pictures.drawing.process import DrawSheet
from receiver.pictures.drawing.protocol import SHEET_PICTURES_MOST
from receiver.pictures.files import SHEET, ArchiveFiles
from receiver.store import Store

NAME_MOST = 18  # characters of a label, in a caption that also has a number


class ContactSheets:
    """Finds or draws them. `link` says where the world can see a file of the archive, if it can."""

    def __init__(
        self, store: Store, files: ArchiveFiles, draw: DrawSheet, link: Callable[[str, str], str | None]
    ) -> None:
        self._store = store
        self._files = files
        self._draw = draw
        self._link = link

    async def __call__(self, send: Send) -> AttachedPicture | None:
        """The picture of a send; None where there is nothing to show."""
        told = {it.ref: it.report for it in send.notices if it.event is NoticeEvent.COMPLETED and it.report.images}
        refs = [ref for ref in told if ref is not None]
        if not refs:
            return None
        if len(send.notices) == 1:
            return self._find_sheet(refs[0])
        folder = f"digest-{send.id}"
        if (drawn := self._find_sheet(folder)) is not None:
            return drawn
        shown = self._choose_pictures([(ref, told[ref].label) for ref in refs], await self._store.copies.by_refs(refs))
        if not shown:
            return None
        sheet = await self._draw(shown)
        if sheet.picture is None:
            return None
        try:
            await self._files.save_file(folder, SHEET, sheet.picture)
        except Unwritable:
            return None  # the archive says so itself
        return self._find_sheet(folder)

    def _find_sheet(self, folder: str) -> AttachedPicture | None:
        path = self._files.find_file(folder, SHEET)
        return None if path is None else AttachedPicture(str(path), self._link(folder, SHEET))

    def _choose_pictures(
        self, tasks: Sequence[tuple[str, str | None]], copies: dict[str, tuple[ImageCopy, ...]]
    ) -> list[tuple[str, Path]]:
        """What is drawn: every picture, under its task's label and its place; or, of too many, each task's sheet."""
        pictures: list[tuple[str, Path]] = []
        sheets: list[tuple[str, Path]] = []
        for number, (ref, label) in enumerate(tasks, 1):
            name = one_line(label or "", NAME_MOST)
            if not name.isascii() or not name:  # what is drawn in has Latin letters
                name = f"{number}"
            own = [
                (copy.image_no, path)
                for copy in copies.get(ref, ())
                if copy.small and (path := self._files.find_file(ref, copy.small))  # never what strangers made, here
            ]
            pictures += [(f"{name} {place}" if len(own) > 1 else name, path) for place, path in own]
            if path := self._files.find_file(ref, SHEET):
                sheets.append((name, path))
        return pictures if len(pictures) <= SHEET_PICTURES_MOST else sheets[:SHEET_PICTURES_MOST]
