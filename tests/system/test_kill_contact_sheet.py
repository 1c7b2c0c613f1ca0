"""kill -9 while a digest's contact sheet is drawn: it goes out once, with its sheet, and nothing is half written."""

import asyncio
import hashlib
import signal
from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.dying_sheet import POINTS
from kit.fakes import a_notice, a_ref, owe
from kit.live_service import PATIENCE_S
from kit.picture_files import BLUE, GREEN, RED, opened, plain
from kit.programs import Programs
from receiver.core.types import ImageCopy, NoticeEvent, NoticeState
from receiver.pictures.files import SHEET, ArchiveFiles
from receiver.store import open_store

pytestmark = pytest.mark.anyio


async def a_digest(folder: Path) -> None:
    """Three tasks whose thumbnails are in the archive, and their notices, held until now."""
    store = await open_store(folder / "r.db")
    files = ArchiveFiles(folder / "images")
    for colour in (RED, BLUE, GREEN):
        ref = a_ref()
        await files.save_file(ref, "0.small.jpg", plain(colour=colour, kind="JPEG"))
        async with store.write() as tx:
            await tx.copies.upsert([(ref, ImageCopy(0, "0.png", small="0.small.jpg"))])
        notice = a_notice(ref=ref, state=NoticeState.HELD)
        await owe(store, replace(notice, report=replace(notice.report, ref=ref, event=NoticeEvent.COMPLETED)))
    await store.close()


async def ran(programs: Programs, folder: Path, point: str) -> int:
    async with asyncio.timeout(PATIENCE_S):
        return await programs.run("kit.dying_sheet", str(folder), point)


@pytest.mark.parametrize("point", POINTS)
async def test_a_digest_s_sheet_outlives_a_kill(tmp_path: Path, programs: Programs, point: str) -> None:
    """Right after the kill what has its own name is whole; the next start sends it once, or once more if it had been
    sent, and with the whole sheet."""
    await a_digest(tmp_path)
    assert await ran(programs, tmp_path, point) == -signal.SIGKILL
    sheets = list((tmp_path / "images").glob(f"*/digest-*/{SHEET}"))
    assert len(sheets) == (point in ("kept", "sent"))
    for sheet in sheets:
        opened(sheet.read_bytes())
    assert await ran(programs, tmp_path, "-") == 0
    [sheet] = (tmp_path / "images").glob(f"*/digest-*/{SHEET}")
    content = sheet.read_bytes()
    assert opened(content).width > 2 * 320
    sent = (tmp_path / "sent").read_text().splitlines()
    assert sent == [f"{len(content)} {hashlib.sha256(content).hexdigest()}"] * (2 if point == "sent" else 1)
    store = await open_store(tmp_path / "r.db")
    assert await store.notices.count_by_state() == []  # none is open, none dead
    await store.close()
    await ArchiveFiles(tmp_path / "images").remove_leftovers()
    assert list((tmp_path / "images" / "parts").iterdir()) == []
