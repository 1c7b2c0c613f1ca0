"""`receiver batch`: what is said of batches, and what can be done with them."""

import csv
import io
import json
import re
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from kit.commands import TASK, Answers, Run
from receiver.cli.batch.batch_text import state_of_batch
from receiver.client.batch_schemas import (
    BatchChange,
    BatchCounts,
    BatchFailure,
    BatchPage,
    BatchRowResult,
    BatchView,
)
from receiver.client.schemas import Problem, ProblemView
from receiver.core.batches import CANCELLED_WHY

OTHER = TASK.replace("-0000-", "-0001-")
VIEW = BatchView(
    name="rows-3fa92c",
    priority="low",
    label=None,
    created_at="2026-11-22T08:16:00.123Z",
    closed_at="2026-11-22T08:16:01.123Z",
    paused_at=None,
    paused_why=None,
    finished_at=None,
    budget="40",
    counts=BatchCounts(queued=275, submitting=2, waiting=8, completed=212, failed=3),
    cost="10.60",
    estimate="25.00",
    failures=[
        BatchFailure("004007098", "generation failed", 2, [17, 203]),
        BatchFailure(None, "prompt\x1b[31m refused", 1, [88]),
    ],
    waits_for="room",
    waits="the plan's limit: 10 of 10 in hand",
)
DONE = replace(VIEW, counts=BatchCounts(completed=2), finished_at="2026-11-22T09:00:00Z", failures=[], waits=None)
RESULTS = [
    BatchRowResult(line=2, ref=TASK, state="completed", cost="0.05", urls=["https://a.example/1", "/images/2"]),
    BatchRowResult(line=3, ref=OTHER, state="failed", error=Problem("004007098", 'it said "no",\nand why')),
]


def test_the_list_is_a_table(run: Run, answers: Answers) -> None:
    answers.then(200, BatchPage([VIEW, replace(DONE, name="done", cost=None)], "abc"))
    listed = run("batch", "list", "--limit", "2")
    assert answers.seen[0][1] == "/api/v1/batches?limit=2"
    heads, first, second = listed.stdout.splitlines()
    assert heads.split() == ["NAME", "STATE", "TASKS", "COMPLETED", "OTHER", "ENDS", "COST", "AGE"]
    assert first.split()[:6] == ["rows-3fa92c", "running", "500", "212", "3", "$10.60"]
    assert second.split()[:6] == ["done", "done", "2", "2", "0", "–"]
    assert listed.stderr == "There are more: --cursor abc\n"
    answers.then(200, BatchPage([], None))
    assert run("batch", "list").stderr.startswith("No batches.")


def test_one_is_shown_with_what_failed_and_what_can_be_done(run: Run, answers: Answers) -> None:
    answers.then(200, VIEW)
    shown = run("batch", "show", "rows-3fa92c").stdout
    assert "running, 500 tasks, closed" in shown
    assert "212 completed, 3 failed, 10 in hand, 275 queued\n" in shown
    assert "$10.60 so far of about $25.00\n" in shown
    assert "2 × 004007098 generation failed (lines 17, 203)\n" in shown
    assert "1 × prompt[31m refused (line 88)\n" in shown
    assert "waits     the plan's limit: 10 of 10 in hand\n" in shown
    assert "to try again what failed or was cancelled: receiver batch retry rows-3fa92c\n" in shown
    assert "what became of each row: receiver batch results rows-3fa92c\n" in shown


def test_one_of_which_only_picks_are_left_is_no_running_one(run: Run, answers: Answers) -> None:
    answers.then(200, replace(VIEW, finished_at=VIEW.created_at))
    shown = run("batch", "show", "rows-3fa92c").stdout
    assert "to pick, 500 tasks, closed" in shown
    assert "to see what waits for a pick: receiver tasks list --waits pick\n" in shown
    assert "finished" not in shown


def test_one_whose_steps_wait_for_others_says_so(run: Run, answers: Answers) -> None:
    answers.then(200, replace(VIEW, waits_for="parent", waits="the task that it builds on has not ended"))
    shown = run("batch", "show", "rows-3fa92c").stdout
    assert "waits     steps of chains wait for the tasks that they go on from\n" in shown


def test_one_that_a_person_cancelled_says_so() -> None:
    over = replace(DONE, counts=BatchCounts(completed=6, cancelled=12), closed_why=CANCELLED_WHY)
    assert state_of_batch(over) == "cancelled"
    assert state_of_batch(replace(over, closed_why=None)) == "done"


def test_a_paused_one_says_why_and_how_to_go_on(run: Run, answers: Answers) -> None:
    halted = replace(
        VIEW, paused_at=VIEW.created_at, paused_by="failures", paused_why="10 tasks in a row failed with 004007098"
    )
    answers.then(200, halted)
    shown = run("batch", "show", "rows-3fa92c").stdout
    assert re.search(r"\npaused +since 2026-11-22 \S+ \S+: 10 tasks in a row failed with 004007098\n", shown)
    assert "to go on: receiver batch resume rows-3fa92c\n" in shown
    answers.then(200, replace(halted, paused_why=None))
    assert ", by a person\n" in run("batch", "show", "rows-3fa92c").stdout


def test_one_whose_budget_is_used_up_needs_a_higher_one(run: Run, answers: Answers) -> None:
    """Resumed, it would be paused again at once. The pause is said once."""
    why = "its budget of $40 is used up"
    waits = f"paused since 2026-11-22T08:16:00.123Z: the batch my rows: {why}; `receiver batch resume my rows`"
    spent = replace(VIEW, name="my rows", paused_at=VIEW.created_at, paused_by="budget", paused_why=why)
    spent = replace(spent, waits_for="paused", waits=waits)
    answers.then(200, spent)
    shown = run("batch", "show", "my rows").stdout
    assert "to go on: receiver costs raise 'my rows' AMOUNT\n" in shown
    assert "batch resume" not in shown
    assert shown.count(why) == 1


def test_times_are_short_and_amounts_have_two_decimals(run: Run, answers: Answers) -> None:
    waits = "the provider asks for a pause since 2026-11-22T08:16:00.123Z"
    answers.then(200, replace(VIEW, cost="14.9", estimate=None, unknown=20, budget="1.2", waits=waits))
    shown = run("batch", "show", "x").stdout
    assert re.search(r"waits +the provider asks for a pause since 2026-11-22 \d\d:\d\d \S+\n", shown)
    assert "$14.90 so far; the cost of 20 tasks is not known (a failed one may be billed or not)\n" in shown
    answers.then(200, replace(VIEW, earlier=7))
    assert "$10.60 so far of about $25.00, with 7 earlier tries\n" in run("batch", "show", "x").stdout
    answers.then(200, replace(VIEW, earlier=1, estimate=None))
    assert "$10.60 so far with 1 earlier try\n" in run("batch", "show", "x").stdout
    assert re.search(r"budget +\$1\.20\n", shown)


def test_one_that_has_ended_is_not_resumed(run: Run, answers: Answers) -> None:
    answers.then(409, {"error": {"code": "batch_finished", "message": "the batch 'x' has ended"}})
    refused = run("batch", "resume", "x")
    assert (refused.exit_code, refused.stdout, refused.stderr) == (1, "", "receiver: the batch 'x' has ended\n")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("pause", "`receiver batch resume rows-3fa92c` lets it go on"),
        ("resume", "it goes on"),
    ],
)
def test_a_change_says_what_it_did(run: Run, answers: Answers, change: str, says: str) -> None:
    answers.then(200, BatchChange(VIEW, 3))
    done = run("batch", change, "a/b c")
    assert (done.exit_code, answers.seen[0][:2]) == (0, ("POST", f"/api/v1/batches/a%2Fb%20c/{change}"))
    assert done.stdout == f"rows-3fa92c  running  {says}\n"
    answers.then(200, BatchChange(VIEW, 3))
    assert json.loads(run("batch", change, "x", "--json").stdout)["changed"] == 3


def test_one_that_is_not_there_is_an_error(run: Run, answers: Answers) -> None:
    answers.then(404, ProblemView(Problem("not_found", "there is no batch 'x'")))
    refused = run("batch", "show", "x")
    assert (refused.exit_code, refused.stderr) == (1, "receiver: there is no batch 'x'\n")


def lines_of_json() -> bytes:
    return msgspec.json.Encoder().encode_lines(RESULTS)


def test_results_are_csv_or_json_lines(run: Run, answers: Answers) -> None:
    answers.then(200, lines_of_json(), "application/x-ndjson")
    found = list(csv.DictReader(io.StringIO(run("batch", "results", "x", "--after", "1").stdout, newline="")))
    assert answers.seen[0][1] == "/api/v1/batches/x/results?after=1"
    assert [it["line"] for it in found] == ["2", "3"]
    assert (found[0]["urls"], found[0]["cost"]) == ("https://a.example/1 /images/2", "0.05")
    assert (found[1]["error_code"], found[1]["error"]) == ("004007098", 'it said "no",\nand why')
    answers.then(200, lines_of_json(), "application/x-ndjson")
    assert run("batch", "results", "x", "--json").stdout.encode() == lines_of_json()


def test_no_text_of_the_provider_s_is_a_formula(run: Run, answers: Answers) -> None:
    formula = replace(RESULTS[1], error=Problem("", '=HYPERLINK("https://a.example")'), label="-5 °C")
    answers.then(200, msgspec.json.Encoder().encode_lines([formula]), "application/x-ndjson")
    [found] = csv.DictReader(io.StringIO(run("batch", "results", "x").stdout))
    assert (found["error"], found["label"]) == ('\'=HYPERLINK("https://a.example")', "-5 °C")


def test_a_file_of_results_is_written_whole_or_not_at_all(run: Run, answers: Answers) -> None:
    Path("out.jsonl").write_text("before")
    answers.then(200, lines_of_json()[:-20] + b"\n", "application/x-ndjson")
    assert run("batch", "results", "x", "--results", "out.jsonl").exit_code == 1
    assert Path("out.jsonl").read_text() == "before"
    answers.then(200, lines_of_json(), "application/x-ndjson")
    done = run("batch", "results", "x", "--results", "out.jsonl")
    assert done.stderr == "receiver: 2 results in out.jsonl\n"
    assert Path("out.jsonl").read_bytes() == lines_of_json()
    assert list(Path().iterdir()) == [Path("out.jsonl")]


def test_json_is_as_the_api_returns_it(run: Run, answers: Answers) -> None:
    answers.then(200, VIEW)
    assert json.loads(run("batch", "show", "x", "--json").stdout)["counts"]["queued"] == 275
    answers.then(200, BatchPage([VIEW], None))
    assert json.loads(run("batch", "list", "--json").stdout)["batches"][0]["name"] == "rows-3fa92c"
