"""When a task that a poll did not settle is polled again, when its place has run out, and when it is given up."""

from typing import Any

import pytest
from msgspec.structs import replace

from kit.fakes import DAY, HOUR, MINUTE, NOW, POLICY, SECOND, a_task, foreign
from receiver.core.decide import FOREVER
from receiver.core.hints import KeptHint, add_hint
from receiver.core.next_step import START_GRACE_MS, NextStep, PollNews, decide_next_step
from receiver.core.schedule import UNSURE_MOST
from receiver.core.types import Ending, PollResult, Task, TaskOrigin, TaskState

WITHIN = POLICY.confirm_within_ms
GAP = 2 * MINUTE  # the first gap between polls
SILENT = PollNews(NOW, PollResult.NOTHING, is_running=False)


def step(task: Task, now: int = NOW, news: PollNews = SILENT, **more: Any) -> NextStep:
    policy = replace(POLICY, **more.pop("policy", {}))
    return decide_next_step(task, news, policy, now, **{"first_ms": GAP, "jitter": 0.5, **more})


def after(task: Task, now: int = NOW, **more: Any) -> Task:
    found = step(task, now, **more).decision.task
    assert found is not None
    return found


def test_a_poll_is_about_the_task_and_was_possible_unless_it_says_otherwise() -> None:
    assert (SILENT.fits, SILENT.dropped, SILENT.barred) == (True, False, False)
    assert PollNews.__struct_config__.frozen
    assert NextStep.__struct_config__.frozen


# -- gaps --


def test_a_task_is_polled_at_gaps_that_grow_and_each_poll_is_counted() -> None:
    once = after(a_task(poll_step=0, lease_until=NOW))
    assert (once.poll_at, once.poll_step, once.lease_until) == (NOW + GAP, 1, None)
    twice = after(a_task(poll_step=1))
    assert (twice.poll_at, twice.poll_step) == (NOW + 192 * SECOND, 2)
    assert after(a_task(poll_step=99)).poll_at == NOW + POLICY.sweep_max_ms


@pytest.mark.parametrize(
    ("hint_step", "gap", "next_step"),
    [(0, 2 * SECOND, 1), (1, 5 * SECOND, 2), (2, 15 * SECOND, 3), (3, MINUTE, 4), (4, GAP, None), (None, GAP, None)],
)
def test_after_a_hint_a_task_is_polled_soon_and_then_as_ever(
    hint_step: int | None, gap: int, next_step: int | None
) -> None:
    found = after(a_task(hint_step=hint_step))
    assert (found.poll_at, found.hint_step) == (NOW + gap, next_step)
    assert found.poll_step == (0 if next_step else 1)


def test_a_hint_of_a_task_without_an_id_has_its_time_too() -> None:
    assert after(a_task(task_id=None, hint_step=0)).poll_at == NOW + 2 * SECOND


@pytest.mark.parametrize(
    ("task", "at"),
    [
        (a_task(hint_until=NOW + SECOND, hint=foreign(Ending.FAILED)), NOW + SECOND),
        (a_task(place_until=NOW + SECOND), NOW + SECOND),
        (a_task(place_until=NOW), NOW + GAP),
        (a_task(submitted_at=NOW - DAY + SECOND), NOW + SECOND),
    ],
)
def test_a_task_is_looked_at_when_something_about_it_ends(task: Task, at: int) -> None:
    assert after(task).poll_at == at


# -- what cannot be polled --


@pytest.mark.parametrize(
    "task", [a_task(task_id=None), a_task(task_id=None, hint_step=4), a_task(task_id=None, poll_step=3)]
)
def test_a_task_without_an_id_is_looked_at_ten_minutes_after_the_start(task: Task) -> None:
    assert START_GRACE_MS == 10 * MINUTE
    for started_at in (NOW, NOW + HOUR):
        found = after(task, policy={"started_at": started_at})
        assert found.poll_at == started_at + START_GRACE_MS
        assert found.poll_step == task.poll_step, "it was not polled"


def test_without_a_key_nothing_is_polled() -> None:
    assert after(a_task(), policy={"can_poll": False}).poll_at == NOW + START_GRACE_MS
    named = a_task(task_id=None, candidates=("a",))
    assert after(named, policy={"can_poll": False}).poll_at == NOW + START_GRACE_MS
    assert after(named).poll_at == NOW + GAP


def test_if_nothing_is_to_come_the_task_is_looked_at_after_the_longest_gap() -> None:
    old = a_task(task_id=None, submitted_at=NOW - 2 * DAY, place_until=None)
    found = after(old, policy={"started_at": NOW - DAY}, trusted=False)
    assert (found.state, found.poll_at) == (TaskState.WAITING, NOW + POLICY.sweep_max_ms)


@pytest.mark.parametrize(
    ("submitted_at", "started_at", "state"),
    [
        (NOW - DAY, NOW - START_GRACE_MS, TaskState.LOST),
        (NOW - DAY + 1, NOW - START_GRACE_MS, TaskState.WAITING),
        (NOW - DAY, NOW - START_GRACE_MS + 1, TaskState.WAITING),
    ],
)
def test_what_cannot_be_polled_is_lost_at_its_deadline_ten_minutes_after_the_start_at_the_earliest(
    submitted_at: int, started_at: int, state: TaskState
) -> None:
    task = a_task(task_id=None, submitted_at=submitted_at)
    assert after(task, policy={"started_at": started_at}).state is state


def test_a_lost_task_is_polled_only_while_a_hint_asks_for_it() -> None:
    assert after(a_task(TaskState.LOST)).poll_at is None
    assert after(a_task(TaskState.LOST, hint_step=0)).poll_at == NOW + 2 * SECOND
    assert after(a_task(TaskState.LOST, hint_step=4)).poll_at is None
    waits = a_task(TaskState.LOST, hint_until=NOW + HOUR // 4, hint_step=4, submitted_at=NOW - 2 * DAY)
    assert after(waits, policy={"confirm_within_ms": HOUR}).poll_at == NOW + GAP


# -- places --


@pytest.mark.parametrize(
    ("place_until", "run_out"),
    [
        (NOW - 1, True),
        (NOW, True),
        (NOW + 1, False),
        (NOW + UNSURE_MOST, False),
        (NOW + UNSURE_MOST + 1, True),  # set before the clock was set back
        (FOREVER - 1, True),
        (FOREVER, False),
        (None, False),
    ],
)
def test_when_the_place_of_an_unsure_task_has_run_out_a_person_is_asked_once(
    place_until: int | None, run_out: bool
) -> None:
    task = a_task(task_id=None, unsure=True, place_until=place_until)
    found = step(task)
    assert found.ask == ("unsure" if run_out else None)
    assert found.decision.task is not None
    assert found.decision.task.place_until == (None if run_out else place_until)
    assert step(found.decision.task).ask is None
    for other in (replace(task, unsure=False), replace(task, origin=TaskOrigin.MINTED)):
        assert step(other).ask is None
        assert after(other).place_until == place_until


# -- hints that nothing confirmed --


@pytest.mark.parametrize(("now", "state"), [(NOW, TaskState.WAITING), (NOW - 1, TaskState.FAILED)])
def test_a_time_to_confirm_that_is_longer_than_it_can_be_was_set_before_the_clock_was_set_back(
    now: int, state: TaskState
) -> None:
    hinted = add_hint(a_task(), foreign(Ending.FAILED), POLICY, NOW)
    assert hinted.hint_until == NOW + WITHIN
    assert after(hinted, now).state is state


def test_a_settled_task_says_whether_other_callbacks_report_another_end() -> None:
    hinted = add_hint(a_task(), foreign(Ending.FAILED), POLICY, NOW)
    for kept, disputed in (((), False), ((KeptHint(NOW, foreign(Ending.COMPLETED)),), True)):
        [notice] = step(hinted, NOW + WITHIN, kept=kept).decision.notices
        assert ("other callbacks report another end" in (notice.report.unconfirmed or "")) is disputed
        assert (hinted.ref in (notice.report.unconfirmed or "")) is disputed
