"""What is said of a task from which others go on: of its completion, its loss, and of an end that is certain later."""

from typing import Any

import pytest
from msgspec.structs import replace

from kit.chains import pictures
from kit.fakes import HOUR, MAIL, NOW, POLICY, SECOND, SLACK, a_task, says
from receiver.core.decide import decide, mark_lost, pick_notices, settle_task
from receiver.core.types import (
    Decision,
    Ending,
    MessageStyle,
    NoticeEvent,
    OutcomeSource,
    Policy,
    Report,
    Task,
    TaskState,
    Usage,
    Verdict,
)

BOTH = replace(POLICY, targets=(SLACK, MAIL))


def settled(task: Task, ending: Ending = Ending.COMPLETED, policy: Policy = BOTH, **more: Any) -> Decision:
    return settle_task(task, says(ending), OutcomeSource.POLL, policy, NOW + HOUR, **more)


@pytest.mark.parametrize(
    ("more", "speaks", "picks"),
    [
        ({}, True, 0),
        ({"children": 1}, False, 0),
        ({"children": 2, "picks": 1}, True, 1),
        ({"children": 2, "picks": 2, "ping": False}, True, 2),
        ({"children": 2, "picks": 2, "quiet": True}, True, 2),
        ({"children": 1, "ping": True}, True, 0),
        ({"children": 1, "ping": True, "quiet": True}, True, 0),
        ({"ping": False}, False, 0),
        ({"quiet": True}, False, 0),
        ({"quiet": True, "ping": True}, True, 0),
    ],
)
def test_the_completion_of_a_step_is_said_if_somebody_must_or_wants_to_know(
    more: dict[str, Any], speaks: bool, picks: int
) -> None:
    done = settled(a_task(**more))
    assert [it.target for it in done.notices] == (["slack", "mail"] if speaks else [])
    assert {it.report.picks for it in done.notices} <= {picks}
    assert done.task is not None
    assert done.task.quiet is more.get("quiet", False), "only its notices are louder"


def test_a_failure_is_always_said_and_asks_for_no_pick() -> None:
    for task in (a_task(children=1), a_task(children=1, picks=1), a_task(ping=False)):
        done = settled(task, Ending.FAILED)
        assert [(it.event, it.report.picks) for it in done.notices] == [(NoticeEvent.FAILED, 0)] * 2
    assert settled(a_task(quiet=True, picks=1, children=1), Ending.FAILED).notices == ()


def test_an_end_that_is_not_certain_asks_for_no_pick() -> None:
    assert settled(a_task(children=1, picks=1), unconfirmed="nothing says so").notices == ()
    [told, _] = settled(a_task(), unconfirmed="nothing says so").notices
    assert (told.report.confirmed, told.report.unconfirmed) == (False, "nothing says so")


@pytest.mark.parametrize("picks", [0, 1])
def test_the_pick_is_asked_for_once_a_callback_makes_the_end_certain(picks: int) -> None:
    unsure = settled(a_task(children=1, picks=picks), unconfirmed="nothing says so").task
    assert unsure is not None
    again = decide(unsure, says(Ending.COMPLETED), OutcomeSource.POLL, BOTH, NOW + 2 * HOUR)
    assert again.verdict is Verdict.DUPLICATE
    assert again.task is not None
    assert again.task.confirmed
    assert again.images == (), "they are known"
    assert [(it.target, it.report.picks, it.report.confirmed) for it in again.notices] == (
        [("slack", 1, True), ("mail", 1, True)] if picks else []
    )


def test_the_notice_of_a_pick_says_all_that_the_completion_did() -> None:
    task = a_task(children=1, picks=1, label="make", prompt="a house", quiet=True, submitted_at=NOW)
    outcome = says(Ending.COMPLETED, usage=Usage(None, 1.0))
    done = settle_task(task, outcome, OutcomeSource.POLL, BOTH, NOW + HOUR)
    assert done.task is not None
    later = pick_notices(done.task, outcome.images, BOTH, NOW + 2 * HOUR)
    assert [it.report for it in later] == [it.report for it in done.notices]
    assert later[0].report == Report(
        event=NoticeEvent.COMPLETED,
        ref=task.ref,
        task_id="job-1",
        label="make",
        model=task.model,
        prompt="a house",
        images=outcome.images,
        duration_ms=HOUR,
        picks=1,
    )
    assert {it.created_at for it in later} == {NOW + 2 * HOUR}
    shows = replace(POLICY, targets=(replace(SLACK, style=MessageStyle.SLACK),), picture_wait_ms=7 * SECOND)
    [waits] = pick_notices(done.task, outcome.images, shows, NOW)
    assert waits.due_at == NOW + 7 * SECOND
    for other in (
        replace(done.task, picks=0),
        replace(done.task, confirmed=False),
        replace(done.task, state=TaskState.FAILED),
    ):
        assert pick_notices(other, pictures(), BOTH, NOW) == ()


def test_a_loss_says_how_many_wait_for_it() -> None:
    for children in (0, 3):
        lost = mark_lost(a_task(children=children), BOTH, NOW + HOUR)
        assert [it.report.waiting for it in lost.notices] == [children] * 2
        assert lost.task is not None
        assert lost.task.children == children
