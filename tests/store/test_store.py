"""What every backend of the store promises: rows come back as they were put, transactions are whole, turns are fair.

The fixture `open_it` is all that a backend must bring to be put under these tests; what is SQLite's own is in
`test_store_sqlite`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import pytest
from anyio import wait_all_tasks_blocked
from msgspec.structs import fields, replace

from kit.fakes import (
    DAY,
    HOUR,
    MODEL,
    NOW,
    PICTURES,
    SECOND,
    a_notice,
    a_ref,
    a_task,
    got,
    notices,
    owe,
    put,
    says,
)
from kit.full_task import FULL
from receiver.core.errors import StaleUpdate, StoreUnavailable
from receiver.core.types import (
    ArchiveState,
    Callback,
    Ending,
    HoldReason,
    Image,
    NoticeEvent,
    NoticeState,
    OutcomeSource,
    Report,
    Task,
    TaskError,
    TaskOrigin,
    TaskState,
    Verdict,
)
from receiver.providers.registry import DEFAULT_PROVIDER
from receiver.store import Lane, Store, Topic, open_store

pytestmark = pytest.mark.anyio

Open = Callable[[], Awaitable[Store]]


@pytest.fixture(params=["sqlite"])
def open_it(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the backend's database, always the same one within a test."""
    backends: dict[str, Open] = {"sqlite": lambda: open_store(tmp_path / "r.db")}
    return backends[request.param]


@pytest.fixture
async def store(open_it: Open) -> AsyncIterator[Store]:
    opened = await open_it()
    yield opened
    await opened.close()


# -- tasks --


async def test_every_column_of_a_task_comes_back_as_it_was_put(store: Store) -> None:
    bare = Task(ref=a_ref(), created_at=NOW, provider=DEFAULT_PROVIDER)
    assert all(getattr(FULL, it.name) != it.default for it in fields(Task) if it.name != "provider"), "a gap in FULL"
    await put(store, FULL, bare)
    assert await store.tasks.get([FULL.ref, bare.ref, "unknown"]) == {FULL.ref: FULL, bare.ref: bare}


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("state", TaskState),
        ("origin", TaskOrigin),
        ("held_by", [None, *HoldReason]),
        ("settled_by", [None, *OutcomeSource]),
        ("archive", [None, *ArchiveState]),
    ],
)
async def test_every_word_of_every_enum_comes_back(store: Store, column: str, values: list[object]) -> None:
    tasks = [
        replace(Task(ref=a_ref(), created_at=NOW, provider=DEFAULT_PROVIDER), **{column: value}) for value in values
    ]
    await put(store, *tasks)
    assert list((await store.tasks.get([it.ref for it in tasks])).values()) == tasks


async def test_an_update_writes_every_changing_column(store: Store) -> None:
    bare = Task(ref=a_ref(), created_at=NOW, provider=DEFAULT_PROVIDER)
    await put(store, bare)
    fixed = ("ref", "created_at", "provider", "origin", "label", "targets", "poll_only", "prompt", "params")
    changed = replace(FULL, **{name: getattr(bare, name) for name in fixed})
    async with store.write() as tx:
        await tx.tasks.update([(bare, changed)])
    assert await got(store, bare.ref) == changed


async def test_an_update_of_a_task_that_moved_on_is_stale_and_undoes_the_batch(store: Store) -> None:
    first, second = a_task(), a_task(task_id="job-2")
    await put(store, first, second)
    moved = replace(second, state=TaskState.LOST)
    async with store.write() as tx:
        await tx.tasks.update([(second, moved)])

    async def too_late() -> None:
        async with store.write() as tx:
            await tx.notices.insert([a_notice()])
            await tx.tasks.update([(it, replace(it, progress=0.9)) for it in (first, second)])

    with pytest.raises(StaleUpdate):
        await too_late()
    assert (await got(store, first.ref), await got(store, second.ref)) == (first, moved)
    assert await notices(store) == []


async def test_an_id_of_the_provider_belongs_to_one_task(store: Store) -> None:
    task = a_task()
    await put(store, task)
    assert await store.tasks.by_task_id("vtrix", ["job-1", "job-2"]) == {"job-1": task.ref}
    assert await store.tasks.by_task_id("another", ["job-1"]) == {}


async def test_pages_are_newest_first_and_follow_the_cursor(store: Store) -> None:
    tasks = [a_task(task_id=str(n), label="even" if n % 2 == 0 else None) for n in range(7)]
    await put(store, *tasks)
    newest = sorted(tasks, key=lambda it: it.ref, reverse=True)
    first = await store.tasks.page(limit=4)
    assert first == newest[:4]
    assert await store.tasks.page(limit=4, before=first[-1].ref) == newest[4:]
    assert await store.tasks.page(label="even") == [it for it in newest if it.label]
    assert await store.tasks.page(state="lost") == await store.tasks.page(model="another") == []
    assert await store.tasks.page(state="waiting", model=MODEL, label="even", limit=1) == [newest[0]]


async def test_images_come_back_in_order_and_a_place_is_taken_once(store: Store) -> None:
    ref, other = a_ref(), a_ref()
    sound = Image(2, "https://pics.example/2.mp3", "audio", "up-1")
    async with store.write() as tx:
        await tx.tasks.add_images([(ref, sound), *((ref, it) for it in reversed(PICTURES)), (other, PICTURES[0])])
        await tx.tasks.add_images([(ref, Image(0, "https://evil.example/"))])
    assert await store.tasks.images_by_ref([ref, other, "none"]) == {ref: (*PICTURES, sound), other: PICTURES[:1]}


async def test_what_is_due_comes_in_its_order_and_not_before(store: Store) -> None:
    late, early = a_task(TaskState.QUEUED, due_at=NOW + 5), a_task(TaskState.QUEUED, due_at=NOW)
    await put(store, late, early, a_task(poll_at=NOW + 1), a_task(task_id="job-2", poll_at=None, place_until=NOW + 9))
    assert await store.tasks.next_queued(NOW - 1) is None
    assert await store.tasks.next_queued(NOW + 9) == early
    assert [await store.tasks.next_due(at) for at in (NOW - 1, NOW, NOW + 5)] == [NOW, NOW + 5, None]
    assert [await store.tasks.next_poll(at) for at in (NOW, NOW + 1)] == [NOW + 1, None]
    assert [await store.tasks.places_taken(at) for at in (NOW + 8, NOW + 9)] == [2, 1]


async def test_durations_are_the_models_newest(store: Store) -> None:
    for n in range(5):
        settled = {"settled_by": OutcomeSource.CALLBACK, "submitted_at": NOW, "settled_at": NOW + n * SECOND}
        await put(store, a_task(TaskState.COMPLETED, task_id=str(n), **settled))
    assert await store.tasks.recent_durations(MODEL, 3) == [4000, 3000, 2000]
    assert await store.tasks.recent_durations("another", 3) == []


async def test_an_idempotency_key_is_kept_until_it_is_forgotten(store: Store) -> None:
    async with store.write() as tx:
        await tx.tasks.remember_keys([("key", b"\x00digest", "ref")], NOW)
        assert await tx.tasks.find_keys(["key"]) == {"key": (b"\x00digest", "ref")}
    async with store.write() as tx:
        over = NOW + 30 * DAY
        assert [await tx.tasks.forget_keys(over), await tx.tasks.forget_keys(over + 1)] == [0, 1]
    assert await store.tasks.find_keys(["key"]) == {}


# -- callbacks, notices --


async def test_every_verdict_of_a_callback_comes_back_with_its_bytes(store: Store) -> None:
    rows = [
        Callback(
            ref="r",
            received_at=NOW + n,
            body=bytes([n, 0, 255]),
            digest=bytes([n]),
            verdict=verdict,
            replay_of=n or None,
        )
        for n, verdict in enumerate(Verdict)
    ]
    async with store.write() as tx:
        await tx.callbacks.insert([(it, True) for it in rows])
    page = await store.callbacks.page(ref="r", limit=100)
    kept = await store.callbacks.get([it.id for it in page])
    assert [(it.verdict, it.received_at, it.body, it.replay_of, it.size) for it in kept] == [
        (it.verdict, it.received_at, it.body, it.replay_of, 3) for it in rows
    ]
    assert [it.body for it in page] == [None] * len(rows), "a listing reads no bodies"
    assert [it.id for it in page] == sorted((it.id for it in page), reverse=True)
    assert [it.verdict for it in await store.callbacks.page(verdict="hint")] == [Verdict.HINT]
    assert await store.callbacks.page(before=page[1].id, limit=1) == page[2:3]


async def test_every_column_of_a_notice_comes_back(store: Store) -> None:
    report = Report(
        event=NoticeEvent.FAILED, ref="r", error=TaskError(None, "no", b"\xff"), cost=Decimal("0.10"), duration_ms=5
    )
    put_in = [
        a_notice(event=event, state=state, ref="r", report=report, attempts=2, error="e")
        for event, state in zip(NoticeEvent, NoticeState, strict=False)
    ]
    await owe(store, *put_in, a_notice("mail"))
    assert [replace(it, id=None) for it in (await store.notices.by_refs(["r"]))["r"]] == put_in
    assert [it.target for it in await store.notices.page(target="mail")] == ["mail"]
    assert len(await store.notices.page(state="due")) == 2
    newest = await store.notices.page(limit=2)
    assert await store.notices.page(limit=1, before=newest[0].id) == newest[1:]


async def test_attention_is_told_once_an_hour_and_cause(store: Store) -> None:
    async with store.write() as tx:
        told = [
            await tx.notices.raise_attention(cause, "text", at, HOUR)
            for cause, at in [("a", NOW), ("a", NOW + HOUR - 1), ("b", NOW), ("a", NOW + HOUR), ("a", NOW - 9 * HOUR)]
        ]
    assert told == [True, False, True, True, True], "and a clock that jumped back silences nobody"


# -- transactions --


async def broken_off(store: Store) -> None:
    """A transaction that changes things and then raises."""
    async with store.write() as tx:
        await tx.tasks.insert([FULL])
        await tx.notices.insert([a_notice()])
        raise ZeroDivisionError


async def test_an_exception_undoes_everything(store: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        await broken_off(store)
    assert (await store.tasks.get([FULL.ref]), await notices(store)) == ({}, [])
    await put(store, FULL)


@pytest.mark.parametrize("steps", range(8))
async def test_a_cancelled_writer_leaves_nothing_behind_and_gives_its_turn_on(store: Store, steps: int) -> None:
    """Cancelled wherever it happens to be: waiting for its turn, its BEGIN, a statement, its commit."""

    async def writer() -> None:
        async with store.write() as tx:
            await tx.tasks.insert([a_task(task_id=None)])
            await tx.tasks.insert([a_task(task_id=None)])

    writing = asyncio.create_task(writer())
    for _ in range(steps):
        await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await put(store, FULL)
    assert len(await store.tasks.page()) in (1, 3), "all of it or nothing"


async def test_a_writer_cancelled_while_it_waits_for_its_turn_loses_nobody_elses(store: Store) -> None:
    async with store.write():
        waits = [asyncio.create_task(put(store, a_task(task_id=None))) for _ in range(3)]
        await wait_all_tasks_blocked()
        waits[0].cancel()
    waits[1].cancel()  # its turn may have been handed to it already
    await asyncio.gather(*waits, return_exceptions=True)
    assert not waits[2].cancelled()
    assert len(await store.tasks.page()) >= 1


async def test_what_a_transaction_changed_is_told_after_its_commit(store: Store) -> None:
    listener = store.open_listener()
    seen = {topic: store.wake_count(topic) for topic in Topic}
    queued, waiting = a_task(TaskState.QUEUED), a_task()
    async with store.write() as tx:
        await tx.tasks.insert([queued, waiting])
        assert await listener.take_refs(0) == []
    assert set(await listener.take_refs(0)) == {queued.ref, waiting.ref}
    woken = {topic for topic in Topic if store.wake_count(topic) != seen[topic]}
    assert woken == {Topic.SUBMIT, Topic.SWEEP}
    await store.wait_for_wake(Topic.SUBMIT, seen[Topic.SUBMIT], 60.0)  # returns at once: the count moved on
    listener.close()


async def test_a_transaction_that_came_to_nothing_tells_nobody(store: Store) -> None:
    listener = store.open_listener()
    seen = store.wake_count(Topic.NOTIFY)
    with pytest.raises(ZeroDivisionError):
        await broken_off(store)
    assert (store.wake_count(Topic.NOTIFY), await listener.take_refs(0)) == (seen, [])


async def test_ingest_goes_first_and_after_each_of_its_turns_comes_one_other(store: Store) -> None:
    order: list[str] = []

    async def writer(lane: Lane, name: str) -> None:
        async with store.write(lane):
            order.append(name)

    async with store.write(Lane.INGEST):
        waits = [asyncio.create_task(writer(Lane.OTHER, f"other {n}")) for n in range(2)]
        waits += [asyncio.create_task(writer(Lane.INGEST, f"ingest {n}")) for n in range(4)]
        await wait_all_tasks_blocked()
    await asyncio.gather(*waits)
    assert order == ["other 0", "ingest 0", "other 1", "ingest 1", "ingest 2", "ingest 3"]


async def test_whoever_writes_to_a_closed_store_is_told(open_it: Open) -> None:
    store = await open_it()
    await store.close()
    with pytest.raises(StoreUnavailable, match="closing"):
        await put(store, FULL)
    with pytest.raises(StoreUnavailable, match="closing"):
        await store.tasks.page()


async def test_everything_is_still_there_after_a_start_and_the_leases_are_void(open_it: Open) -> None:
    store = await open_it()
    task = a_task(TaskState.SUBMITTING)
    await put(store, task)
    await store.close()
    store = await open_it()
    assert await got(store, task.ref) == replace(task, lease_until=0)
    assert await store.tasks.overdue_answers(NOW) == [replace(task, lease_until=0)]
    await store.close()


async def test_a_probe_says_whether_a_commit_goes_through(store: Store) -> None:
    assert (await store.probe(), store.fault) == (None, None)


async def test_the_books_balance_with_an_outcome_of_every_ending(store: Store) -> None:
    for ending in Ending:
        task = a_task(task_id=f"job-{ending}", hint=says(ending))
        await put(store, task)
        assert (await got(store, task.ref)).hint == says(ending)
