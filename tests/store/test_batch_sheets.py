"""The picture of the message at a batch's end: one of each row, of rows at even distances if they are many."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.archive_loop import PICTURE_WAIT, archiving, serving
from kit.batches import BatchBench
from kit.fakes import NOW, POLICY, SLACK, notices
from receiver.core.types import ArchiveState, Ending, Image, ImageCopy, MessageStyle, NoticeEvent, Send, Task, TaskState
from receiver.pictures.contact_sheets import BATCH_LOOKED, ContactSheets
from receiver.pictures.drawing.protocol import SHEET_PICTURES_MOST, ContactSheet
from receiver.pictures.files import SHEET, ArchiveFiles
from receiver.store import Store

pytestmark = pytest.mark.anyio
SHOWS = replace(POLICY, targets=(replace(SLACK, style=MessageStyle.SLACK),))


class Sheets:
    """The sheets of a store whose drawing answers `sheet`, and the captions that it was shown."""

    def __init__(self, store: Store, files: ArchiveFiles) -> None:
        self.store, self.files = store, files
        self.shown: list[list[str]] = []
        self.find = ContactSheets(store, files, self._draw, lambda folder, file: f"https://we/{folder}/{file}")

    async def _draw(self, pictures: Sequence[tuple[str, Path]]) -> ContactSheet:
        self.shown.append([caption for caption, _ in pictures])
        return ContactSheet(picture=b"jpeg")

    async def keep(self, *tasks: Task, smalls: Sequence[int] = (0, 1)) -> None:
        """The archive has these pictures of the tasks."""
        for task in tasks:
            for place in smalls:
                await self.files.save_file(task.ref, f"{place}.small.jpg", b"small")
        async with self.store.write() as tx:
            await tx.copies.upsert(
                (task.ref, ImageCopy(place, f"{place}.png", small=f"{place}.small.jpg"))
                for task in tasks
                for place in smalls
            )

    async def send(self, number: int = 7) -> Send:
        """A send of all notices that there are."""
        return Send(id=number, target="slack", claim=1, claims=1, tries=0, notices=tuple(await notices(self.store)))


@pytest.fixture
def sheets(store: Store, tmp_path: Path) -> Sheets:
    return Sheets(store, ArchiveFiles(tmp_path / "images"))


async def test_each_completed_row_shows_its_first_picture_under_its_line_drawn_once(
    store: Store, sheets: Sheets
) -> None:
    bench = BatchBench(store)
    two, three, four, five = await bench.open(lines=4)
    for task in (two, three, five):
        await bench.end(task)
    await bench.end(four, Ending.FAILED)
    await bench.control.close("rows")
    await sheets.keep(two, four)
    await sheets.keep(five, smalls=[3])
    send = await sheets.send()
    first = await sheets.find(send)
    assert sheets.shown == [["line 2", "line 5"]], "nothing of 3 is here, and 4 failed"
    assert first is not None
    assert (Path(first.path).name, first.url) == (SHEET, f"https://we/digest-7/{SHEET}")
    assert await sheets.find(send) == first
    assert len(sheets.shown) == 1


async def test_a_digest_names_the_batches_whose_pictures_it_shows(store: Store, sheets: Sheets) -> None:
    bench = BatchBench(store)
    for name in ("one", "a name that is too long", "Häuser"):
        [task] = await bench.open(name, lines=1)
        await bench.end(task)
        await bench.control.close(name)
        await sheets.keep(task)
    assert await sheets.find(await sheets.send()) is not None
    assert sheets.shown == [["one · 2", "a name that is to… · 2", "line 2"]]


async def test_of_more_rows_than_a_sheet_holds_some_are_shown_at_even_distances(store: Store, sheets: Sheets) -> None:
    bench = BatchBench(store)
    tasks = await bench.open(lines=100)
    tasks += await bench.add("rows", *range(102, 102 + 100))
    async with store.write() as tx:
        ended = [replace(it, state=TaskState.COMPLETED, due_at=None, settled_at=NOW) for it in tasks]
        await tx.tasks.update(list(zip(tasks, ended, strict=True)))
    await bench.control.close("rows")
    await sheets.keep(*tasks[:150])
    await sheets.find(await sheets.send())
    [shown] = sheets.shown
    lines = [int(caption.removeprefix("line ")) for caption in shown]
    gaps = {after - before for before, after in itertools.pairwise(lines)}
    assert len(lines) == SHEET_PICTURES_MOST
    assert gaps <= {3, 4, 5, 6}
    assert (lines[0] < 6, lines[-1] > 145) == (True, True)


@pytest.mark.parametrize(("count", "most"), [(0, 5), (1, 5), (5, 5), (6, 5), (11, 5), (12, 1), (100, BATCH_LOOKED)])
async def test_so_many_rows_are_found_from_end_to_end(store: Store, count: int, most: int) -> None:
    bench = BatchBench(store)
    tasks = await bench.open(lines=count)
    async with store.write() as tx:
        ended = [replace(it, state=TaskState.COMPLETED, due_at=None, settled_at=NOW) for it in tasks]
        await tx.tasks.update(list(zip(tasks, ended, strict=True)))
    found = await store.batch_rows.completed_rows((await bench.lane()).id, most)
    assert len(found) == min(count, most)
    assert set(found) <= {(it.turn, it.ref) for it in tasks}
    assert found == sorted(found)
    if count >= most > 0:
        assert found[-1][0] == 1 + count


async def test_a_batch_without_pictures_has_none(store: Store, sheets: Sheets) -> None:
    bench = BatchBench(store)
    one, two = await bench.open(lines=2)
    await bench.end(one, Ending.FAILED)
    await bench.end(two)
    await bench.control.close("rows")
    assert await sheets.find(await sheets.send()) is None
    assert sheets.shown == []


async def test_the_message_waits_until_the_last_of_its_rows_pictures_was_tried(store: Store, tmp_path: Path) -> None:
    """A failed try is one too, and a single task's pictures are nothing to it."""
    bench = BatchBench(store, SHOWS)
    one, two = await bench.open(lines=2)
    async with serving(pictures=1) as site, archiving(store, tmp_path) as rig:
        for task, link in ((one, site.link("/0.png")), (two, "http://127.0.0.1:1/gone.png")):
            ended = replace(task, state=TaskState.COMPLETED, due_at=None, settled_at=rig.clock.now)
            async with store.write() as tx:
                due = replace(ended, archive=ArchiveState.DUE, archive_at=rig.clock.now)
                await tx.tasks.update([(task, due)])
                await tx.tasks.add_images([(task.ref, Image(0, link))])
        await bench.control.close("rows")
        [notice] = await notices(store, event=NoticeEvent.BATCH)
        assert notice.due_at == bench.clock() + PICTURE_WAIT
        assert await rig.round()
        assert await notices(store, event=NoticeEvent.BATCH) == [notice]
        assert await rig.round()
        [released] = await notices(store, event=NoticeEvent.BATCH)
        assert released.due_at == rig.clock.now


async def test_a_message_about_rows_whose_pictures_are_here_goes_at_once(store: Store) -> None:
    bench = BatchBench(store, SHOWS)
    [task] = await bench.open(lines=1)
    await bench.end(task)
    await bench.control.close("rows")
    [notice] = await bench.told()
    assert notice.due_at == bench.clock()
