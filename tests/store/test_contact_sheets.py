"""The picture that goes with a message: the task's own sheet, or one of all the tasks of a digest, drawn once."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.fakes import a_notice, a_ref
from receiver.core.errors import Unwritable
from receiver.core.types import AttachedPicture, ImageCopy, Notice, NoticeEvent, Send
from receiver.pictures.contact_sheets import ContactSheets
from receiver.pictures.drawing.protocol import SHEET_PICTURES_MOST, ContactSheet
from receiver.pictures.files import SHEET, ArchiveFiles
from receiver.store import Store

pytestmark = pytest.mark.anyio


class FakeDraw:
    """Draws nothing: answers `sheet`, and remembers what it was shown."""

    def __init__(self) -> None:
        self.sheet = ContactSheet(picture=b"jpeg")
        self.shown: list[list[tuple[str, str]]] = []

    async def __call__(self, pictures: Sequence[tuple[str, Path]]) -> ContactSheet:
        self.shown.append([(caption, path.name) for caption, path in pictures])
        return self.sheet


@pytest.fixture
def draw() -> FakeDraw:
    return FakeDraw()


@pytest.fixture
def files(tmp_path: Path) -> ArchiveFiles:
    return ArchiveFiles(tmp_path / "images")


@pytest.fixture
def sheets(store: Store, files: ArchiveFiles, draw: FakeDraw) -> ContactSheets:
    return ContactSheets(store, files, draw, lambda folder, file: f"https://we/{folder}/{file}")


async def archived(store: Store, files: ArchiveFiles, label: str | None, count: int) -> Notice:
    """A notice of a task whose pictures are here, with its sheet."""
    ref = a_ref()
    for place in range(count):
        await files.save_file(ref, f"{place}.small.jpg", b"small")
    await files.save_file(ref, SHEET, b"sheet")
    async with store.write() as tx:
        await tx.copies.upsert(
            (ref, ImageCopy(place, f"{place}.png", small=f"{place}.small.jpg")) for place in range(count)
        )
    notice = a_notice(ref=ref)
    return replace(notice, report=replace(notice.report, ref=ref, label=label))


def a_send(*notices: Notice) -> Send:
    return Send(id=7, target="slack", claim=1, claims=1, tries=0, notices=notices)


async def test_one_task_is_shown_by_its_own_sheet(
    store: Store, files: ArchiveFiles, sheets: ContactSheets, draw: FakeDraw
) -> None:
    notice = await archived(store, files, "hero", 4)
    picture = await sheets(a_send(notice))
    assert picture is not None
    assert (Path(picture.path).name, picture.url) == (SHEET, f"https://we/{notice.ref}/{SHEET}")
    assert draw.shown == []


@pytest.mark.parametrize("event", [NoticeEvent.FAILED, NoticeEvent.LOST, NoticeEvent.ATTENTION])
async def test_only_a_completed_task_has_a_picture(
    store: Store, files: ArchiveFiles, sheets: ContactSheets, event: NoticeEvent
) -> None:
    notice = await archived(store, files, "hero", 1)
    assert await sheets(a_send(replace(notice, event=event))) is None


async def test_a_task_whose_pictures_are_not_here_is_told_without(sheets: ContactSheets, draw: FakeDraw) -> None:
    assert await sheets(a_send(a_notice(ref=a_ref()))) is None
    assert await sheets(a_send(a_notice(ref=a_ref()), a_notice(ref=a_ref()))) is None
    assert draw.shown == []


async def test_a_digest_shows_every_picture_under_its_tasks_label_drawn_once(
    store: Store, files: ArchiveFiles, sheets: ContactSheets, draw: FakeDraw
) -> None:
    send = a_send(
        await archived(store, files, "hero", 2),
        await archived(store, files, None, 1),
        await archived(store, files, "Häuser am Meer", 1),
        await archived(store, files, "a label that is far too long for it", 1),
        replace(await archived(store, files, "no", 1), event=NoticeEvent.FAILED),
    )
    first = await sheets(send)
    assert draw.shown == [
        [
            ("hero · 0", "0.small.jpg"),
            ("hero · 1", "1.small.jpg"),
            ("2", "0.small.jpg"),
            ("3", "0.small.jpg"),
            ("4", "0.small.jpg"),
        ]
    ]
    assert first == AttachedPicture(str(files.find_file("digest-7", SHEET)), f"https://we/digest-7/{SHEET}")
    assert await sheets(send) == first, "a later try finds it"
    assert len(draw.shown) == 1


async def test_a_digest_never_opens_what_could_not_be_drawn(
    store: Store, files: ArchiveFiles, sheets: ContactSheets, draw: FakeDraw
) -> None:
    """It is made of thumbnails alone: a picture that failed its own may not take the digest's time as well."""
    bad = await archived(store, files, "bad", 0)
    assert bad.ref is not None
    for place in (0, 1):
        await files.save_file(bad.ref, f"{place}.png", b"a bomb")
    async with store.write() as tx:
        await tx.copies.upsert(
            [(bad.ref, ImageCopy(0, "0.png", error="drawing it takes too long")), (bad.ref, ImageCopy(1, "1.png"))]
        )
    assert await sheets(a_send(bad, await archived(store, files, "good", 1))) is not None
    assert draw.shown == [[("good", "0.small.jpg")]]


async def test_of_more_pictures_than_a_sheet_holds_each_task_shows_its_own(
    store: Store, files: ArchiveFiles, sheets: ContactSheets, draw: FakeDraw
) -> None:
    await sheets(a_send(*[await archived(store, files, None, 1) for _ in range(SHEET_PICTURES_MOST + 2)]))
    assert draw.shown == [[(f"{number}", SHEET) for number in range(1, SHEET_PICTURES_MOST + 1)]]


async def test_a_sheet_that_cannot_be_drawn_or_kept_is_left_out(
    store: Store, files: ArchiveFiles, sheets: ContactSheets, draw: FakeDraw, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = a_send(await archived(store, files, "a", 1), await archived(store, files, "b", 1))
    draw.sheet = ContactSheet(error="all of them are broken")
    assert await sheets(send) is None

    async def full(folder: str, file: str, content: bytes) -> Path:
        raise Unwritable("cannot write to the archive: No space left on device")

    draw.sheet = ContactSheet(picture=b"jpeg")
    monkeypatch.setattr(files, "save_file", full)
    assert await sheets(send) is None
