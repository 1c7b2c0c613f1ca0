"""Batches in any order of events, and with the process killed between any two commits."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.batches import BatchBench, a_row
from kit.fakes import NOW
from kit.new_database import place_database
from receiver.client.batch_schemas import NewBatch
from receiver.core.decide import mark_unsure
from receiver.core.errors import RequestRefused
from receiver.core.types import Ending, TaskState
from receiver.store import Store, open_store
from receiver.store.sqlite.backup import prepare_restored
from receiver.tasks.batch_ends import finish_closed
from receiver.tasks.judge_requests import CreatedTask

OPEN_STATES = (TaskState.QUEUED, TaskState.SUBMITTING, TaskState.WAITING)

pytestmark = pytest.mark.anyio


class Killed(BaseException):
    """The process died here."""


@contextlib.contextmanager
def dies_before_write(store: Store, number: int) -> Any:
    """The process dies before its `number`-th transaction from here on; the others are whole, as SQLite promises."""
    write, left = store.write, [number]

    @contextlib.asynccontextmanager
    async def dying(*given: Any) -> AsyncIterator[Any]:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        async with write(*given) as tx:
            yield tx

    store.write = dying  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        store.write = write  # type: ignore[method-assign]


async def test_a_command_that_is_killed_between_any_two_commits_is_repeated(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.tasks.batches.TURN", 2)
    bench = BatchBench(store)

    async def fill(name: str) -> None:
        await bench.control.open(NewBatch(name))
        for at in range(2, 9, 3):
            await bench.add(name, *range(at, at + 3))
        await bench.control.close(name)

    async def cancel(name: str) -> None:
        await bench.control.cancel(name)

    async def retry(name: str) -> None:
        await bench.control.retry(name)

    for step in range(12):
        name = f"rows {step}"
        for act in (fill, cancel, retry, cancel):
            with dies_before_write(store, step), contextlib.suppress(Killed):
                await act(name)
            await act(name)
        states = await store.batch_rows.count_states((await bench.lane(name)).id)
        assert states == {TaskState.CANCELLED: 9}
        assert (await bench.lane(name)).finished_at is not None


OPS = ["add", "complete", "fail", "lose", "unsure", "withdraw", "close", "reopen", "cancel", "retry", "resubmit"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(OPS), st.integers(0, 7)), max_size=30))
def test_no_batch_stays_closed_without_open_rows_and_unfinished(story: list[tuple[str, int]]) -> None:
    asyncio.run(_live(story))


async def _live(story: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = await open_store(await place_database(Path(folder, "r.db")))
        try:
            bench = BatchBench(store)
            await bench.open(lines=2)
            for op, which in story:
                with contextlib.suppress(RequestRefused):
                    await _act(bench, op, which)
                await _check(bench)
        finally:
            await store.close()


async def _act(bench: BatchBench, op: str, which: int) -> None:
    rows = await bench.rows()
    task = rows[which % len(rows)]
    match op:
        case "add":
            await bench.add("rows", 2 + which)
        case "complete":
            await bench.end(task)
        case "fail":
            await bench.end(task, Ending.FAILED)
        case "lose" if task.state is TaskState.WAITING:
            await bench.lose(task)
        case "unsure" if task.state is TaskState.QUEUED:
            async with bench.store.write() as tx:
                await tx.tasks.update([(task, mark_unsure(task, bench.clock(), 1_000))])
        case "withdraw":
            await bench.intake.cancel_task(task.ref)
        case "close":
            await bench.control.close("rows")
        case "reopen":
            await bench.control.open(NewBatch("rows", reopen=True))
        case "cancel":
            await bench.control.cancel("rows")
        case "retry":
            await bench.control.retry("rows")
        case "resubmit":
            await bench.intake.resubmit_task(task.ref)


async def _check(bench: BatchBench) -> None:
    lane, rows = await bench.lane(), await bench.rows()
    any_open = any(task.state in OPEN_STATES for task in rows)
    assert await bench.store.batch_rows.any_open(lane.id) is any_open
    if lane.closed_at is None:
        assert lane.finished_at is None
    else:
        assert any_open is (lane.finished_at is None)
    keys = [task.row_key for task in await bench.store.tasks.page(limit=200) if task.row_key]
    assert len(keys) == len(set(keys)) == len(rows)
    if any(it.state is TaskState.QUEUED for it in rows) and lane.paused_at is None:
        assert await bench.store.tasks.next_queued(bench.clock() + 10**9) is not None


async def test_a_restored_backup_closes_open_batches_and_says_so(tmp_path: Path) -> None:
    """The rows that a batch took after the backup are not known: adding to it might pay for them twice."""
    store = await open_store(await place_database(tmp_path / "r.db"))
    bench = BatchBench(store)
    await bench.open("filling", lines=2)
    for task in await bench.open("empty so far", lines=1):
        await bench.end(task)
    for task in await bench.open("told already", lines=1):
        await bench.end(task)
    await bench.control.close("told already")
    await bench.control.open(NewBatch("told already", reopen=True))
    told = len(await bench.told())
    await store.close()
    for queue, closed in ((True, 0), (False, 3), (False, 0)):
        why = "a backup was restored"
        assert prepare_restored(tmp_path / "r.db", NOW, queue=queue, batches_closed=why, made_at=NOW - 5) == closed
    store = await open_store(tmp_path / "r.db")
    assert await store.lanes.last_restore() == (NOW, NOW - 5)
    bench = BatchBench(store)
    await finish_closed(store, bench.policy, NOW)
    await finish_closed(store, bench.policy, NOW)
    assert (await bench.lane("empty so far")).finished_at == NOW
    assert len(await bench.told()) == told + 1
    assert (await bench.lane("filling")).finished_at is None, "what was queued may have been submitted since"
    known, new = await bench.intake.create_many([a_row(2), a_row(9)], batch="filling")
    assert isinstance(known, CreatedTask)
    assert isinstance(new, RequestRefused)
    assert "(a backup was restored)" in str(new)
    await bench.control.open(NewBatch("filling", reopen=True))
    assert len(await bench.add("filling", 9)) == 1
    await store.close()
