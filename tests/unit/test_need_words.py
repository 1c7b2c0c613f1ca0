"""The words for what needs a person: counts at their limits, shares, and names and errors from outside."""

import pytest

from kit.fakes import a_task
from receiver.core.queue_waits import QueueReason
from receiver.core.types import LanePriority, PauseCause, QueueLane, TaskState
from receiver.notify.messages.cause_words import CAUSE_WORDS
from receiver.store.tables.standing import COUNTED_MOST, GivenUp, Raised
from receiver.upkeep.doctor.findings import failure, ok, warning
from receiver.upkeep.doctor.work import STOPPED
from receiver.upkeep.need_words import (
    as_sentence,
    count_text,
    name_task,
    need_asked,
    need_callbacks,
    need_disk,
    need_given_up,
    need_rest,
    need_stopped,
    needs_of_batches,
    percent,
)


@pytest.mark.parametrize(
    ("part", "whole", "words"),
    [
        (0, 0, "0 %"),
        (0, 9, "0 %"),
        (9, 9, "100 %"),
        (31, 100, "31 %"),
        (1, 100_000, "0.1 %"),
        (99_999, 100_000, "99.9 %"),
        (635, 640, "99.2 %"),
        (1, 10, "10 %"),
        (1, 11, "9.1 %"),
        (9, 10, "90 %"),
    ],
)
def test_a_share_is_never_rounded_to_all_or_nothing(part: int, whole: int, words: str) -> None:
    assert percent(part, whole) == words


def test_counts_say_when_there_may_be_more() -> None:
    assert count_text(1, "notice") == "1 notice"
    assert count_text(1284, "notice") == "1,284 notices"
    assert count_text(COUNTED_MOST, "notice") == "10,000 or more notices"
    assert count_text(100, "task", 100) == "100 or more tasks"


def test_sentences_end_with_one_mark() -> None:
    assert as_sentence("slack answered 403") == "Slack answered 403."
    assert [as_sentence(it) for it in ("Why?", "so it is.", "cut…", "", "  ")] == ["Why?", "So it is.", "Cut…", "", ""]


def test_a_task_is_named_by_its_label_then_its_prompt_then_its_model() -> None:
    assert name_task(a_task(label="hero\u202e\n", prompt="a kite")) == "hero"
    assert name_task(a_task(prompt="a kite")) == "a kite"
    assert name_task(a_task()) == "outpaint"
    assert len(name_task(a_task(label="x" * 500))) == 48
    assert name_task(a_task(model=None)) == "a task"


def test_an_error_that_nobody_knows_has_a_remedy_all_the_same() -> None:
    shown = need_given_up(GivenUp("slack", 1, None), ["slack"])
    assert shown.title == "1 notice to slack was given up"
    assert shown.text == "Fix the target. Then send it again."
    assert shown.link == ("/notices?state=dead&target=slack", "Look at it")
    assert len(need_given_up(GivenUp("slack", 2, "x" * 5000), ["slack"]).text) < 400


def test_one_notice_or_several_wait_for_a_target_that_rests() -> None:
    assert "1 notice waits and is tried again by itself;" in need_rest("a", 3, 1, 1).text
    assert "2 notices wait and are tried again by themselves;" in need_rest("a", 3, 1, 2).text


@pytest.mark.parametrize("why", [*map(QueueReason, STOPPED), QueueReason.BUDGET, QueueReason.PAUSED])
def test_whatever_stops_the_queue_says_what_to_do(why: QueueReason) -> None:
    shown = need_stopped(why, 3, None)
    assert shown.title[0].isupper()
    assert shown.text.startswith("3 tasks wait. ")
    assert shown.text.endswith(".")
    assert len(shown.text) > 30
    assert need_stopped(why, 0, None).link is None


def test_the_words_of_a_pause_are_said_before_how_to_end_it() -> None:
    shown = need_stopped(QueueReason.PAUSED, 1, None, "this database was served elsewhere")
    assert shown.text == (
        "This database was served elsewhere. 1 task waits. `receiver queue resume` lets the queue go on."
    )


def test_a_paused_batch_says_who_paused_it() -> None:
    lane = QueueLane(id=4, name="rows", batch=True, priority=LanePriority.LOW, created_at=1, paused_at=2)
    [shown] = needs_of_batches([lane])
    assert shown.text == "A person paused it. `receiver batch resume rows` lets it go on."
    used = QueueLane(
        id=4, name="rows", batch=True, priority=LanePriority.LOW, created_at=1, paused_at=2, paused_by=PauseCause.BUDGET
    )
    assert "`receiver costs raise rows AMOUNT` lets it go on." in needs_of_batches([used])[0].text


def test_the_sweeps_share_is_said_where_there_is_one() -> None:
    assert need_callbacks(69, 31).text.startswith("The sweep found 31 % of today’s tasks. ")
    assert need_callbacks(0, 0).text.startswith("Run `receiver doctor`")


def test_a_disk_with_room_needs_nobody() -> None:
    assert need_disk(ok("12 GiB free")) is None
    for found, title, mark in (
        (warning("1 GiB free", "free some space"), "The disk is nearly full", "warn"),
        (failure("no room", "free some space"), "The disk is full", "bad"),
    ):
        shown = need_disk(found)
        assert shown is not None
        assert (shown.title, shown.mark) == (title, mark)
        assert shown.text.endswith("Free some space.")


@pytest.mark.parametrize("kind", sorted(CAUSE_WORDS))
def test_every_cause_of_attention_has_words(kind: str) -> None:
    task = a_task(TaskState.WAITING, label="hero")
    shown = need_asked(task, Raised(f"{kind}:{task.ref}", 1, "x" * 5000))
    assert "{" not in shown.title
    assert len(shown.text) <= 600
    assert shown.link == (f"/tasks/{task.ref}", "Open hero")


def test_a_cause_of_a_newer_version_has_words_too() -> None:
    task = a_task()
    assert need_asked(task, Raised(f"new-one:{task.ref}", 1, "Look.")).title == "needs you: look at it"
