"""What waits says why and until when, in the same words everywhere; `tasks watch` begins with what is under way."""

import re
from datetime import UTC, datetime, timedelta

from click.testing import Result
from msgspec.structs import replace

from kit.commands import OUTPAINT, TASK, Answers, Run, task, told
from receiver.cli.output import display_width, time_of_day
from receiver.cli.queued_line import SINGLY_MOST, describe_queued
from receiver.cli.task_text import queue_wait_text
from receiver.client.queue_schemas import QueuedLane, QueueView
from receiver.client.schemas import CallbackPage, ErrorView, HintView, ImageView, TaskPage, TaskView, UsageView

STREAM = "text/event-stream"
OTHER = TASK.replace("-0000-", "-0001-")
GONE = {"error": {"code": "unauthorized", "message": "no"}}
NONE = TaskPage([], None)
DOWN = replace(
    task("queued"), waits_for="down", waits_since="2026-11-22T08:16:00.123Z", waits_until="2999-11-22T08:17:30Z"
)
WORDS = "the provider cannot be reached (since "


def under_way(answers: Answers, *tasks: TaskView) -> None:
    """What `watch` hears when it asks for it, state by state."""
    for state in ("queued", "submitting", "waiting"):
        answers.then(200, TaskPage([it for it in tasks if it.state == state], None))


def watched(run: Run, answers: Answers, *more: str) -> Result:
    """Watch until the service refuses the token."""
    answers.then(401, GONE)
    return run("tasks", "watch", *more)


def news(result: Result) -> list[str]:
    """The lines without their times, which all have."""
    lines = [
        re.fullmatch(r"(?:\d{4}-\d\d-\d\d \d\d:\d\d|\d\d:\d\d:\d\d) \S+  (.*)", line)
        for line in result.stdout.splitlines()
    ]
    return [line[1] for line in lines if line]


def test_watch_begins_with_what_is_under_way_and_prints_each_change_once(run: Run, answers: Answers) -> None:
    waiting = replace(task("waiting", OTHER), progress=0.5)
    answers.then(200, told(waiting, waiting, replace(waiting, state="completed", progress=1.0)), STREAM)
    under_way(answers, DOWN, waiting)
    shown = news(watched(run, answers))
    assert shown == [
        f"{TASK}  queued      hero  {queue_wait_text(DOWN)}",
        f"{OTHER}  waiting     hero  50%",
        f"{OTHER}  completed   hero  no pictures",
    ]


def test_watch_says_what_a_task_waits_for_now_though_the_task_did_not_change(run: Run, answers: Answers) -> None:
    """Once for each reason: a time that moves is not news."""
    queued, later = task("queued"), replace(DOWN, waits_until="2999-11-22T09:00:00Z")
    answers.then(200, told(queued) + 3 * b": still here\n\n", STREAM)
    for seen in (queued, queued, DOWN, later):
        under_way(answers, seen)
    assert news(watched(run, answers)) == [
        f"{TASK}  queued      hero",
        f"{TASK}  queued      hero  {queue_wait_text(DOWN)}",
    ]


def test_watch_begins_with_one_line_for_many_queued_tasks_and_repeats_it_if_they_wait_for_something_else(
    run: Run, answers: Answers
) -> None:
    many = [task("queued", TASK.replace("-0000-", f"-{number:04}-")) for number in range(SINGLY_MOST + 1)]
    lanes = [QueuedLane("normal", False, "normal", 1), QueuedLane("rows-3fa92c", True, "low", 1_475)]
    view = QueueView(None, 10, 10, 10, None, "turn", None, None, None, lanes)
    room = replace(view, waits_for="room")
    down = replace(view, waits_for="down", waits_detail="connection refused")
    answers.then(200, told(replace(many[0], state="submitting")) + 3 * b": still here\n\n", STREAM)
    for now in (view, room, down, down):
        under_way(answers, *(many if now is view else many[1:]), task("waiting", OTHER.replace("-0001-", "-9999-")))
        answers.then(200, now)
    shown = news(watched(run, answers))
    waits = "the next waits: the provider cannot be reached: connection refused"
    assert [line.split()[1] for line in (shown[1], shown[2])] == ["waiting", "submitting"]
    assert (shown[0], *shown[3:]) == (
        "+ 1,476 queued: 1 single task, 1,475 of rows-3fa92c",
        f"+ 1,476 queued: 1 single task, 1,475 of rows-3fa92c; {waits}",
    )


def test_many_queued_tasks_are_one_line_that_names_few_of_their_batches() -> None:
    paused = QueuedLane("rows", True, "low", 20, paused_at="2026-11-22T08:16:00.123Z")
    view = QueueView(None, 0, 10, 10, None, None, None, None, None, [paused] * 5)
    assert describe_queued(view, 11) == "+ 100 queued: " + "20 of rows (paused), " * 3 + "40 others"
    assert describe_queued(replace(view, lanes=[]), 11) == "+ 11 queued", "they are held"


def test_a_few_queued_tasks_and_all_for_programs_have_a_line_each(run: Run, answers: Answers) -> None:
    many = [task("queued", TASK.replace("-0000-", f"-{number:04}-")) for number in range(SINGLY_MOST + 1)]
    answers.then(200, told(), STREAM)
    under_way(answers, *many[1:])
    assert len(news(watched(run, answers))) == SINGLY_MOST
    answers.then(200, told(), STREAM)
    under_way(answers, *many)
    assert watched(run, answers, "--json").stdout.count('"ref"') == len(many)


def test_watch_outlives_a_service_that_cannot_say_how_its_queue_stands(run: Run, answers: Answers) -> None:
    answers.then(200, told() + 2 * b": still here\n\n", STREAM)
    for _ in range(3):
        under_way(answers, *[task("queued", TASK.replace("-0000-", f"-{number:04}-")) for number in range(11)])
        answers.then(404, {"error": {"code": "not_found", "message": "no such call"}})
    assert news(watched(run, answers)) == ["+ 11 queued"]


def test_watch_says_that_nothing_is_under_way(run: Run, answers: Answers) -> None:
    answers.then(200, told(), STREAM)
    under_way(answers)
    result = watched(run, answers)
    assert result.stdout == ""
    assert result.stderr.startswith("Nothing is under way. Changes follow.\n")


def test_watch_shows_how_tasks_ended_with_the_reason_and_the_cost(run: Run, answers: Answers) -> None:
    failed = replace(task("failed"), error=ErrorView("004007098", "no such job"), usage=UsageView("0.05", 1))
    done = replace(
        task("completed", OTHER), usage=UsageView("0.05", 1), images=[ImageView(0, "image", "https://pics.example/0")]
    )
    hint = HintView("done", "completed", None, "callback", 7, "A callback said “done”.")
    answers.then(200, told(failed, done, replace(task("lost", OTHER), hint=hint)), STREAM)
    under_way(answers)
    assert news(watched(run, answers)) == [
        f"{TASK}  failed      hero  004007098 no such job  $0.05",
        f"{OTHER}  completed   hero  1 picture  $0.05",
        f"{OTHER}  lost        hero  A callback said “done”.",
    ]


def test_watch_misses_nothing_while_the_connection_is_lost_which_it_says_once(run: Run, answers: Answers) -> None:
    answers.then(200, told(task("waiting")), STREAM)
    under_way(answers, task("waiting"))
    answers.then(0)
    answers.then(0)
    answers.then(200, told(), STREAM)
    under_way(answers, task("queued", OTHER))
    answers.then(200, task("completed"))  # what became of the one that is no longer under way
    result = watched(run, answers)
    assert [line.split()[1] for line in news(result)] == ["waiting", "completed", "queued"]
    assert result.stderr.count("connection lost, reconnecting") == 1


def test_watch_outlives_a_service_that_is_away_while_it_is_asked(run: Run, answers: Answers) -> None:
    answers.then(200, told(task("waiting")), STREAM)
    for _ in range(3):
        answers.then(503, {"error": {"code": "unavailable", "message": "busy"}})
    assert [line.split()[1] for line in news(watched(run, answers))] == ["waiting"]


def test_watch_prints_json_lines(run: Run, answers: Answers) -> None:
    answers.then(200, told(task("completed")), STREAM)
    under_way(answers, task("waiting"))
    lines = watched(run, answers, "--json").stdout.splitlines()
    assert [line.count('"ref"') for line in lines] == [1, 1]


def test_what_ended_long_ago_has_the_time_of_its_end_when_it_changes(run: Run, answers: Answers) -> None:
    recent = (datetime.now(UTC) - timedelta(hours=2)).isoformat(timespec="milliseconds")
    old, ended = task("failed"), replace(task("failed", OTHER), settled_at=recent)
    answers.then(200, told(replace(old, settled_at="2026-01-02T08:16:00.000Z"), ended), STREAM)
    under_way(answers)
    first, second = watched(run, answers).stdout.splitlines()[-2:]
    assert first.startswith("2026-01-0")
    assert second.startswith(time_of_day(datetime.fromisoformat(recent)))


# -- the same words everywhere --


def test_what_a_task_waits_for_is_said_in_the_same_words_everywhere(run: Run, answers: Answers) -> None:
    words = queue_wait_text(DOWN)
    assert words.startswith(WORDS)
    assert "; next try at 2999-11-22 " in words
    answers.then(200, TaskPage([DOWN], None))
    listed = run("tasks", "list").stdout
    assert "the provider cannot be reached (next try at 2999-11-22 " in listed
    assert "since" not in listed, "a list has little room"
    answers.then(200, DOWN)
    answers.then(200, CallbackPage([], None))
    assert f"It waits: {words}." in " ".join(run("tasks", "show", TASK).stdout.split())
    answers.then(200, told(DOWN), STREAM)
    under_way(answers)
    assert words in watched(run, answers).stdout
    answers.then(202, task())
    answers.then(200, told(DOWN, task("completed")), STREAM)
    answers.then(200, task())
    assert f"queued: {words}" in run(*OUTPAINT, "--wait").stderr.splitlines()


def test_a_narrow_list_says_what_is_waited_for_once_below_it(run: Run, answers: Answers) -> None:
    room = replace(DOWN, ref=OTHER, waits_for="room", waits_since=None, waits_until=None)
    answers.then(200, TaskPage([DOWN, DOWN, room, task("waiting")], None))
    lines = run("tasks", "list", COLUMNS="80").stdout.splitlines()
    assert max(map(display_width, lines)) <= 80
    assert lines[0].split() == ["REF", "STATE", "LABEL", "MODEL", "AGE"]
    below = " ".join(lines[5:])
    assert below.startswith(f"2 queued: {WORDS}")
    assert below.endswith("1 queued: the provider has no room")


def test_a_wide_list_says_it_in_a_column(run: Run, answers: Answers) -> None:
    answers.then(200, TaskPage([DOWN, task("waiting")], None))
    lines = run("tasks", "list", COLUMNS="200").stdout.splitlines()
    assert lines[0].endswith("WAITS")
    assert "the provider cannot be reached (next try at 2999-11-22 " in lines[1]
    assert len(lines) == 3


def test_a_task_that_is_paused_says_so_though_the_service_is_an_older_one(run: Run, answers: Answers) -> None:
    paused = replace(task("queued"), held_by="pause")
    answers.then(200, TaskPage([paused, replace(paused, held_by="budget")], None))
    lines = run("tasks", "list").stdout.splitlines()
    assert "  queued, paused  " in lines[1]
    assert lines[1].endswith("the provider refuses the key or the balance")
    assert "  queued, held  " in lines[2]
    answers.then(202, task())
    answers.then(200, told(task("submitting"), paused, task("completed")), STREAM)
    answers.then(200, task())
    assert run(*OUTPAINT, "--wait").stderr.splitlines()[:4] == [
        "queued",
        "submitting",
        "queued: the provider refuses the key or the balance",
        "completed",
    ]
