"""The changes of tasks for all open pages: read once, folded, bounded, and at an end when the service stops."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from kit.fakes import NOW, a_task, got, put
from kit.live_service import PATIENCE_S
from receiver.core.errors import StoreUnavailable
from receiver.core.types import LanePriority, QueueLane, Task, TaskState
from receiver.store import Store
from receiver.store.signals import ChangeListeners
from receiver.web.pages.gallery import live_feed
from receiver.web.pages.gallery.live_feed import MISSED, READERS_MOST, LiveEvent, LiveFeed, LiveReader

pytestmark = pytest.mark.anyio


class Folds:
    """The span in which changes are folded: it ends when the test says so."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.over = asyncio.Event()

    async def wait(self, stopping: "asyncio.Task[bool]") -> None:
        self.begun.set()
        over = asyncio.create_task(self.over.wait())
        await asyncio.wait({over, stopping}, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()


@pytest.fixture
def folds(monkeypatch: pytest.MonkeyPatch) -> Folds:
    folds = Folds()
    monkeypatch.setattr(live_feed, "_wait_for_more", folds.wait)
    return folds


@pytest.fixture
def reads(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The refs that each query for the states of tasks asks for."""
    asked, states = [], store.tasks.states

    async def counted(refs: Sequence[str]) -> dict[str, tuple[str, int]]:
        asked.append(refs)
        return await states(refs)

    monkeypatch.setattr(store.tasks, "states", counted)
    return asked


def a_new(**more: Any) -> Task:
    return a_task(TaskState.QUEUED, **more)


def events(block: bytes) -> list[LiveEvent]:
    """What a block of the stream says of tasks."""
    lines = [it.removeprefix(b"event: task\ndata: ") for it in block.split(b"\n\n") if it.startswith(b"event: task")]
    return [msgspec.json.decode(it, type=LiveEvent) for it in lines]


def joined(feed: LiveFeed) -> LiveReader:
    reader = feed.join()
    assert reader is not None
    return reader


async def read(reader: LiveReader) -> list[LiveEvent]:
    block = await reader.take(PATIENCE_S)
    assert block, "nothing came"
    return events(block)


async def ended(reader: LiveReader) -> bytes:
    """What the reader was still sent, once it is at its end."""
    left = b""
    while not reader.ended:
        left += await reader.take(PATIENCE_S)
    return left


async def change(store: Store, task: Task, **more: object) -> None:
    async with store.write() as tx:
        now = (await tx.tasks.get([task.ref]))[task.ref]
        await tx.tasks.update([(now, replace(now, **more))])


async def test_a_change_reaches_every_reader_and_is_read_and_encoded_once(
    store: Store, reads: list[Sequence[str]]
) -> None:
    feed = LiveFeed(store, asyncio.Event())
    readers = [joined(feed) for _ in range(READERS_MOST)]
    task = a_new()
    await put(store, task)
    blocks = [await it.take(PATIENCE_S) for it in readers]
    assert set(blocks) == {b'event: task\ndata: {"ref":"%s","state":"queued"}\n\n' % task.ref.encode()}
    assert reads == [[task.ref]]
    for reader in readers:
        feed.leave(reader)


async def test_what_changes_within_a_fold_is_one_query_and_each_task_is_named_once(
    store: Store, folds: Folds, reads: list[Sequence[str]]
) -> None:
    feed = LiveFeed(store, asyncio.Event())
    reader = joined(feed)
    first, second = a_new(), a_new()
    await put(store, first)
    await folds.begun.wait()
    await put(store, second)
    await change(store, first, state=TaskState.CANCELLED, settled_at=NOW, due_at=None)
    folds.over.set()
    assert await read(reader) == [LiveEvent(first.ref, "cancelled"), LiveEvent(second.ref, "queued")]
    assert reads == [[first.ref, second.ref]]
    feed.leave(reader)


async def test_a_reader_that_takes_nothing_keeps_nobody_waiting_and_is_bounded(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "FOLD_S", 0)
    monkeypatch.setattr(live_feed, "WAITING_MOST", 3)
    feed = LiveFeed(store, asyncio.Event())
    slow, quick = joined(feed), joined(feed)
    tasks = [a_new() for _ in range(5)]
    for task in tasks[:3]:
        await put(store, task)
        assert await read(quick) == [LiveEvent(task.ref, "queued")]
    await change(store, tasks[0], state=TaskState.CANCELLED, settled_at=NOW, due_at=None)
    assert await read(quick) == [LiveEvent(tasks[0].ref, "cancelled")]
    folded = [LiveEvent(tasks[0].ref, "cancelled"), *(LiveEvent(it.ref, "queued") for it in tasks[1:3])]
    assert await read(slow) == folded  # of each task only the newest
    for task in tasks:
        await change(store, task, tries=7) if task in tasks[:3] else await put(store, task)
        await read(quick)
    block = await slow.take(PATIENCE_S)
    assert block.startswith(MISSED)
    assert len(events(block)) <= 3
    for reader in (slow, quick):
        feed.leave(reader)


async def test_a_task_of_a_batch_names_it_and_the_name_is_looked_up_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with store.write() as tx:
        await tx.lanes.insert(
            QueueLane(id=0, name="posters.csv", priority=LanePriority.NORMAL, batch=True, created_at=NOW)
        )
    lane = (await store.lanes.by_name(["posters.csv"]))["posters.csv"].id
    looked, find = [], store.lanes.get

    async def counted(ids: Sequence[int]) -> dict[int, QueueLane]:
        looked.append(list(ids))
        return await find(ids)

    monkeypatch.setattr(store.lanes, "get", counted)
    feed = LiveFeed(store, asyncio.Event())
    reader = joined(feed)
    for line in (1, 2):
        task = a_new(lane=lane, turn=line)
        await put(store, task)
        assert await read(reader) == [LiveEvent(task.ref, "queued", "posters.csv")]
    assert looked == [[lane]]
    feed.leave(reader)


async def test_readers_are_bounded_and_one_that_leaves_gives_its_place_back(store: Store) -> None:
    feed = LiveFeed(store, asyncio.Event())
    readers = [joined(feed) for _ in range(READERS_MOST)]
    assert feed.join() is None
    feed.leave(readers.pop())
    readers.append(joined(feed))
    assert feed.join() is None
    for reader in readers:
        feed.leave(reader)


async def test_nothing_listens_while_nobody_reads(store: Store, reads: list[Sequence[str]]) -> None:
    feed = LiveFeed(store, asyncio.Event())
    feed.leave(joined(feed))
    await put(store, a_new())
    reader = joined(feed)  # at once after the other has left: it must not be ended with it
    task = a_new()
    await put(store, task)
    assert [it.ref for it in await read(reader)] == [task.ref]
    assert reads == [[task.ref]]
    assert not reader.ended
    feed.leave(reader)


async def test_readers_end_when_the_service_stops(store: Store) -> None:
    stop = asyncio.Event()
    feed = LiveFeed(store, stop)
    reader = joined(feed)
    stop.set()
    assert await ended(reader) == b""
    assert joined(feed).ended  # who comes later too


async def test_a_stop_does_not_wait_for_the_end_of_a_fold(store: Store, folds: Folds) -> None:
    stop = asyncio.Event()
    feed = LiveFeed(store, stop)
    reader = joined(feed)
    await put(store, a_new())
    await folds.begun.wait()
    stop.set()
    assert await ended(reader) == b""


@pytest.mark.parametrize(
    "error", [StoreUnavailable("the disk is gone"), ValueError("a row of another version")], ids=["store", "other"]
)
async def test_a_store_that_cannot_be_read_ends_the_readers_and_the_next_ones_are_served(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    feed = LiveFeed(store, asyncio.Event())
    reader = joined(feed)
    with monkeypatch.context() as broken:

        async def fail(refs: Sequence[str]) -> dict[str, tuple[str, int]]:
            raise error

        broken.setattr(store.tasks, "states", fail)
        await put(store, a_new())
        assert await ended(reader) == b""
    feed.leave(reader)
    again, task = joined(feed), a_new()
    await put(store, task)
    assert [it.ref for it in await read(again)] == [task.ref]
    assert (await got(store, task.ref)).ref == task.ref
    feed.leave(again)


async def test_more_changes_than_a_listener_holds_are_said_to_be_missed(
    store: Store, folds: Folds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChangeListeners, "REFS_MOST", 2)
    feed = LiveFeed(store, asyncio.Event())
    reader = joined(feed)
    await put(store, a_new())
    await folds.begun.wait()
    await put(store, *(a_new() for _ in range(4)))
    folds.over.set()
    assert (await reader.take(PATIENCE_S)).startswith(MISSED)
    feed.leave(reader)
