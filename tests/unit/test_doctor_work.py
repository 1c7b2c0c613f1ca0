"""What the doctor says of the running service's work: what waits for a person, and nothing that goes on by itself."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from kit.commands import TASK, task
from receiver.cli.task_text import queue_wait_text
from receiver.client.queue_schemas import QueuedLane, QueueView
from receiver.client.schemas import NoticeView, TaskView
from receiver.upkeep.doctor.findings import CheckResult, Finding
from receiver.upkeep.doctor.work import LOOKED_MOST, WorkSnapshot, check_work

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


def notice(target: str, state: str = "due", waits_for: str | None = None) -> NoticeView:
    return NoticeView(
        id=1,
        ref=TASK,
        target=target,
        event="completed",
        state=state,
        attempts=1,
        error="HTTP 500",
        created_at="2026-11-22T08:16:00.123Z",
        due_at="2026-11-22T08:16:00.123Z",
        sent_at=None,
        text=None,
        waits_for=waits_for,
    )


def a_task(state: str, ago: timedelta = timedelta(hours=1), **more: Any) -> TaskView:
    return replace(task(state), submitted_at=(NOW - ago).isoformat(), **more)


def found(**seen: Any) -> list[Finding]:
    """What is found among these, where nothing else is there."""
    nothing = {**dict.fromkeys(WorkSnapshot.__struct_fields__, ()), "targets": None, "queue": None}
    return list(check_work(WorkSnapshot(**{**nothing, **seen}), NOW))


def only(**seen: Any) -> str:
    [finding] = found(**seen)
    assert finding.result is CheckResult.WARNING
    return f"{finding.text}: {finding.remedy}"


def test_pings_that_were_given_up_are_counted_by_target_with_the_command_that_sends_them() -> None:
    told = only(dead=[notice(name, "dead") for name in ("slack", "phone", "slack")])
    assert told == (
        "3 pings given up: 2 to slack, 1 to phone: see why with `receiver notices list --state dead`, then send them "
        "with `receiver notices redrive`; `receiver notices discard` gives up what you do not want"
    )


def test_pings_to_targets_that_are_gone_are_sent_to_another() -> None:
    dead = [notice(name, "dead") for name in ("web", "phone", "web")]
    assert "`receiver notices redrive`, and those to targets that are gone (web) with `--to NAME`; " in only(
        dead=dead, targets=["phone"]
    )
    assert "2 to web: `receiver notices redrive --to NAME` sends them: their target is gone; " in only(
        dead=dead[::2], targets=["phone"]
    )
    assert "--to" not in only(dead=dead, targets=["phone", "web"])


def test_tasks_that_are_held_for_a_person_are_counted_with_the_way_to_them() -> None:
    held = a_task("queued", held_by="person")
    told = only(queued=[held, a_task("queued"), a_task("queued", held_by="suspect")])
    assert told.startswith("1 task waits for you: the provider did not take it, again and again")
    assert told.endswith(f"`receiver tasks show {held.ref}`")


def test_a_full_page_may_not_be_all() -> None:
    told = only(dead=[notice("slack", "dead")] * LOOKED_MOST)
    assert told.startswith("100 or more pings given up: ")


def test_targets_that_rest_are_told_with_what_waits_for_them() -> None:
    told = only(
        due=[notice("team", waits_for="rest"), notice("phone", waits_for="rate"), notice("a", waits_for="rest")]
    )
    assert told.startswith(
        "a, team are paused after failures; pings waiting: 1 to team, 1 to a: see why with `receiver notices list"
    )
    assert only(due=[notice("team", waits_for="rest")]).startswith("team is paused after failures")


def test_a_refused_key_is_told_with_all_that_is_queued_behind_it() -> None:
    """Only the task that was refused is held; the rest waits behind it."""
    told = only(queued=[a_task("queued", held_by="pause"), a_task("queued")])
    assert told.startswith("2 tasks queued: the provider refuses the key or the balance: fix that, and ")


@pytest.mark.parametrize(
    ("why", "words", "remedy"),
    [
        ("key", "the provider refuses the key or the balance", "fix that"),
        ("down", "the provider cannot be reached", "check the network and PROVIDER_URL"),
        ("price", "there is a budget, and its model needs a price", "set it under [prices]"),
        ("no_key", "the service has no provider key", "set PROVIDER_KEY"),
    ],
)
def test_what_stops_submissions_is_said_in_the_words_of_the_tasks_since_when_and_until(
    why: str, words: str, remedy: str
) -> None:
    stopped = a_task(
        "queued", waits_for=why, waits_since="2026-11-22T08:16:00.123Z", waits_until="2999-11-22T08:17:30Z"
    )
    later = replace(stopped, waits_since="2026-11-22T08:18:00.123Z", waits_until="2999-11-22T08:19:00Z")
    told = only(queued=[later, stopped])
    shown = queue_wait_text(stopped).replace(":00 ", " ").replace(":30 ", " ")  # to the minute
    assert told == f"2 tasks queued: {shown}: {told.rpartition(': ')[2]}"
    assert shown.startswith(words)
    assert f": {remedy}" in told
    assert only(queued=[a_task("queued", waits_for=why)]).startswith(f"1 task queued: {words}: ")


def a_call(ref: str, ago: timedelta = timedelta(minutes=1), text: str = "Look at it.") -> NoticeView:
    return replace(notice("slack", "sent"), ref=ref, event="attention", text=text, created_at=(NOW - ago).isoformat())


def test_an_open_task_that_a_ping_called_for_is_found_and_one_that_ended_is_not() -> None:
    """As one whose callback URL somebody else seems to know."""
    called = a_task("waiting")
    told = only(waiting=[called], newest=[a_call(called.ref), replace(a_call(called.ref), target="mail")])
    assert (
        told
        == f"1 open task that a ping called you for: Look at it.: see what you can do with `receiver tasks show {TASK}`"
    )
    for newest in (
        [a_call("another")],
        [a_call(called.ref, timedelta(days=8))],
        [replace(a_call(called.ref), event="lost")],
    ):
        [finding] = found(waiting=[called], newest=newest)
        assert finding.result is CheckResult.OK


def test_what_another_finding_says_of_a_task_is_not_said_twice() -> None:
    held = a_task("queued", held_by="person")
    assert only(queued=[held], newest=[a_call(held.ref)]).startswith("1 task waits for you")


@pytest.mark.parametrize("state", ["waiting", "lost"])
def test_an_unsure_task_is_told_with_the_command_that_says_what_can_be_done(state: str) -> None:
    told = only(**{state: [a_task(state, unsure=True)]})
    assert told == (
        "1 task unsure: the provider may or may not have taken it: "
        f"see what you can do with `receiver tasks show {TASK}`"
    )


@pytest.mark.parametrize(
    "seen",
    [
        {},
        {"due": [notice("a", waits_for=why) for why in (None, "retry", "quiet", "digest", "rate", "pictures")]},
        {"queued": [a_task("queued"), a_task("queued", held_by="parent")]},
        {"queued": [a_task("queued", waits_for=why) for why in ("busy", "suspect", "retry", "room", "turn", "budget")]},
        {"waiting": [a_task("waiting"), a_task("waiting", timedelta(minutes=2), unsure=True)]},
        {"waiting": [a_task("waiting", unsure=True, origin="adopted")]},
        {"lost": [a_task("lost"), a_task("lost", timedelta(days=8), unsure=True)]},
    ],
)
def test_what_goes_on_by_itself_or_is_long_past_is_no_finding(seen: dict[str, Any]) -> None:
    [finding] = found(**seen)
    assert (finding.result, finding.text) == (CheckResult.OK, "no ping was given up, and no task needs a person")


# -- what was stopped --


def queue(*lanes: QueuedLane, **more: Any) -> QueueView:
    """The queue, with these lanes."""
    running = QueueView(None, 3, 10, 10, None, "turn", None, None, None, list(lanes))
    return replace(running, **more)


SINGLES = QueuedLane("normal", False, "normal", 1_250)


def test_a_paused_queue_is_told_also_while_nothing_waits_in_it() -> None:
    paused = {"waits_for": "paused", "paused_at": "2026-11-22T08:16:00.000Z"}
    told = only(queue=queue(SINGLES, **paused))
    assert told.startswith("submitting is paused since 2026-11-22 ")
    assert told.endswith("; 1,250 tasks queued: `receiver queue resume` lets it go on")
    assert "; 0 tasks queued" in only(queue=queue(**paused))


def test_a_budget_that_is_used_up_is_told_one_that_waits_for_tasks_in_hand_is_not() -> None:
    short = {"waits_for": "budget", "waits_detail": "the $1.00 of this day are used up"}
    told = only(queue=queue(SINGLES, **short, waits_until="2026-11-23T00:00:00.000Z"))
    assert told.startswith("1,250 tasks queued: the budget has no room (next try at 2026-11-2")
    assert told.endswith("): the $1.00 of this day are used up: see `receiver costs`")
    for calm in (queue(SINGLES, **short), queue(**short, waits_until="2026-11-23T00:00:00.000Z"), queue(SINGLES)):
        [finding] = found(queue=calm)
        assert finding.result is CheckResult.OK


def test_paused_batches_are_told_one_with_what_lets_it_go_on() -> None:
    rows = QueuedLane("my rows", True, "low", 20, paused_at="2026-11-22T08:16:00Z", paused_why="10 failed alike")
    assert only(queue=queue(rows)) == (
        "the batch my rows is paused: 10 failed alike: `receiver batch resume 'my rows'` lets it go on"
    )
    spent = replace(rows, paused_by="budget", paused_why=None)
    assert only(queue=queue(spent, SINGLES)).endswith(": `receiver costs raise 'my rows' AMOUNT` lets it go on")
    many = [replace(rows, name=f"rows-{number}") for number in range(5)]
    assert only(queue=queue(*many)).startswith("5 batches are paused: rows-0, rows-1, rows-2 and 2 more: see why ")
