"""Hints that came before the provider's answer to the submission, once that has named the task's id."""

import pytest
from msgspec.structs import replace

from kit.fakes import NOW, POLICY, SECOND, a_task, foreign, says
from receiver.core.hints import (
    KeptHint,
    add_hint,
    believable_hints,
    describe_hint,
    drop_candidate,
    forget_confirmed_hint,
)
from receiver.core.types import Ending, HintNote, Outcome, OutcomeSource, Task, TaskState

BARE = says(Ending.COMPLETED, images=())


def known(*outcomes: Outcome | None) -> Task:
    """A task that heard these while it was being submitted, once the answer has named `job-1`."""
    task = a_task(TaskState.SUBMITTING)
    for number, outcome in enumerate(outcomes):
        task = add_hint(task, outcome, POLICY, NOW + number * SECOND)
    return drop_candidate(replace(task, task_id="job-1"), "job-1")


@pytest.mark.parametrize("ending", [Ending.RUNNING, Ending.COMPLETED, Ending.FAILED])
def test_a_hint_with_the_id_that_the_answer_named_needs_no_poll(ending: Ending) -> None:
    task = forget_confirmed_hint(known(says(ending)))
    assert (task.hint, task.hint_note, task.hint_step, task.hint_until) == (None, None, None, None)


@pytest.mark.parametrize(
    "heard",
    [
        (says(Ending.COMPLETED, "job-2"),),
        (says(Ending.COMPLETED, None),),
        (foreign(Ending.COMPLETED),),
        (replace(foreign(Ending.COMPLETED), task_id="job-1"),),
        (BARE,),
        (None, says(Ending.RUNNING)),
        (says(Ending.COMPLETED, "job-1"), says(Ending.FAILED, "job-2")),
        (None,),
    ],
    ids=["another id", "no id", "a job", "another shape", "doubted", "unreadable", "a second id", "nothing readable"],
)
def test_any_other_hint_is_still_polled(heard: tuple[Outcome | None, ...]) -> None:
    task = known(*heard)
    assert forget_confirmed_hint(task) is task


def test_without_an_id_from_the_provider_a_hint_stays() -> None:
    task = add_hint(a_task(TaskState.SUBMITTING), says(Ending.RUNNING, None), POLICY, NOW)
    assert forget_confirmed_hint(task) is task


def test_only_stored_hints_of_this_submission_with_the_tasks_id_become_believable() -> None:
    task = a_task(task_id="job-1", submitted_at=NOW)
    good = KeptHint(NOW - 10 * SECOND, says(Ending.COMPLETED))  # it is stamped before the task counts as submitted
    others = [
        KeptHint(NOW - 10 * SECOND - 1, says(Ending.COMPLETED)),
        KeptHint(NOW, says(Ending.COMPLETED, "job-2")),
        KeptHint(NOW, says(Ending.COMPLETED, None)),
        KeptHint(NOW, BARE),
        KeptHint(NOW, replace(foreign(Ending.COMPLETED), task_id="job-1")),
    ]
    assert believable_hints(task, [*others, good]) == [good]
    assert believable_hints(replace(task, task_id=None), [good, others[2]]) == []


def test_a_strange_status_is_described() -> None:
    note = HintNote("archived", OutcomeSource.POLL, Ending.RUNNING, "receiver does not know this status")
    assert describe_hint(note) == (
        "The provider's answer to a poll said “archived”, but receiver does not know this status."
    )
