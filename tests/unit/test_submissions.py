"""What follows from an answer that does not say "taken": every result, with and without a callback before it."""

import pytest
from msgspec.structs import replace

from kit.fakes import MINUTE, NOW, SECOND, a_task
from receiver.core.submissions import (
    BUSY_TRIES_MOST,
    REFUSALS_MOST,
    TOO_MANY_TRIES_MOST,
    NextAction,
    RefusalScene,
    choose_action,
    count_busy,
    hold_for_person,
    is_refused,
    own_probe_at,
    pause_refused,
    step_aside,
    without_refusal,
)
from receiver.core.types import HoldReason, RefusalCause, SubmitAnswer, SubmitResult, Task, TaskError, TaskState

SENT, ANSWERED = NOW, NOW + SECOND
SCENE = RefusalScene(sent_at=SENT, taken_at=0, now=ANSWERED, breaker_open=False)
TASK = a_task(TaskState.SUBMITTING)
FORBIDDEN = SubmitAnswer(SubmitResult.UNAUTHORIZED, "403", error=TaskError(None, "Forbidden"), may_be_own=True)
MAYBE_BALANCE = replace(FORBIDDEN, cause=RefusalCause.BALANCE)
SHARED = {cause: replace(FORBIDDEN, cause=cause, may_be_own=False) for cause in (None, *RefusalCause)}
ACT = NextAction


def suspect(words: str = "Forbidden") -> Task:
    task = a_task(TaskState.QUEUED, error=TaskError(None, words), refused_at=SENT - 1)
    return replace(task, held_by=HoldReason.SUSPECT)


@pytest.mark.parametrize(
    ("result", "action"),
    [
        (SubmitResult.NOT_SENT, ACT.REQUEUE),
        (SubmitResult.BUSY, ACT.REQUEUE),
        (SubmitResult.REFUSED, ACT.FAIL),
        (SubmitResult.UNAUTHORIZED, ACT.PAUSE),
        (SubmitResult.UNCLEAR, ACT.UNSURE),
        (SubmitResult.TAKEN, ACT.UNSURE),  # without an id
    ],
)
def test_a_callback_that_came_before_makes_every_answer_unsure(result: SubmitResult, action: NextAction) -> None:
    answer = SubmitAnswer(result, "text")
    assert choose_action(TASK, answer, SCENE) is action
    assert choose_action(replace(TASK, called_at=NOW), answer, SCENE) is ACT.UNSURE


def test_a_task_that_is_busy_is_tried_eight_times_and_a_refused_one_six() -> None:
    assert (BUSY_TRIES_MOST, TOO_MANY_TRIES_MOST, REFUSALS_MOST) == (8, 20, 6)


@pytest.mark.parametrize("held", [*HoldReason, None])
def test_a_task_waits_with_a_refusal_if_it_is_a_suspect_or_paused_since_then(held: HoldReason | None) -> None:
    waits = held in (HoldReason.SUSPECT, HoldReason.PAUSE)
    assert is_refused(a_task(TaskState.QUEUED, held_by=held, refused_at=NOW)) is waits
    assert not is_refused(a_task(TaskState.QUEUED, held_by=held))


def test_a_scene_does_not_change_while_it_is_judged() -> None:
    with pytest.raises(AttributeError):
        SCENE.breaker_open = True  # type: ignore[misc]


def test_only_a_busy_provider_uses_up_tries() -> None:
    last = replace(TASK, tries=BUSY_TRIES_MOST - 1)
    assert choose_action(last, SubmitAnswer(SubmitResult.BUSY, ""), SCENE) is ACT.ASK
    assert (
        choose_action(replace(TASK, tries=BUSY_TRIES_MOST - 2), SubmitAnswer(SubmitResult.BUSY, ""), SCENE)
        is ACT.REQUEUE
    )
    assert choose_action(last, SubmitAnswer(SubmitResult.BUSY, "", too_many=True), SCENE) is ACT.REQUEUE
    often = replace(TASK, tries=TOO_MANY_TRIES_MOST - 1)
    assert choose_action(often, SubmitAnswer(SubmitResult.BUSY, "", too_many=True), SCENE) is ACT.ASK
    assert choose_action(last, SubmitAnswer(SubmitResult.BUSY, ""), replace_scene(alone=False)) is ACT.REQUEUE
    assert choose_action(last, SubmitAnswer(SubmitResult.NOT_SENT, ""), SCENE) is ACT.REQUEUE
    assert choose_action(last, SHARED[RefusalCause.KEY], SCENE) is ACT.PAUSE
    assert choose_action(last, FORBIDDEN, SCENE) is ACT.SUSPECT


@pytest.mark.parametrize(
    ("taken_at", "action"),
    [(0, ACT.SUSPECT), (SENT - 1, ACT.SUSPECT), (SENT, ACT.FAIL), (ANSWERED, ACT.FAIL), (ANSWERED + 1, ACT.SUSPECT)],
)
def test_a_task_sent_since_and_taken_shows_that_a_refusal_is_the_tasks_own(taken_at: int, action: NextAction) -> None:
    """One from the future was sent before the clock was set back, and shows nothing."""
    assert choose_action(TASK, FORBIDDEN, replace_scene(taken_at=taken_at)) is action


@pytest.mark.parametrize(
    ("answer", "first", "again"),
    [
        (FORBIDDEN, ACT.FAIL, ACT.FAIL),
        (MAYBE_BALANCE, ACT.ASIDE, ACT.FAIL),
        (SHARED[RefusalCause.PERMISSION], ACT.PAUSE, ACT.FAIL),
        (SHARED[RefusalCause.BALANCE], ACT.PAUSE, ACT.ASIDE),
        (SHARED[RefusalCause.KEY], ACT.PAUSE, ACT.ASIDE),
        (SHARED[None], ACT.PAUSE, ACT.ASIDE),
    ],
)
def test_what_speaks_of_all_tasks_needs_a_second_refusal_with_one_taken_in_between(
    answer: SubmitAnswer, first: NextAction, again: NextAction
) -> None:
    scene = replace_scene(taken_at=SENT)
    assert choose_action(TASK, answer, scene) is first
    before = replace(TASK, refused_at=SENT - MINUTE, refusals=1)
    assert choose_action(before, answer, scene) is again
    assert choose_action(before, answer, replace_scene(taken_at=SENT, breaker_open=True)) is ACT.PAUSE
    if again is ACT.ASIDE:
        assert choose_action(replace(before, refusals=REFUSALS_MOST - 1), answer, scene) is ACT.ASK


def test_a_second_refusal_in_the_same_words_or_a_third_in_any_is_shared() -> None:
    assert choose_action(TASK, FORBIDDEN, replace_scene(others=(suspect(),))) is ACT.PAUSE
    assert choose_action(TASK, FORBIDDEN, replace_scene(others=(suspect("other words"),))) is ACT.SUSPECT
    assert choose_action(TASK, FORBIDDEN, replace_scene(others=(suspect("other"), suspect("words")))) is ACT.PAUSE


def test_a_suspect_is_probed_a_few_times_and_then_comes_to_a_person() -> None:
    assert choose_action(replace(TASK, refusals=REFUSALS_MOST - 2), FORBIDDEN, SCENE) is ACT.SUSPECT
    assert choose_action(replace(TASK, refusals=REFUSALS_MOST - 1), FORBIDDEN, SCENE) is ACT.ASK


def test_who_steps_aside_keeps_the_words_and_uses_up_no_try() -> None:
    aside = step_aside(replace(TASK, tries=3, refusals=1), FORBIDDEN, SCENE, suspect=True)
    assert (aside.state, aside.held_by, aside.tries, aside.refusals) == (TaskState.QUEUED, HoldReason.SUSPECT, 3, 2)
    assert (aside.error, aside.refused_at, aside.due_at) == (FORBIDDEN.error, SENT, ANSWERED + 2 * MINUTE)
    soft = step_aside(TASK, MAYBE_BALANCE, SCENE, suspect=False)
    assert (soft.held_by, soft.refused_at) == (HoldReason.PAUSE, ANSWERED)
    paused = pause_refused(replace(TASK, tries=3), FORBIDDEN, NOW + MINUTE, ANSWERED)
    assert (paused.held_by, paused.tries, paused.refusals, paused.due_at) == (HoldReason.PAUSE, 3, 0, NOW + MINUTE)
    held = hold_for_person(aside, FORBIDDEN, SCENE)
    assert (held.state, held.held_by, held.due_at, held.refused_at) == (TaskState.QUEUED, HoldReason.PERSON, None, None)
    again = without_refusal(held)
    assert (again.error, again.refused_at, again.refusals) == (None, None, 0)


def replace_scene(**changes: object) -> RefusalScene:
    return replace(SCENE, **changes)


def test_a_task_that_is_refused_like_all_others_goes_out_a_little_after_the_probe() -> None:
    """Another task makes the probe, if there is one."""
    gaps = [(own_probe_at(refusals, NOW) - NOW) // SECOND for refusals in (0, 1, 2, 9)]
    assert gaps == [61, 121, 241, 901]
    assert own_probe_at(0, NOW) == NOW + 61_000


def test_that_the_provider_is_busy_counts_against_a_task_only_if_it_took_another_just_before() -> None:
    tried = replace(TASK, tries=2)
    assert (count_busy(tried, replace_scene(alone=True)), count_busy(tried, replace_scene(alone=False))) == (3, 2)
    busy = SubmitAnswer(SubmitResult.BUSY, "429")
    assert hold_for_person(tried, busy, SCENE).tries == 3
    assert hold_for_person(tried, FORBIDDEN, SCENE).tries == 2
