"""A disk that is nearly full, or takes nothing, costs the archive no try and holds no ping up; and what is stored."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.archive_loop import DONE, Archiving, Site, archiving, links, owed, serving
from kit.fakes import NOW, a_task, attention, put
from receiver.core.errors import Unwritable
from receiver.core.types import ArchiveState, ImageCopy, TaskState
from receiver.pictures.disk_room import FULL_GAP_MS, disk_reserve
from receiver.pictures.files import ArchiveFiles
from receiver.store import Store

pytestmark = pytest.mark.anyio

GIB = 1 << 30


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving(pictures=4) as serves:
        yield serves


@pytest.fixture
async def rig(store: Store, tmp_path: Path) -> AsyncIterator[Archiving]:
    async with archiving(store, tmp_path) as opened:
        yield opened


# The disk


class Disk(ArchiveFiles):
    """An archive on a disk of 100 GiB with as much free as is told."""

    free = 0

    def disk_space(self) -> tuple[int, int]:
        return self.free, 100 * GIB


@pytest.mark.parametrize(
    ("total", "least"), [(GIB, GIB // 4), (4 * GIB, GIB // 2), (20 * GIB, GIB), (500 * GIB, 5 * GIB)]
)
def test_the_floor_fits_the_disk(total: int, least: int) -> None:
    assert disk_reserve(total) == least


async def test_a_disk_that_is_nearly_full_stops_the_archive_and_nothing_else(
    store: Store, tmp_path: Path, site: Site
) -> None:
    """Nothing is asked for, no try is used up, no notice waits; a person is told, once an hour."""
    disk = Disk(tmp_path / "images")
    async with archiving(store, tmp_path, disk) as rig:
        disk.free = 5 * GIB - 1
        refs = [await owed(store, links(site, 1)) for _ in range(201)]
        for _ in range(3):
            assert not await rig.round()
            assert {await rig.state(ref) for ref in refs} == {(ArchiveState.DUE, FULL_GAP_MS, 0)}
            assert {await rig.waits(ref) <= 0 for ref in refs} == {True}
            rig.clock.forward(FULL_GAP_MS)
        assert site.asked == []
        assert await attention(store) == ["archive-disk"]
        disk.free = 5 * GIB
        assert await rig.round()
        assert await rig.state(refs[0]) == DONE


async def test_a_disk_that_takes_nothing_uses_up_no_round(
    rig: Archiving, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it says that there is room. What was kept before stays kept."""
    ref = await owed(rig.store, links(site, 2))

    async def full(*args: object) -> None:
        raise Unwritable("cannot write to the archive: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(ArchiveFiles, "save_file", full)
        assert await rig.round()
    assert (await rig.state(ref), await rig.waits(ref)) == ((ArchiveState.DUE, FULL_GAP_MS, 0), 0)
    assert await attention(rig.store) == ["archive-disk"]
    rig.clock.forward(FULL_GAP_MS)
    assert await rig.round()
    assert await rig.state(ref) == DONE
    assert site.asked == ["/0.png", "/1.png"]


# What is stored


async def test_copies_come_back_as_they_were_put_each_in_its_place(store: Store) -> None:
    """And a later one takes the place of what was known of that image."""
    full = ImageCopy(1, "1.png", b"digest", 9, "image/png", 3, 4, "1.small.jpg", "why", "1.tiny.jpg")
    assert all(value is not None for value in (getattr(full, name) for name in ImageCopy.__struct_fields__))
    async with store.write() as tx:
        await tx.copies.upsert([("a", full), ("b", ImageCopy(0, error="404")), ("a", ImageCopy(0, error="503"))])
    assert await store.copies.by_refs(["a", "b", "c"]) == {
        "a": (ImageCopy(0, error="503"), full),
        "b": (ImageCopy(0, error="404"),),
    }
    async with store.write() as tx:
        await tx.copies.upsert([("a", replace(full, image_no=0)), ("a", ImageCopy(1, error="410"))])
    assert await store.copies.by_refs(["a"]) == {"a": (replace(full, image_no=0), ImageCopy(1, error="410"))}


async def test_what_is_to_be_archived_comes_in_its_order_and_not_before(store: Store) -> None:
    tasks = [
        a_task(TaskState.COMPLETED, task_id=None, archive=ArchiveState.DUE, archive_at=NOW + at, archive_tries=tries)
        for at, tries in ((30, 0), (10, 1), (20, 0), (90, 0))
    ]
    await put(store, *tasks, a_task(TaskState.COMPLETED))
    third, second, first, last = (task.ref for task in (tasks[0], tasks[2], tasks[1], tasks[3]))
    assert [it.ref for it in await store.tasks.due_for_archive(NOW + 30, limit=9)] == [first, second, third]
    assert [it.ref for it in await store.tasks.due_for_archive(NOW + 30, first_only=True, limit=9)] == [second, third]
    assert [it.ref for it in await store.tasks.due_for_archive(NOW + 30)] == [first]
    row = a_task(TaskState.COMPLETED, task_id="row", archive=ArchiveState.DUE, archive_at=NOW, lane=4, row_key=b"1")
    await put(store, row)
    assert [it.ref for it in await store.tasks.due_for_archive(NOW + 30)] == [row.ref]
    assert [it.ref for it in await store.tasks.due_for_archive(NOW + 30, single_only=True)] == [first], "not its rows"
    assert await store.tasks.next_archive(NOW + 30) == NOW + 90
    async with store.write() as tx:
        await tx.tasks.pull_in(NOW, archive_ms=80)
    assert [it.ref for it in await store.tasks.due_for_archive(NOW)] == [last]
