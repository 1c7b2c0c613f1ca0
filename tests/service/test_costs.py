"""What was spent, and budgets, through the API and in the command."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kit.commands import Answers, Run
from kit.fakes import DAY, MODEL, NOW, Clock, a_task, put
from kit.web import OUTPAINT, near
from receiver.cli.money_text import show_usd
from receiver.client.cost_schemas import BudgetView, CostDimension, CostLine, CostsView
from receiver.core.types import LanePriority, QueueLane, TaskState, Usage

API = "/api/v1"
TODAY = "2025-12-29"
LINE = CostLine(MODEL, 512, 493, 12, 0, 12, 7, "24.65", "0.05", "0.60", "0.35")
VIEW = CostsView(
    by=CostDimension.MODEL,
    since="2026-11-24",
    zone="Europe/Berlin",
    lines=[LINE, CostLine("=cmd()", 28, 27, 1, 0, 1, 0, "6.45", "0.2389", "0", "0")],
    more=False,
    total=CostLine(None, 540, 520, 13, 0, 13, 7, "31.1", "0.0598", "0", "0.35"),
    budgets=[BudgetView("day", "2026-11-30", "20", False, "4.1", "0.35", "2026-11-30T23:00:00.000Z")],
)


def spent(day: str, cost: str, **more: Any) -> Any:
    """A task that was paid for."""
    return a_task(
        TaskState.COMPLETED, task_id=f"{day} {cost} {more}", usage=Usage(Decimal(cost)), spend_day=day, **more
    )


@pytest.mark.anyio
async def test_costs_by_each_dimension_since_a_day(tmp_path: Path) -> None:
    async with near(tmp_path, clock=Clock(NOW), budget_day="1 UTC") as web:
        waiting = a_task(spend_day=TODAY, reserved=50_000_000, task_id="w")
        old = spent("2025-11-30", "7")
        await put(web.parts.store, spent(TODAY, "0.05", label="hero"), spent("2025-12-28", "0.10"), waiting, old)
        shown = (await web.client.get(f"{API}/costs")).json()
        assert (shown["by"], shown["since"], shown["zone"], shown["more"]) == ("day", "2025-11-30", "UTC", False)
        assert [(it["name"], it["tasks"], it["cost"]) for it in shown["lines"]] == [
            (TODAY, 2, "0.05"),
            ("2025-12-28", 1, "0.1"),
            ("2025-11-30", 1, "7"),
        ]
        assert shown["lines"][0] | {"name": None} == {
            "name": None, "tasks": 2, "completed": 1, "failed": 0, "lost": 0, "unknown": 0, "in_hand": 1,
            "cost": "0.05", "each": "0.05", "presumed": "0", "reserved": "0.05",
        }  # fmt: skip
        assert shown["budgets"] == [
            {
                "period": "day",
                "name": TODAY,
                "limit": "1",
                "raised": False,
                "spent": "0.05",
                "reserved": "0.05",
                "ends_at": "2025-12-30T00:00:00.000Z",
            }
        ]
        week = (await web.client.get(f"{API}/costs?by=label&since=7d")).json()
        assert [(it["name"], it["cost"]) for it in week["lines"]] == [(None, "0.1"), ("hero", "0.05")]
        assert (week["total"]["cost"], week["total"]["each"]) == ("0.15", "0.075")
        months = (await web.client.get(f"{API}/costs?by=month")).json()
        assert [it["name"] for it in months["lines"]] == ["2025-12", "2025-11"]
        today = (await web.client.get(f"{API}/costs?by=batch&since={TODAY}")).json()
        assert [(it["name"], it["tasks"]) for it in today["lines"]] == [(None, 2)]
        all_of_it = (await web.client.get(f"{API}/costs?since=99999d&by=model")).json()
        assert all_of_it["total"]["cost"] == "7.15"


@pytest.mark.anyio
async def test_averages_are_of_what_has_a_known_cost_and_lost_tasks_are_not_among_it(tmp_path: Path) -> None:
    lane = QueueLane(id=0, name="rows", batch=True, priority=LanePriority.LOW, created_at=NOW)
    async with near(tmp_path, clock=Clock(NOW)) as web:
        async with web.parts.store.write() as tx:
            await tx.lanes.insert(lane)
        rows = (await web.parts.store.lanes.by_name(["rows"]))["rows"].id
        lost = [a_task(TaskState.LOST, task_id=f"lost {n}", spend_day=TODAY, lane=rows, turn=n) for n in (1, 2, 3)]
        untold = a_task(TaskState.COMPLETED, task_id="untold", spend_day=TODAY, lane=rows, turn=9)
        paid = [spent(TODAY, "0.0333", lane=rows, turn=turn) for turn in (4, 5, 6)]
        queued = [a_task(TaskState.QUEUED, lane=rows, turn=turn, due_at=NOW + DAY) for turn in (7, 8)]
        await put(web.parts.store, *lost, *paid, untold, *queued)
        shown = (await web.client.get(f"{API}/batches/rows")).json()
        assert (shown["cost"], shown["unknown"], shown["estimate"]) == ("0.0999", 4, "0.3")
        [line] = (await web.client.get(f"{API}/costs?by=batch")).json()["lines"]
        assert (line["completed"], line["each"]) == (4, "0.0333")
        await put(web.parts.store, a_task(TaskState.COMPLETED, spend_day=TODAY, task_id="free", label="untold"))
        [_, line] = (await web.client.get(f"{API}/costs?by=label")).json()["lines"]
        assert (line["name"], line["each"]) == ("untold", None)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "query", ["by=colour", "since=yesterday", "since=2026-13-01", "since=", "since=-3d", "until=1d"]
)
async def test_what_cannot_be_asked(tmp_path: Path, query: str) -> None:
    async with near(tmp_path) as web:
        answer = await web.client.get(f"{API}/costs?{query}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_parameter")


@pytest.mark.anyio
async def test_a_budget_is_raised_for_the_period_that_runs(tmp_path: Path) -> None:
    clock = Clock(NOW)
    async with near(tmp_path, clock=clock, budget_day="1") as web:
        raised = (await web.client.put(f"{API}/budget", json={"period": "day", "limit": "2.50"})).json()
        [budget] = raised["budgets"]
        assert (budget["limit"], budget["raised"]) == ("2.5", True)
        clock.forward(DAY)
        [budget] = (await web.client.get(f"{API}/costs")).json()["budgets"]
        assert (budget["limit"], budget["raised"]) == ("1", False)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"period": "day", "limit": "0.50"}, 422, "invalid_parameter"),
        ({"period": "day", "limit": "much"}, 422, "invalid_parameter"),
        ({"period": "week", "limit": "5"}, 404, "not_found"),
        ({"period": "normal", "limit": "5"}, 404, "not_found"),
        ({"period": "day", "limit": 5}, 422, "invalid_parameter"),
        ({"period": "month", "limit": "5"}, 409, "no_budget"),
    ],
)
async def test_what_cannot_be_raised(tmp_path: Path, body: dict[str, Any], status: int, code: str) -> None:
    async with near(tmp_path, budget_day="1") as web:
        answer = await web.client.put(f"{API}/budget", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.anyio
async def test_a_task_dearer_than_a_whole_budget_is_refused_alone_and_in_a_list(tmp_path: Path) -> None:
    targets = '[targets.slack]\nurl = "json://127.0.0.1:9/a"\n[prices]\nmidjourney_outpaint = 0.05\n'
    async with near(tmp_path, public_url="https://me.example", budget_day="0.04", targets=targets) as web:
        assert (await web.client.get(f"{API}/costs")).json()["prices"] == {"midjourney_outpaint": "0.05"}
        alone = await web.client.post(f"{API}/tasks", json=OUTPAINT)
        assert (alone.status_code, alone.json()["error"]) == (
            422,
            {
                "code": "over_budget",
                "message": "a task of midjourney_outpaint costs about $0.05, which is more than the whole budget of a "
                "day ($0.04); set BUDGET_DAY higher",
                "field": "model",
            },
        )
        [item] = (await web.client.post(f"{API}/tasks/batch", json={"tasks": [OUTPAINT]})).json()
        assert (item["status"], item["error"]["code"]) == (422, "over_budget")
    async with near(tmp_path, public_url="https://me.example", budget_day="0.05", targets=targets) as web:
        assert (await web.client.post(f"{API}/tasks", json=OUTPAINT)).status_code == 202


# -- the command --


def test_costs_are_a_table_with_a_total_and_a_line_for_each_budget(run: Run, answers: Answers) -> None:
    answers.then(200, VIEW)
    lines = run("costs", "--by", "model", "--since", "7d").stdout.splitlines()
    assert lines[0].split() == [
        "MODEL",
        "TASKS",
        "COMPLETED",
        "FAILED",
        "COST",
        "EACH",
        "UNKNOWN",
        "(EST.)",
        "IN",
        "HAND",
        "(EST.)",
    ]
    assert lines[1].split() == [MODEL, "512", "493", "12", "$24.65", "$0.05", "$0.60", "(12)", "$0.35", "(7)"]
    assert lines[3].split() == ["total", "540", "520", "13", "$31.10", "$0.0598", "13", "$0.35", "(7)"]
    assert lines[4].startswith("this day: $4.10 spent and $0.35 reserved of $20.00; the next begins at ")
    assert len(lines) == 5


def test_one_line_needs_no_total_and_none_says_so(run: Run, answers: Answers) -> None:
    answers.then(200, replace(VIEW, lines=[LINE], budgets=[]))
    assert len(run("costs").stdout.splitlines()) == 2
    answers.then(200, replace(VIEW, lines=[], budgets=[]))
    assert run("costs").stdout == "Nothing was spent since 2026-11-24.\n"


def test_csv_has_exact_amounts_and_nothing_that_a_spreadsheet_runs(run: Run, answers: Answers) -> None:
    answers.then(200, VIEW)
    head, first, second = run("costs", "--csv").stdout.splitlines()
    assert head == "model,tasks,completed,failed,lost,unknown,in_hand,cost,each,presumed,reserved"
    assert first == f"{MODEL},512,493,12,0,12,7,24.65,0.05,0.60,0.35"
    assert second.startswith("'=cmd(),28,")


def test_raise_says_how_the_budget_stands_then(run: Run, answers: Answers) -> None:
    answers.then(200, replace(VIEW, budgets=[replace(VIEW.budgets[0], limit="30", raised=True)]))
    said = run("costs", "raise", "day", "$30").stdout
    assert said.startswith("this day: $4.10 spent and $0.35 reserved of $30.00, raised for now; the next begins at ")


def test_raise_of_a_batch(run: Run, answers: Answers) -> None:
    answers.then(200, VIEW)
    assert run("costs", "raise", "rows-3fa92c", "40").stdout == "rows-3fa92c may cost up to $40.00\n"


@pytest.mark.anyio
async def test_whoever_submits_is_told_at_once_that_a_budget_does_not_cover_it(tmp_path: Path) -> None:
    """It is a warning: all tasks are accepted, and wait. A repeated request, and a list, say nothing."""
    targets = '[targets.slack]\nurl = "json://127.0.0.1:9/a"\n[prices]\nmidjourney_outpaint = 0.05\n'
    async with near(tmp_path, public_url="https://me.example", budget_day="1", targets=targets) as web:
        fits = await web.client.post(f"{API}/tasks", json=OUTPAINT)
        assert (fits.status_code, fits.json()["warnings"]) == (202, [])
        await put(web.parts.store, spent(TODAY, "0.62", model="other"))
        listed = (await web.client.post(f"{API}/tasks/batch", json={"tasks": [OUTPAINT] * 10})).json()
        assert {it["status"] for it in listed} == {202}
        text = "the budget of this day has $0.38 left: about 7 of 10 tasks go before 00:00 UTC; "
        assert {it["task"]["warnings"][0] for it in listed} == {f"{text}`receiver costs raise day 2` lets all go"}
        await put(web.parts.store, spent(TODAY, "0.36", model="other"))
        alone = {**OUTPAINT, "idempotency_key": "k"}
        first, again = [(await web.client.post(f"{API}/tasks", json=alone)).json()["warnings"] for _ in range(2)]
        text = "the budget of this day has $0.02 left: the task does not go before 00:00 UTC; "
        assert (first, again) == ([f"{text}`receiver costs raise day 2` lets it go"], [])


@pytest.mark.anyio
async def test_a_batch_says_at_once_how_much_of_it_a_budget_covers(tmp_path: Path) -> None:
    targets = '[targets.slack]\nurl = "json://127.0.0.1:9/a"\n[prices]\nmidjourney_outpaint = 0.05\n'
    async with near(tmp_path, public_url="https://me.example", budget_day="0.40", targets=targets) as web:
        opened = await web.client.post(f"{API}/batches", json={"name": "rows"})
        assert opened.json()["warnings"] == []
        rows = [{**OUTPAINT, "row_key": f"r{n}", "line": n + 1} for n in range(40)]
        items = (await web.client.post(f"{API}/tasks/batch", json={"batch": "rows", "tasks": rows})).json()
        assert {(it["status"], *it["task"]["warnings"]) for it in items} == {(202,)}
        closed = (await web.client.post(f"{API}/batches/rows/close")).json()["batch"]
        text = "the budget of this day has $0.40 left: about 8 of 40 tasks go before 00:00 UTC; "
        assert closed["warnings"] == [f"{text}`receiver costs raise day 2` lets all go"]
        assert (await web.client.get(f"{API}/batches")).json()["batches"][0]["warnings"] == []


@pytest.mark.parametrize("since", ["7", "yesterday", "2026-13-01", "-3d", ""])
def test_since_takes_days_or_a_day(run: Run, answers: Answers, since: str) -> None:
    ran = run("costs", "--since", since)
    assert (ran.exit_code, answers.seen) == (2, [])
    assert "write it as 7d (the last 7 days) or as a day, such as 20" in " ".join(ran.stderr.split())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0", "$0.00"),
        ("20", "$20.00"),
        ("14.9", "$14.90"),
        ("0.0598", "$0.0598"),
        ("0.1234567", "$0.123457"),
        ("1234.5678", "$1,234.57"),
        ("NaN", "$NaN"),
        ("1e999999", "$1e999999"),
        ("much", "$much"),
    ],
)
def test_amounts_have_two_decimals_at_least(text: str, shown: str) -> None:
    assert show_usd(text) == shown


def test_raise_takes_an_amount(run: Run) -> None:
    ran = run("costs", "raise", "day", "lots")
    assert ran.exit_code == 2
    assert "expected an amount in USD, such as 30" in ran.stderr
