"""What happens to a task that a poll did not settle: settled unconfirmed, lost, a person asked, or polled again."""

from typing import Any

import pytest
from msgspec.structs import replace

from kit.fakes import DAY, HOUR, MINUTE, NOW, POLICY, SECOND, a_task, foreign, says
from receiver.core.decide import FOREVER, mark_lost
from receiver.core.hints import DENIED_MOST, add_hint, deny_id
from receiver.core.next_step import START_GRACE_MS, NextStep, PollNews, decide_next_step
from receiver.core.types import ConfirmMode, Ending, Outcome, OutcomeSource, PollResult, Task, TaskState

R = PollResult
WITHIN = POLICY.confirm_within_ms
LATE = NOW + DAY
BARE = says(Ending.COMPLETED, images=())


def news(result: PollResult | None, at: int = NOW, **more: Any) -> PollNews:
    return PollNews(**{"asked_at": at, "result": result, "is_running": False, **more})


RUNNING = {"is_running": True}


def step(task: Task, said: PollNews, now: int = NOW, **more: Any) -> NextStep:
    policy = replace(POLICY, **more.pop("policy", {}))
    return decide_next_step(task, said, policy, now, **{"first_ms": 2 * MINUTE, "jitter": 0.5, **more})


def after(task: Task, said: PollNews, now: int = NOW, **more: Any) -> Task:
    found = step(task, said, now, **more).decision.task
    assert found is not None
    return found


def hinted(outcome: Outcome | None, **more: Any) -> Task:
    return add_hint(a_task(**more), outcome, POLICY, NOW)


# -- an end that nothing confirmed --


@pytest.mark.parametrize("result", [None, R.UNKNOWN, R.NOTHING, R.UNREADABLE, R.UNAUTHORIZED])
def test_an_end_settles_when_its_time_is_over_and_not_before(result: PollResult | None) -> None:
    task = hinted(foreign(Ending.COMPLETED))
    assert after(task, news(result), NOW + WITHIN - 1).state is TaskState.WAITING
    done = step(task, news(result), NOW + WITHIN).decision
    assert done.task is not None
    assert (done.task.state, done.task.confirmed, done.task.settled_by) == (
        TaskState.COMPLETED,
        False,
        OutcomeSource.CALLBACK,
    )
    assert done.notices[0].report.unconfirmed


def test_a_doubted_end_does_not_settle_and_nobody_is_asked_again() -> None:
    for now in (NOW + WITHIN, NOW + HOUR):
        found = step(hinted(BARE), news(R.UNKNOWN), now)
        assert (found.ask, found.decision.task and found.decision.task.state) == (None, TaskState.WAITING)


def test_about_a_body_that_nobody_could_read_a_person_is_asked_once_unless_the_task_runs() -> None:
    task = hinted(None)
    assert step(task, news(R.NOTHING), NOW + WITHIN - 1).ask is None
    asked = step(task, news(R.NOTHING), NOW + WITHIN)
    assert asked.ask == "unread"
    assert asked.decision.task is not None
    assert step(asked.decision.task, news(R.NOTHING), NOW + 2 * WITHIN).ask is None
    runs = after(task, news(R.OUTCOME, **RUNNING))
    assert (runs.hint_until, step(runs, news(R.NOTHING), NOW + WITHIN).ask) == (None, None)


def test_a_poll_that_says_running_puts_the_end_off_and_is_remembered() -> None:
    task = after(hinted(foreign(Ending.COMPLETED)), news(R.OUTCOME, NOW + 5, **RUNNING), NOW + WITHIN)
    assert (task.state, task.hint_until, task.refuted_at) == (TaskState.WAITING, NOW + 2 * WITHIN, NOW + 5)


def test_a_reply_about_another_task_puts_nothing_off() -> None:
    done = step(hinted(foreign(Ending.COMPLETED)), news(R.OUTCOME, fits=False), NOW + WITHIN).decision.task
    assert done is not None
    assert done.state is TaskState.COMPLETED


def test_with_confirm_always_a_person_is_asked_and_the_place_is_free() -> None:
    found = step(
        hinted(foreign(Ending.COMPLETED)), news(R.UNKNOWN), NOW + WITHIN, policy={"confirm": ConfirmMode.ALWAYS}
    )
    assert found.ask == "unconfirmed"
    assert found.decision.task is not None
    assert (found.decision.task.place_until, found.decision.task.hint_until) == (None, None)


def test_an_id_that_was_denied_does_not_become_the_tasks() -> None:
    task = deny_id(hinted(says(Ending.COMPLETED, "fake"), task_id=None), "fake")
    assert after(task, news(R.UNKNOWN), NOW + WITHIN).task_id is None
    stands = hinted(says(Ending.COMPLETED, "true"), task_id=None)
    assert after(stands, news(R.NOTHING), NOW + WITHIN).task_id == "true"


# -- the deadline --


@pytest.mark.parametrize(
    ("result", "more", "lost"),
    [
        (R.OUTCOME, RUNNING, True),
        (R.OUTCOME, {}, True),  # an end that cannot be believed
        (R.UNKNOWN, {}, True),
        (R.UNREADABLE, {}, True),
        (R.NOTHING, {}, False),
        (R.BUSY, {}, False),
        (R.UNAUTHORIZED, {}, False),
        (None, {"barred": True}, False),
    ],
)
def test_answers_past_the_deadline_end_the_wait_and_errors_do_not(
    result: PollResult | None, more: dict[str, bool], lost: bool
) -> None:
    found = after(a_task(), news(result, LATE, **more), LATE)
    assert (found.state is TaskState.LOST) is lost
    early = after(a_task(), news(result, LATE - 1, **more), LATE)
    assert early.state is TaskState.WAITING, "it was asked before"


def test_a_doubted_end_does_not_put_off_the_deadline_and_a_readable_one_does() -> None:
    for outcome, state in ((BARE, TaskState.LOST), (None, TaskState.LOST), (foreign(Ending.FAILED), TaskState.WAITING)):
        task = add_hint(a_task(), outcome, POLICY, LATE - MINUTE)
        assert after(task, news(R.UNKNOWN, LATE), LATE).state is state


def test_other_ids_are_asked_before_a_task_is_lost() -> None:
    task = a_task(task_id=None, candidates=("a",))
    found = after(task, news(R.UNKNOWN, LATE, dropped=True), LATE)
    assert (found.state, found.poll_at) == (TaskState.WAITING, LATE)
    assert after(replace(task, candidates=()), news(R.UNKNOWN, LATE, dropped=True), LATE).state is TaskState.LOST


def test_a_reply_about_another_task_ends_the_wait_only_as_for_a_task_that_cannot_be_polled() -> None:
    misfit = news(R.OUTCOME, LATE, fits=False)
    just_started = {"policy": {"started_at": LATE}}
    assert after(a_task(), misfit, LATE, **just_started).state is TaskState.WAITING
    assert after(a_task(), misfit, LATE + START_GRACE_MS, **just_started).state is TaskState.LOST


def test_a_clock_that_leapt_loses_nothing() -> None:
    assert after(a_task(), news(R.UNKNOWN, LATE), LATE, trusted=False).state is TaskState.WAITING
    task = hinted(foreign(Ending.FAILED))
    assert after(task, news(R.UNKNOWN), NOW + WITHIN, trusted=False).state is TaskState.WAITING
    climbed = replace(task, hint_step=None)
    assert after(climbed, news(R.UNKNOWN), NOW + WITHIN, trusted=False).state is TaskState.FAILED


# -- the place --


def test_a_task_that_runs_takes_its_place_back_but_not_one_of_another_or_an_unsure_one() -> None:
    said = news(R.OUTCOME, **RUNNING)
    freed = hinted(BARE)
    assert freed.place_until is None
    assert after(freed, said).place_until == FOREVER
    assert after(replace(freed, unsure=True), said).place_until is None
    lost = mark_lost(freed, POLICY, NOW).task
    assert lost is not None
    assert after(lost, said).place_until is None


# -- the next poll --


def test_the_next_candidate_is_polled_at_once_when_one_was_denied_until_too_many_were() -> None:
    task = hinted(says(Ending.RUNNING, "a"), task_id=None)
    assert after(task, news(R.UNKNOWN, dropped=True), NOW + SECOND).poll_at == NOW + SECOND
    assert after(task, news(R.UNKNOWN), NOW + SECOND).poll_at == NOW + 3 * SECOND
    tired = replace(task, denied=tuple(map(str, range(DENIED_MOST))))
    assert after(tired, news(R.UNKNOWN, dropped=True), NOW + SECOND).poll_at == NOW + 3 * SECOND


def test_several_candidates_share_the_gaps_so_that_each_is_polled_as_often_as_one_alone() -> None:
    task = hinted(says(Ending.RUNNING, "a"), task_id=None)
    two = add_hint(task, says(Ending.RUNNING, "b"), POLICY, NOW)
    assert [after(it, news(R.NOTHING)).poll_at for it in (task, two)] == [NOW + 2 * SECOND, NOW + SECOND]
    denied = deny_id(replace(two, task_id="job-1"), "job-1")
    third = after(replace(denied, hint_step=1), news(R.NOTHING)).poll_at
    assert third == NOW + 5 * SECOND // 3
