"""Two processes that archive pictures over one database and one folder: here two loops over one store."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.archive_loop import DONE, PICTURE_WAIT, Archiving, Site, answer, archiving, links, owed, png, serving
from kit.fakes import NOW, a_notice, attention, got, notices
from receiver.core.errors import Unwritable
from receiver.core.types import ArchiveState, LanePriority, NoticeEvent, QueueLane
from receiver.pictures.files import ArchiveFiles
from receiver.pictures.round_leases import LEASE_MS
from receiver.store import Store
from receiver.store.tables.batch_rows import BatchRowTable

pytestmark = pytest.mark.anyio


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving(4) as served:
        yield served


@pytest.fixture
async def pair(store: Store, tmp_path: Path) -> AsyncIterator[tuple[Archiving, Archiving]]:
    """Two loops by one clock."""
    folder = tmp_path / "images"
    async with (
        archiving(store, tmp_path, ArchiveFiles(folder, shared=True)) as one,
        archiving(store, tmp_path, ArchiveFiles(folder, shared=True)) as other,
    ):
        one.clock.now = other.clock.now = NOW
        yield one, other


def forward(pair: tuple[Archiving, Archiving], ms: int) -> None:
    for it in pair:
        it.clock.forward(ms)


async def test_each_task_is_fetched_by_one_of_them(store: Store, site: Site, pair: tuple[Archiving, Archiving]) -> None:
    refs = [await owed(store, links(site)) for _ in range(6)]

    async def work(archive: Archiving) -> int:
        rounds = 0
        while await archive.round():
            rounds += 1
        return rounds

    async with asyncio.timeout(120):
        counts = await asyncio.gather(*(work(it) for it in pair for _ in range(2)))
        while await pair[0].round():  # what the last look did not see because another had just locked it
            counts.append(1)
    assert sum(counts) == 6
    assert len(site.asked) == 24
    for ref in refs:
        assert await pair[0].state(ref) == DONE
        assert await pair[0].waits(ref) == 0


async def test_the_last_pictures_of_a_batch_release_what_waits_for_them(
    store: Store, site: Site, pair: tuple[Archiving, Archiving], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though each of the last two rounds would end while the other one does, if they did not take turns."""
    looks, both = list[int](), asyncio.Event()
    really = BatchRowTable.awaits_pictures

    async def together(table: BatchRowTable, lane: int) -> bool:
        found = await really(table, lane)
        looks.append(lane)
        if len(looks) == 2:
            both.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(both.wait(), 0.5)
        return found

    monkeypatch.setattr(BatchRowTable, "awaits_pictures", together)
    async with store.write() as tx:
        await tx.lanes.insert(QueueLane(id=4, name="rows", batch=True, priority=LanePriority.LOW, created_at=NOW))
        ended = a_notice(event=NoticeEvent.BATCH, due_at=NOW + PICTURE_WAIT)
        await tx.notices.insert([replace(ended, ref=None, report=replace(ended.report, batch="rows"))])
    batch = (await store.lanes.by_name(["rows"]))["rows"]
    for place in range(2):
        await owed(store, links(site), lane=batch.id, row_key=b"%d" % place)
    rounds = [(it, await it.loop.claim()) for it in pair]
    async with asyncio.timeout(60):
        await asyncio.gather(*(it.loop.carry_out(task) for it, task in rounds if task is not None))
    [notice] = await notices(store, event=NoticeEvent.BATCH)
    assert notice.due_at == NOW


async def test_a_round_that_lost_its_lease_leaves_the_end_of_another_as_it_is(
    store: Store, site: Site, pair: tuple[Archiving, Archiving], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = pair
    ref = await owed(store, links(site))
    late = await one.loop.claim()
    assert late is not None
    assert await other.loop.claim() is None
    forward(pair, LEASE_MS)
    assert await other.round()
    ended, asked = await got(store, ref), len(site.asked)
    with caplog.at_level(logging.INFO):
        await one.loop.carry_out(late)
    assert await got(store, ref) == ended
    assert (ended.archive, len(site.asked)) == (ArchiveState.DONE, asked)
    assert "this round ended early" in caplog.text


async def test_nor_does_it_end_or_extend_the_lease_of_one_that_is_under_way(
    store: Store, site: Site, pair: tuple[Archiving, Archiving]
) -> None:
    """It had begun to fetch when it was frozen."""
    one, other = pair
    ref = await owed(store, links(site))
    late = await one.loop.claim()
    assert late is not None
    taken = []

    async def frozen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        forward(pair, LEASE_MS)
        taken.append(await other.loop.claim())
        writer.write(answer(png(0)))
        await writer.drain()

    site.at["/0.png"] = frozen
    await one.loop.carry_out(late)
    [task] = taken
    assert task is not None
    assert await got(store, ref) == task
    assert (await one.copies(ref), await one.state(ref)) == ([], (ArchiveState.DUE, LEASE_MS, 0))
    site.at["/0.png"] = answer(png(0))
    await other.loop.carry_out(task)
    assert await one.state(ref) == DONE
    assert one.held(ref) == other.held(ref)


async def test_each_picture_extends_the_lease_for_the_next(
    store: Store, site: Site, pair: tuple[Archiving, Archiving]
) -> None:
    """The fence holds for what it has written itself: four slow pictures take longer than one lease."""
    one, other = pair
    ref = await owed(store, links(site))
    site.before = lambda path: forward(pair, LEASE_MS - 1)
    task = await one.loop.claim()
    assert task is not None
    await one.loop.carry_out(task)
    assert await one.state(ref) == DONE
    assert not await other.round()


async def test_a_full_disk_that_is_noticed_too_late_postpones_nothing(
    store: Store, site: Site, pair: tuple[Archiving, Archiving], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    ref = await owed(store, links(site))
    late = await one.loop.claim()
    assert late is not None
    forward(pair, LEASE_MS)
    taken = await other.loop.claim()
    assert taken is not None

    def refuses() -> tuple[int, int]:
        raise Unwritable("cannot write to the archive: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(one.files, "disk_space", refuses)
        await one.loop.carry_out(late)
    assert await got(store, ref) == taken
    assert await attention(store) == []
    await other.loop.carry_out(taken)
    assert await other.state(ref) == DONE


async def test_a_person_who_has_them_fetched_again_ends_the_round_of_another_process(
    store: Store, site: Site, pair: tuple[Archiving, Archiving]
) -> None:
    """Which cannot be seen from here: it is fetched at once, and what the other one brings is not recorded."""
    one, other = pair
    ref = await owed(store, links(site))
    late = await one.loop.claim()
    assert late is not None
    again = await other.loop.fetch_again(ref)
    assert (again.archive, again.archive_at) == (ArchiveState.DUE, other.clock.now)
    await one.loop.carry_out(late)
    assert await other.state(ref) == (ArchiveState.DUE, 0, 0)
    assert await other.round()
    assert await other.state(ref) == DONE
