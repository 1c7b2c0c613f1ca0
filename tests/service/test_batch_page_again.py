"""What the page of a batch offers to submit again, and what becomes of it: nothing is paid for twice."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.fakes import NOW, a_task
from kit.pages import logged_in, post_form
from kit.web import Served, near
from receiver.core.types import QueueLane, Task, TaskError, TaskState
from receiver.tokens import new_ref

pytestmark = pytest.mark.anyio

ERROR = TaskError("1", "the filter stopped the prompt")


async def open_batch(web: Served, name: str, states: Sequence[TaskState]) -> tuple[QueueLane, list[Task]]:
    assert (await web.client.post("/api/v1/batches", json={"name": name})).status_code == 200
    lane = await web.parts.store.lanes.find_batch(name)
    assert lane is not None
    rows = [
        replace(
            a_task(task_id=None),
            ref=new_ref(NOW - 1_000, line.to_bytes(10, "big")),
            state=state,
            lane=lane.id,
            turn=line,
            row_key=bytes([line]),
            label=f"row {line}",
            settled_at=NOW,
            poll_at=None,
            error=ERROR if state is TaskState.FAILED else None,
        )
        for line, state in enumerate(states, start=1)
    ]
    async with web.parts.store.write() as tx:
        await tx.tasks.insert(rows)
    return lane, rows


def again(row: Task) -> Task:
    """A single task that repeats a row."""
    return replace(row, ref=new_ref(NOW, row.turn.to_bytes(10, "big")), lane=2, turn=1, row_key=None, again_of=row.ref)


async def test_what_was_submitted_again_is_not_offered_again(tmp_path: Path) -> None:
    failed, lost, cancelled = TaskState.FAILED, TaskState.LOST, TaskState.CANCELLED
    async with near(tmp_path) as web, logged_in(web) as browser:
        lane, rows = await open_batch(web, "posters", [failed, failed, failed, lost, cancelled])
        repeated = again(rows[0])
        async with web.parts.store.write() as tx:
            await tx.tasks.insert([repeated])
            await tx.tasks.update([(rows[1], replace(rows[1], confirmed=False))])
        shown = (await browser.get("/batches/posters")).text
        assert "Submit the 1 failed and 1 cancelled again</button>" in shown
        assert "2 that failed are left out" in shown
        assert "1 lost is left out" in shown
        assert re.search(rf'row 1</bdi></a> <a [^>]*href="/tasks/{repeated.ref}">submitted again</a>', shown)
        answer = await post_form(browser, "/batches/posters/retry")
        assert answer.headers["location"] == "/batches/posters?done=retried&n=2#done"
        after = (await browser.get(answer.headers["location"])).text
        assert "2 are submitted again." in after
        assert "</button>" in after
        assert 'popovertarget="retry">Submit' not in after
        made = await web.parts.store.batch_rows.in_states(lane.id, [TaskState.QUEUED], limit=10)
        assert [it.again_of for it in made] == [rows[2].ref, rows[4].ref]


async def test_a_batch_whose_failures_are_all_repeated_offers_nothing(tmp_path: Path) -> None:
    async with near(tmp_path) as web, logged_in(web) as browser:
        _, rows = await open_batch(web, "posters", [TaskState.FAILED])
        async with web.parts.store.write() as tx:
            await tx.tasks.insert([again(rows[0])])
        assert 'popovertarget="retry">Submit' not in (await browser.get("/batches/posters")).text
        answer = await post_form(browser, "/batches/posters/retry")
        assert answer.headers["location"].endswith("?done=retried&n=0#done")
        assert "Nothing was submitted again" in (await browser.get(answer.headers["location"])).text
