"""How submitting stands, through the API and in the command; and what goes first."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.commands import TASK, Answers, Run, task
from kit.fakes import a_task, put
from kit.submit_loop import put_state
from kit.web import Served, near
from receiver.client.queue_schemas import QueuedLane, QueueView
from receiver.core.budgets import BudgetWait, BudgetWaits
from receiver.core.types import HIGH_LANE, HoldReason, QueueLane, TaskState
from receiver.store.tables.lanes import LaneTable

API = "/api/v1"
STILL = QueueView(
    paused_at=None,
    in_hand=3,
    places=6,
    concurrency=10,
    more_at="2026-11-22T08:16:30.000Z",
    waits_for="turn",
    waits_since=None,
    waits_until=None,
    waits_detail=None,
    lanes=[
        QueuedLane("normal", False, "normal", 2),
        QueuedLane("rows-3fa92c", True, "low", 498, paused_at="2026-11-22T08:16:00.000Z", paused_why="10 failed"),
    ],
)


async def a_batch(web: Served, **changes: object) -> QueueLane:
    """A batch in the store."""
    lane = QueueLane(id=0, name="rows", batch=True, priority=-1, created_at=1, **changes)  # type: ignore[arg-type]
    async with web.parts.store.write() as tx:
        await tx.lanes.insert(lane)
    return (await web.parts.store.lanes.by_name(["rows"]))["rows"]


@pytest.mark.anyio
async def test_the_queue_is_shown_paused_and_resumed(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        await put(web.parts.store, a_task(TaskState.QUEUED, due_at=0), a_task(TaskState.QUEUED, due_at=0))
        shown = (await web.client.get(f"{API}/queue")).json()
        assert (shown["in_hand"], shown["places"], shown["concurrency"], shown["paused_at"]) == (0, 10, 10, None)
        assert [(it["name"], it["queued"]) for it in shown["lanes"]] == [("normal", 2)]
        assert 'receiver_queued_tasks{waits_for="turn"} 2.0' in (await web.client.get("/metrics")).text
        paused = (await web.client.post(f"{API}/queue/pause")).json()
        assert (paused["waits_for"], paused["waits_since"]) == ("paused", paused["paused_at"])
        again = (await web.client.post(f"{API}/queue/pause")).json()
        assert again["paused_at"] == paused["paused_at"], "since the first time"
        [listed, _] = (await web.client.get(f"{API}/tasks?state=queued")).json()["tasks"]
        assert (listed["waits_for"], listed["waits_since"]) == ("paused", paused["paused_at"])
        assert (await web.client.post(f"{API}/queue/resume")).json()["paused_at"] is None


@pytest.mark.anyio
@pytest.mark.parametrize(("days", "shown"), [(0, True), (6.9, True), (7.1, False), (-1, False)])
async def test_a_restore_is_told_for_a_week(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: float, *, shown: bool
) -> None:
    async with near(tmp_path) as web:
        at = web.parts.clock() - int(days * 86_400_000)

        async def last_restore(_: LaneTable) -> tuple[int, int | None]:
            return at, None

        assert (await web.client.get(f"{API}/queue")).json()["restored_at"] is None
        monkeypatch.setattr(LaneTable, "last_restore", last_restore)
        view = (await web.client.get(f"{API}/queue")).json()
        assert (view["restored_at"] is not None, view["restored_from"]) == (shown, None)


@pytest.mark.anyio
async def test_a_task_that_is_put_first_goes_before_all_others_unless_it_is_a_batchs_row(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        lane = await a_batch(web)
        tasks = [a_task(TaskState.QUEUED, due_at=0, turn=turn) for turn in range(3)]
        row = a_task(TaskState.QUEUED, due_at=0, lane=lane.id, row_key=b"1")
        await put(web.parts.store, *tasks, row, a_task(TaskState.QUEUED, due_at=0, lane=HIGH_LANE))
        assert (await web.client.post(f"{API}/tasks/{tasks[2].ref}/first")).status_code == 200
        due = await web.parts.store.tasks.next_queued(1)
        assert due is not None
        assert due.ref == tasks[2].ref
        refused = await web.client.post(f"{API}/tasks/{row.ref}/first")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "batch_row")


@pytest.mark.anyio
@pytest.mark.parametrize("held", [None, *HoldReason])
async def test_no_queued_task_is_shown_without_what_it_waits_for(tmp_path: Path, held: HoldReason | None) -> None:
    async with near(tmp_path) as web:
        lane = await a_batch(web, paused_at=5, paused_why="10 rows failed")
        single = a_task(TaskState.QUEUED, due_at=0, held_by=held)
        await put(web.parts.store, single, a_task(TaskState.QUEUED, due_at=0, lane=lane.id))
        row, shown = (await web.client.get(f"{API}/tasks?state=queued")).json()["tasks"]
        assert shown["waits_for"]
        assert row["waits_for"] == "paused"
        assert "batch rows" in row["waits_detail"]
        assert "10 rows failed" in row["waits_detail"]


@pytest.mark.anyio
async def test_every_lane_says_what_its_next_task_waits_for(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        lane = await a_batch(web, paused_at=5, paused_why="10 rows failed")
        await put(web.parts.store, a_task(TaskState.QUEUED, due_at=0), a_task(TaskState.QUEUED, due_at=0, lane=lane.id))
        waits = BudgetWaits(lanes={2: BudgetWait("a price is missing", 7, of_lane=True)})
        await put_state(web.parts.store, waits=waits)
        single, rows = (await web.client.get(f"{API}/queue")).json()["lanes"]
        assert (single["waits_for"], single["waits_detail"]) == ("budget", "a price is missing")
        assert (rows["waits_for"], "10 rows failed" in rows["waits_detail"]) == ("paused", True)


def test_the_table_says_it_briefly_where_all_wait_for_the_same(run: Run, answers: Answers) -> None:
    until = "2999-11-23T00:00:00.000Z"
    full = "the $1.00 of this day are used up"
    own = QueuedLane("own", True, "low", 7, None, None, None, "budget", None, None, "it is reserved")
    lanes = [
        QueuedLane("normal", False, "normal", 1, None, None, None, "budget", None, until, full),
        QueuedLane("older", True, "low", 7),
        QueuedLane("mine", True, "low", 7, "2026-11-22T08:16:00.000Z", waits_for="paused", waits_detail="mine"),
        own,
    ]
    answers.then(200, QueueView(None, 0, 10, 10, None, "budget", None, until, full, lanes))
    lines = run("queue", "show").stdout.splitlines()
    assert lines[1].startswith("waits: the budget has no room (next try at 2999-11-2")
    assert lines[1].endswith(f"): {full}")
    assert [line.split("  ")[-1].strip() for line in lines[2:]] == [
        "WAITS",
        "the budget has no room",
        "–",
        "paused: by a person",
        "the budget has no room: it is reserved",
    ]


@pytest.mark.parametrize(
    ("waits_for", "said"),
    [
        ("turn", "it is submitted next"),
        ("room", "it is submitted next"),
        ("paused", "it is submitted next, but not now: submitting is paused"),
    ],
)
def test_first_says_what_is_in_the_way(run: Run, answers: Answers, waits_for: str, said: str) -> None:
    answers.then(200, replace(task("queued"), waits_for=waits_for))
    assert run("tasks", "first", TASK).stdout == f"{TASK}  queued  {said}\n"


def test_the_command_says_what_is_in_hand_what_waits_and_for_what(run: Run, answers: Answers) -> None:
    answers.then(200, STILL)
    shown = run("queue", "show").stdout
    assert shown.startswith("3 of 6 in hand (PROVIDER_CONCURRENCY is 10, but the provider refused more; one more is")
    assert "rows-3fa92c" in shown
    assert "paused: 10 failed" in shown
    answers.then(200, QueueView(None, 0, 10, 10, None, "turn", None, None, None, []))
    assert run("queue", "resume").stdout == "resumed\n0 of 10 in hand\nnothing is queued\n"
    answers.then(200, QueueView(None, 0, 10, 10, None, "key", None, None, None, []))
    assert run("queue", "show").stdout == "0 of 10 in hand\nnothing is queued\n"
    waits = QueueView("2026-11-22T08:16:00.000Z", 0, 9, 9, None, "paused", "2026-11-22T08:16:00.000Z", None, "all", [])
    answers.then(200, waits)
    paused = run("queue", "pause").stdout
    assert paused == (
        "paused: nothing is submitted until `receiver queue resume`; what is in hand goes on\n"
        "0 of 9 in hand\nnothing is queued\n"
    )
    answers.then(200, task())
    assert run("tasks", "first", TASK).stdout == f"{TASK}  queued  it is submitted next\n"
    assert [path for _, path, _, _ in answers.seen] == [
        f"/api/v1/{it}" for it in ("queue", "queue/resume", "queue", "queue/pause", f"tasks/{TASK}/first")
    ]
