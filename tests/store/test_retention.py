"""Retention: what is due goes with all that is its own, what is open or young stays, and nothing is left over."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kit.fakes import DAY, HOUR, MINUTE, NOW, POLICY, Clock, a_notice, a_ref, a_task, body, owe, parse, put, says
from kit.retention import OLD, YOUNG, a_past, folder_of, left, passed, pruning, rows, sent
from receiver.core.errors import StoreUnavailable, Unwritable
from receiver.core.types import ArchiveState, Callback, Ending, ImageCopy, NoticeState, TaskOrigin, TaskState
from receiver.pictures.files import SHEET, ArchiveFiles
from receiver.store import AgedRow, Store
from receiver.tasks.ingest import CallbackIngest
from receiver.telemetry.metrics import Metrics
from receiver.upkeep.aged_keys import due_keys
from receiver.upkeep.retention import AGAIN_MS, EVERY_MS, FIRST_MS

pytestmark = pytest.mark.anyio


# What is due


@pytest.mark.parametrize(
    ("made_at", "ended_at", "goes", "on"),
    [
        (OLD, OLD, True, True),
        (YOUNG, YOUNG, False, False),  # to the millisecond: ten days are kept
        (OLD, YOUNG, False, True),  # made long ago, and ended in time
        (OLD, None, False, True),
        (NOW, None, False, False),
        (NOW + 1, NOW + 1, False, True),  # the clock was ahead: it says nothing of those behind it
        (NOW + 1, OLD, True, True),
    ],
)
def test_what_is_older_than_its_days_is_due(made_at: int, ended_at: int | None, goes: bool, on: bool) -> None:
    assert due_keys([AgedRow("key", made_at, ended_at)], 10, NOW) == (["key"] if goes else [], on)


@given(st.lists(st.integers(0, 30 * DAY)), st.integers(1, 30))
def test_of_rows_in_order_just_those_are_due_that_are_older(ages: list[int], days: int) -> None:
    rows = [AgedRow(place, NOW - age, NOW - age) for place, age in enumerate(sorted(ages, reverse=True))]
    old, on = due_keys(rows, days, NOW)
    assert old == [row.key for row in rows if row.made_at < NOW - days * DAY]
    assert on == (len(old) == len(rows))


# Tasks


async def test_an_old_task_goes_with_all_that_is_its_own(store: Store, tmp_path: Path) -> None:
    """Of a younger one nothing goes."""
    young = await a_past(store, tmp_path, YOUNG)
    before = await left(store)
    for state in (TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED, TaskState.LOST):
        await a_past(store, tmp_path, OLD, state)
    await pruning(store, tmp_path, tasks=10).run_full_pass()
    assert await left(store) == before
    assert list(await store.tasks.get([young.ref])) == [young.ref]
    assert [it.name for it in (tmp_path / "images").glob("*/*") if it.parent.name != "parts"] == [young.ref]
    assert len(list(folder_of(tmp_path, young.ref).iterdir())) == 4


async def test_zero_keeps_everything_for_ever(store: Store, tmp_path: Path) -> None:
    await a_past(store, tmp_path, OLD)
    before = await left(store)
    await pruning(store, tmp_path, clock=Clock(NOW + 36_500 * DAY)).run_full_pass()
    assert await left(store) == before
    assert set(before.values()) == {1, 2}


@pytest.mark.parametrize("state", [TaskState.QUEUED, TaskState.SUBMITTING, TaskState.WAITING])
async def test_what_is_awaited_is_never_old(store: Store, tmp_path: Path, state: TaskState) -> None:
    """Nor are its callbacks, which a person may still have to read."""
    task = a_task(state, created_at=OLD - 100 * DAY)
    await put(store, task)
    async with store.write() as tx:
        await tx.callbacks.insert([(Callback(ref=task.ref, received_at=OLD, body=b"{}", digest=b"d"), True)])
    await pruning(store, tmp_path, tasks=1, callbacks=1, polls=1, notices=1, images=1).run_full_pass()
    assert list(await store.tasks.get([task.ref])) == [task.ref]
    assert [it.ref for it in await store.callbacks.page()] == [task.ref]


@pytest.mark.parametrize("why", ["a notice", "a held notice", "pictures", "a poll"])
async def test_a_task_with_something_under_way_waits_for_it(store: Store, tmp_path: Path, why: str) -> None:
    task = await a_past(store, tmp_path, OLD)
    if "notice" in why:
        state = NoticeState.HELD if "held" in why else NoticeState.DUE
        await owe(store, a_notice(ref=task.ref, state=state))
    under_way: dict[str, dict[str, Any]] = {
        "pictures": {"archive": ArchiveState.DUE, "archive_at": NOW},
        "a poll": {"lease_until": NOW + MINUTE},
    }
    async with store.write() as tx:
        await tx.tasks.update([(task, replace(task, **under_way.get(why, {})))])
    before = await left(store)
    await pruning(store, tmp_path, tasks=1, images=1).run_full_pass()
    assert await left(store) == before
    assert len(list(folder_of(tmp_path, task.ref).iterdir())) == 4


async def test_a_minted_url_that_was_never_used_goes_at_last(store: Store, tmp_path: Path) -> None:
    """It ended as lost, without a submission: its age counts from its making."""
    task = replace(a_task(TaskState.LOST, task_id=None, submitted_at=None, created_at=OLD), ref=a_ref(OLD))
    await put(store, task)
    await pruning(store, tmp_path, tasks=10).run_full_pass()
    assert (await left(store))["tasks"] == 0


async def test_a_task_with_more_rows_than_a_turn_takes_goes_in_several(store: Store, tmp_path: Path) -> None:
    task = await a_past(store, tmp_path, OLD)
    async with store.write() as tx:
        for number in range(900):
            await tx.tasks.add_poll(task.ref, OLD + number, "nothing", "503", None)
    pruner = pruning(store, tmp_path, tasks=1)
    await pruner.run_full_pass()
    assert set((await left(store)).values()) == {0}
    assert pruner.removed["tasks"] > 900


async def test_a_callback_for_a_task_that_is_gone_makes_it_anew(store: Store, tmp_path: Path) -> None:
    """So nothing is lost with a lost task whose callback comes after all."""
    task = await a_past(store, tmp_path, OLD, TaskState.LOST)
    await pruning(store, tmp_path, tasks=1).run_full_pass()
    ingest = CallbackIngest(store, parse, POLICY, Clock(), Metrics())
    await ingest.receive_callback(task.ref, body(says(Ending.COMPLETED)), b"{}")
    assert (await store.tasks.get([task.ref]))[task.ref].origin is TaskOrigin.ADOPTED


# The other kinds


async def test_callbacks_polls_and_notices_go_at_their_own_age(store: Store, tmp_path: Path) -> None:
    """The task stays, and so do those who are younger."""
    old, young = await a_past(store, tmp_path, OLD), await a_past(store, tmp_path, YOUNG)
    await pruning(store, tmp_path, callbacks=10).run_full_pass()
    found = await left(store)
    assert (found["callbacks"], found["overflow"], found["polls"], found["notices"]) == (2, 1, 2, 2)
    await pruning(store, tmp_path, polls=10).run_full_pass()
    assert (await left(store))["polls"] == 1
    await pruning(store, tmp_path, notices=10).run_full_pass()
    found = await left(store)
    assert [found[it] for it in ("notices", "sends", "attempts", "redriven")] == [1, 1, 1, 1]
    assert {it.ref for it in await store.callbacks.page()} == {young.ref}
    assert set(await store.tasks.get([old.ref, young.ref])) == {old.ref, young.ref}


async def test_a_body_that_a_later_callback_has_in_common_is_handed_on(store: Store, tmp_path: Path) -> None:
    task = a_task(TaskState.COMPLETED)
    await put(store, task)
    first = Callback(ref=task.ref, received_at=OLD, body=b"the bytes", digest=b"d")
    async with store.write() as tx:
        await tx.callbacks.insert(
            [
                (first, True),
                (first, False),
                (replace(first, received_at=NOW), False),
                (replace(first, received_at=NOW), False),
            ]
        )
    await pruning(store, tmp_path, callbacks=10).run_full_pass()
    assert [(it.id, it.body) for it in await store.callbacks.get([1, 2, 3, 4])] == [
        (3, b"the bytes"),
        (4, b"the bytes"),
    ]


async def test_a_digest_goes_with_its_last_notice(store: Store, tmp_path: Path) -> None:
    """Its sheet too; a notice that is younger keeps it."""
    await owe(store, a_notice(created_at=OLD, due_at=OLD), a_notice(created_at=YOUNG, due_at=OLD))
    send = await sent(store, NOW, digest=True)
    await ArchiveFiles(tmp_path / "images").save_file(f"digest-{send}", SHEET, b"a picture")
    await pruning(store, tmp_path, notices=10).run_full_pass()
    assert [(await left(store))[it] for it in ("notices", "sends", "attempts")] == [1, 1, 1]
    assert folder_of(tmp_path, f"digest-{send}").exists()
    await pruning(store, tmp_path, clock=Clock(NOW + 1), notices=10).run_full_pass()
    assert [(await left(store))[it] for it in ("notices", "sends", "attempts")] == [0, 0, 0]
    assert not folder_of(tmp_path, f"digest-{send}").exists()


@pytest.mark.parametrize("state", [NoticeState.DUE, NoticeState.HELD])
async def test_a_notice_that_is_owed_is_never_old(store: Store, tmp_path: Path, state: NoticeState) -> None:
    await owe(store, a_notice(created_at=OLD - 100 * DAY, state=state))
    await pruning(store, tmp_path, notices=1).run_full_pass()
    assert (await left(store))["notices"] == 1


async def test_old_pictures_go_and_it_is_told_why(store: Store, tmp_path: Path) -> None:
    """The rows stay: what the pictures were is still known."""
    old, young = await a_past(store, tmp_path, OLD), await a_past(store, tmp_path, YOUNG)
    await pruning(store, tmp_path, images=10).run_full_pass()
    copies = await store.copies.by_refs([old.ref, young.ref])
    assert copies[old.ref] == (ImageCopy(0, error="our copy was removed after 10 days, as set by RETENTION"),)
    assert copies[young.ref] == (ImageCopy(0, "0.png", small="0.small.jpg", tiny="0.tiny.jpg"),)
    assert not folder_of(tmp_path, old.ref).exists()
    assert len(list(folder_of(tmp_path, young.ref).iterdir())) == 4


async def test_what_was_told_long_ago_and_old_keys_are_forgotten(store: Store, tmp_path: Path) -> None:
    async with store.write() as tx:
        for at in (NOW - DAY - 1, NOW - HOUR):
            await tx.notices.raise_attention(f"cause {at}", "text", at, HOUR)
        for at in (NOW - 30 * DAY - 1, NOW - 30 * DAY):
            await tx.tasks.remember_keys([(f"key {at}", b"digest", "ref")], at)
    await pruning(store, tmp_path).run_full_pass()
    assert await rows(store, "SELECT at FROM attention") == [(NOW - HOUR,)]
    assert await rows(store, "SELECT created_at FROM idempotency") == [(NOW - 30 * DAY,)]


# The file


@pytest.mark.sqlite_only
async def test_what_falls_free_is_given_back(store: Store, tmp_path: Path) -> None:
    """Alone all of it; beside the running service only where it is much."""
    await put(store, a_task(TaskState.COMPLETED))
    [(empty,)] = await rows(store, "PRAGMA page_count")
    async with store.write() as tx:
        await tx.callbacks.insert([(Callback(ref="gone", received_at=OLD, body=bytes(200_000)), True)] * 20)
    await pruning(store, tmp_path, callbacks=10, alone=False)._prune_callbacks()
    assert (await rows(store, "PRAGMA freelist_count"))[0][0] > 900
    await pruning(store, tmp_path, alone=False)._free_pages()
    assert (await rows(store, "PRAGMA freelist_count"))[0][0] > 900
    await pruning(store, tmp_path).run_full_pass()
    assert await rows(store, "PRAGMA freelist_count") == [(0,)]
    assert (await rows(store, "PRAGMA page_count"))[0][0] <= empty + 4
    assert await rows(store, "PRAGMA integrity_check") == [("ok",)]


# The loop


async def test_a_pass_begins_ten_minutes_after_the_start_and_every_hour(
    store: Store, tmp_path: Path, clock: Clock
) -> None:
    """By then a clock that was wrong at boot has been put right."""
    await a_past(store, tmp_path, OLD)
    pruner = pruning(store, tmp_path, clock=clock, alone=False, tasks=10)
    assert (await passed(pruner), await pruner.next_due()) == (0, NOW + FIRST_MS)
    clock.forward(FIRST_MS)
    assert await passed(pruner) > 0
    assert (await left(store))["tasks"] == 0
    assert (await passed(pruner), await pruner.next_due()) == (0, clock.now + EVERY_MS)
    assert pruner.start_pass_now()
    assert await passed(pruner) > 0
    clock.forward(-DAY)  # put back: it does not wait for a day
    assert await passed(pruner) > 0


@pytest.mark.parametrize("fault", [StoreUnavailable("the disk reports an error"), ValueError("nobody thought of this")])
async def test_a_store_that_fails_is_left_alone_for_a_minute(
    store: Store, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    pruner = pruning(store, tmp_path, clock=clock, alone=False, tasks=10)
    pruner.start_pass_now()

    async def fails(*args: object) -> list[AgedRow[str]]:
        raise fault

    with monkeypatch.context() as patched:
        patched.setattr(store.pruning, "aged_tasks", fails)
        assert await passed(pruner) == 1
    assert await pruner.next_due() == clock.now + AGAIN_MS
    clock.forward(AGAIN_MS)
    assert await passed(pruner) > 1


async def test_pictures_that_cannot_be_removed_hold_up_nothing_else(
    store: Store, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their tasks stay, lest nobody know of the files any more, and an hour later it is tried again."""
    await a_past(store, tmp_path, OLD)
    pruner = pruning(store, tmp_path, clock=clock, alone=False, tasks=10, callbacks=10, polls=10)
    pruner.start_pass_now()

    async def refuses(files: ArchiveFiles, folders: object) -> None:
        raise Unwritable("cannot write to the archive: read-only")

    with monkeypatch.context() as patched:
        patched.setattr(ArchiveFiles, "remove_folders", refuses)
        await passed(pruner)
    found = await left(store)
    assert (found["tasks"], found["callbacks"], found["polls"]) == (1, 0, 0)
    assert await pruner.next_due() == clock.now + EVERY_MS
    clock.forward(EVERY_MS)
    await passed(pruner)
    assert (await left(store))["tasks"] == 0


async def test_a_pass_under_way_is_not_begun_again(store: Store, tmp_path: Path) -> None:
    pruner = pruning(store, tmp_path, alone=False, tasks=10)
    pruner.start_pass_now()
    assert await pruner.claim() == "tasks"
    assert not pruner.start_pass_now()


async def test_the_loop_keeps_to_small_turns(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 200 rows a transaction, and the other lane gets its turn between any two."""
    async with store.write() as tx:
        old = Callback(ref="gone", received_at=OLD, body=b"{}")
        await tx.callbacks.insert([(replace(old, digest=b"%d" % number), True) for number in range(1000)])
    pruner = pruning(store, tmp_path, alone=False, callbacks=10)
    pruner.start_pass_now()
    assert await pruner.claim() is not None
    counts: list[int] = []

    async def noted(seconds: float) -> None:
        assert seconds > 0
        counts.append((await left(store))["callbacks"])

    monkeypatch.setattr("receiver.upkeep.retention.asyncio.sleep", noted)
    while await pruner._prune_callbacks():
        pass
    turns = [before - after for before, after in zip([1000, *counts], counts, strict=False)]
    assert counts[-1] == 0
    assert max(turns) <= 200
