"""What is believed, and what it does: every state × outcome × source × trust against tables written from the design."""

from collections.abc import Callable
from itertools import product

import pytest
from msgspec.structs import replace

from kit.fakes import DAY, MAIL, MINUTE, NOW, PICTURES, POLICY, SECOND, SLACK, a_task, foreign, says
from receiver.core.decide import FOREVER, decide, is_believed, mark_lost, matches_task
from receiver.core.schedule import UNSURE_MOST
from receiver.core.types import (
    ConfirmMode,
    Ending,
    HintNote,
    Image,
    Outcome,
    OutcomeShape,
    OutcomeSource,
    Task,
    TaskOrigin,
    TaskState,
    Verdict,
)

E, S, V = Ending, TaskState, Verdict
BOTH = replace(POLICY, targets=(SLACK, MAIL))
ALWAYS = replace(BOTH, confirm=ConfirmMode.ALWAYS)

# What each kind of outcome is, given the provider's id (or none).
KINDS: dict[str, Callable[[str | None], Outcome | None]] = {
    "running": lambda task_id: says(E.RUNNING, task_id, progress=0.5),
    "completed": lambda task_id: says(E.COMPLETED, task_id),
    "bare": lambda task_id: says(E.COMPLETED, task_id, images=()),
    "failed": lambda task_id: says(E.FAILED, task_id),
    "cancelled": lambda task_id: says(E.CANCELLED, task_id),
    "nothing": lambda task_id: None,
}

# Design §5 and §6, the table of verdicts: what a believed outcome does to an open task, and any to a final one.
ENDS = {"completed": S.COMPLETED, "failed": S.FAILED, "cancelled": S.CANCELLED}
BELIEVED = {
    "running": V.ACCEPTED,
    "completed": V.ACCEPTED,
    "bare": V.HINT,
    "failed": V.ACCEPTED,
    "cancelled": V.ACCEPTED,
    "nothing": V.UNPARSED,
}
UNFINISHED = {"running": V.LATE, "bare": V.LATE, "nothing": V.UNPARSED}
FINAL = {
    S.COMPLETED: {**UNFINISHED, "completed": V.DUPLICATE, "failed": V.CONFLICT, "cancelled": V.CONFLICT},
    S.FAILED: {**UNFINISHED, "completed": V.CONFLICT, "failed": V.DUPLICATE, "cancelled": V.CONFLICT},
    S.CANCELLED: {**UNFINISHED, "completed": V.CONFLICT, "failed": V.CONFLICT, "cancelled": V.DUPLICATE},
}
OPEN = (S.QUEUED, S.SUBMITTING, S.WAITING, S.LOST)

# Design §6 item 3: (the task's id, the lease's end, the outcome's id, its shape, believed of a callback).
LIVE, EXPIRED = NOW + MINUTE, NOW
TRUST = {
    "its own id": ("job-1", None, "job-1", OutcomeShape.TASK, set(OPEN)),
    "another id": ("job-1", None, "job-2", OutcomeShape.TASK, set()),
    "no id in the body": ("job-1", None, None, OutcomeShape.TASK, set()),
    "no id known, nobody asks": (None, None, "job-1", OutcomeShape.TASK, set()),
    "no id known, lease live": (None, LIVE, "job-1", OutcomeShape.TASK, set()),
    "no id known, lease expired": (None, EXPIRED, "job-1", OutcomeShape.TASK, set()),
    "no id anywhere, lease live": (None, LIVE, None, OutcomeShape.TASK, set()),
    "another id, lease live": ("job-1", LIVE, "job-2", OutcomeShape.TASK, set()),
    "a job, lease live": (None, LIVE, "job-1", OutcomeShape.JOB, set()),
    "a job with its id": ("job-1", None, "job-1", OutcomeShape.JOB, set()),
    "an envelope with its id": ("job-1", None, "job-1", OutcomeShape.WRAPPED, set()),
    "something with its id": ("job-1", None, "job-1", OutcomeShape.OTHER, set()),
}


def settle_one(source: OutcomeSource, state: TaskState, kind: str, trust: str, confirm: ConfirmMode) -> None:
    """One cell of the whole table: what the design says, and what `decide` does."""
    task_id, lease, said_id, shape, trusted = TRUST[trust]
    lease = lease if state is S.SUBMITTING else None
    task = a_task(state, task_id=task_id, lease_until=lease)
    if state is S.COMPLETED:
        task = replace(task, pictures=decide(a_task(), says(E.COMPLETED), OutcomeSource.POLL, BOTH, NOW).task.pictures)  # type: ignore[union-attr]
    outcome = KINDS[kind](said_id)
    outcome = replace(outcome, shape=shape) if outcome else None
    decision = decide(task, outcome, source, replace(BOTH, confirm=confirm), NOW)

    if state in FINAL:
        assert decision.verdict is FINAL[state][kind]
        assert (decision.task, decision.images, decision.notices) == (None, (), ())
        return
    trust_it = source is not OutcomeSource.CALLBACK or (confirm is ConfirmMode.MISMATCH and state in trusted)
    verdict = BELIEVED[kind] if trust_it or kind == "nothing" else V.HINT
    if source is OutcomeSource.PERSON and kind == "bare":
        verdict = V.ACCEPTED  # a person may believe an end that nobody else would
    if state is S.LOST and trust_it and kind == "running":
        verdict = V.LATE
    assert decision.verdict is verdict
    after = decision.task or task
    if verdict is V.ACCEPTED and kind in {*ENDS, "bare"}:
        assert (after.state, after.settled_by, after.settled_at, after.confirmed) == (
            ENDS.get(kind, S.COMPLETED),
            source,
            NOW,
            True,
        )
        assert decision.images == (PICTURES if kind == "completed" else ())
        event = "completed" if kind in ("completed", "bare") else "failed"
        assert [(it.target, it.event.value) for it in decision.notices] == [("slack", event), ("mail", event)]
        waits = (after.due_at, after.lease_until, after.place_until, after.poll_at, after.hint, after.hint_until)
        assert waits == (None,) * 6, "there is nothing left to do about a settled task"
        return
    assert (decision.images, decision.notices, after.settled_at) == ((), (), None)
    called = state is S.QUEUED and source is OutcomeSource.CALLBACK
    assert after.state is (S.WAITING if called else state), "somebody took a queued task whose token was called"
    if verdict in (V.HINT, V.UNPARSED):
        assert (after.poll_at, after.hint_step) == (NOW, 0), "a hint is polled at once"
        ends = kind in ENDS or (kind == "nothing" and state is not S.LOST)  # what nobody could read may be an end
        assert after.hint_until == (NOW + POLICY.confirm_within_ms if ends else None)
        assert after.hint == outcome


@pytest.mark.parametrize("confirm", ConfirmMode)
@pytest.mark.parametrize("trust", TRUST)
@pytest.mark.parametrize("source", OutcomeSource)
def test_every_cell_of_the_table(source: OutcomeSource, trust: str, confirm: ConfirmMode) -> None:
    for state, kind in product(TaskState, KINDS):
        settle_one(source, state, kind, trust, confirm)


# -- the end --


def test_the_same_pictures_under_a_new_signature_are_a_duplicate() -> None:
    """Links are signed anew each time: URLs are compared without their query, in any order."""
    ended = decide(a_task(), says(E.COMPLETED), OutcomeSource.CALLBACK, BOTH, NOW).task
    assert ended is not None
    signed_anew = tuple(replace(it, url=it.url.replace("sig=a", "sig=b")) for it in reversed(PICTURES))
    again = decide(ended, says(E.COMPLETED, images=signed_anew), OutcomeSource.CALLBACK, BOTH, NOW)
    assert (again.verdict, again.task) == (V.DUPLICATE, None)


@pytest.mark.parametrize("others", [PICTURES[:1], (*PICTURES, Image(2, "https://pics.example/2.png"))])
def test_other_pictures_are_a_conflict_and_change_nothing(others: tuple[Image, ...]) -> None:
    ended = decide(a_task(), says(E.COMPLETED), OutcomeSource.CALLBACK, BOTH, NOW).task
    assert ended is not None
    again = decide(ended, says(E.COMPLETED, images=others), OutcomeSource.POLL, BOTH, NOW)
    assert (again.verdict, again.task, again.images, again.notices) == (V.CONFLICT, None, (), ())


def test_a_late_end_settles_a_lost_task_and_tells_of_it() -> None:
    given_up = mark_lost(a_task(), BOTH, NOW)
    assert [it.event.value for it in given_up.notices] == ["lost", "lost"]
    assert given_up.task is not None
    late = decide(given_up.task, says(E.COMPLETED), OutcomeSource.CALLBACK, BOTH, NOW + DAY)
    assert (late.verdict, [it.event.value for it in late.notices]) == (V.ACCEPTED, ["completed", "completed"])


def test_a_report_is_frozen_with_all_that_a_ping_says() -> None:
    task = a_task(prompt="hills", label="hero", submitted_at=NOW - 90 * SECOND)
    [notice, _] = decide(task, says(E.COMPLETED), OutcomeSource.CALLBACK, BOTH, NOW).notices
    said = notice.report
    assert (said.ref, said.task_id, said.prompt, said.label) == (task.ref, "job-1", "hills", "hero")
    assert (said.images, said.duration_ms, said.confirmed) == (PICTURES, 90_000, True)


@pytest.mark.parametrize("origin", [TaskOrigin.MINTED, TaskOrigin.ADOPTED])
def test_how_long_it_took_is_not_told_of_what_another_submitted(origin: TaskOrigin) -> None:
    """We know when its first callback came, and not when it was sent."""
    decision = decide(a_task(origin=origin), says(Ending.COMPLETED), OutcomeSource.CALLBACK, BOTH, NOW)
    assert decision.notices[0].report.duration_ms is None


def test_a_failure_without_a_reason_still_says_something_and_raw_stays_out_of_the_ping() -> None:
    silent = decide(a_task(), says(E.CANCELLED), OutcomeSource.CALLBACK, BOTH, NOW)
    assert silent.task is not None
    assert silent.task.error is not None
    assert "cancelled" in silent.task.error.message
    failed = decide(a_task(), says(E.FAILED), OutcomeSource.CALLBACK, BOTH, NOW)
    assert failed.task is not None
    assert failed.task.error is not None
    assert failed.task.error.raw is not None
    assert failed.notices[0].report.error == replace(failed.task.error, raw=None)


# -- progress --


def moved(task: Task, outcome: Outcome) -> tuple[Verdict, Task]:
    decision = decide(task, outcome, OutcomeSource.CALLBACK, BOTH, NOW)
    return decision.verdict, decision.task or task


def test_progress_moves_forward_only() -> None:
    verdict, half = moved(a_task(), says(E.RUNNING, progress=0.5))
    assert (verdict, half.progress) == (V.ACCEPTED, 0.5)
    for stale in (0.5, 0.2, None):
        verdict, after = moved(half, says(E.RUNNING, progress=stale))
        assert (verdict, after.progress) == (V.DUPLICATE, 0.5)


@pytest.mark.parametrize("ending", [E.RUNNING, E.COMPLETED])
def test_an_early_callback_is_a_hint_until_the_answer_names_the_id(ending: Ending) -> None:
    """Whoever knows the URL can send one with an id of his own."""
    verdict, task = moved(a_task(S.SUBMITTING), says(ending, "job-7"))
    assert (verdict, task.state, task.task_id, task.called_at) == (V.HINT, S.SUBMITTING, None, NOW)
    assert task.candidates == ("job-7",)


def test_a_queued_task_that_is_called_is_taken_and_unsure() -> None:
    """Nobody but the provider has the token: whatever we believed, a request did arrive."""
    verdict, task = moved(a_task(S.QUEUED), foreign(E.RUNNING))
    assert (verdict, task.state, task.unsure, task.due_at) == (V.HINT, S.WAITING, True, None)


# -- hints --


def test_the_ladder_starts_once_however_many_hints_come() -> None:
    first = decide(a_task(), foreign(E.RUNNING), OutcomeSource.CALLBACK, BOTH, NOW).task
    assert first is not None
    climbed = replace(first, hint_step=3, poll_at=NOW + 15 * SECOND)
    for outcome in (foreign(E.RUNNING), foreign(E.RUNNING, progress=0.5)):
        again = decide(climbed, outcome, OutcomeSource.CALLBACK, BOTH, NOW + SECOND).task
        assert again is not None
        assert (again.hint_step, again.poll_at) == (3, NOW + 15 * SECOND)


@pytest.mark.parametrize("outcome", [None, says(E.COMPLETED, images=()), foreign(E.COMPLETED)])
def test_what_says_more_about_the_end_starts_the_ladder_again_once(outcome: Outcome | None) -> None:
    first = decide(a_task(), foreign(E.RUNNING), OutcomeSource.CALLBACK, BOTH, NOW).task
    assert first is not None
    climbed = replace(first, hint_step=3, poll_at=NOW + 15 * SECOND)
    again = decide(climbed, outcome, OutcomeSource.CALLBACK, BOTH, NOW + SECOND).task
    assert again is not None
    assert (again.hint_step, again.poll_at) == (0, NOW + SECOND)
    climbed = replace(again, hint_step=3, poll_at=NOW + 15 * SECOND)
    repeated = decide(climbed, outcome, OutcomeSource.CALLBACK, BOTH, NOW + SECOND).task
    assert repeated is not None
    assert (repeated.hint_step, repeated.poll_at) == (3, NOW + 15 * SECOND)


def test_the_first_hint_of_an_end_starts_the_ladder_anew_and_its_time() -> None:
    first = decide(a_task(), foreign(E.RUNNING), OutcomeSource.CALLBACK, BOTH, NOW).task
    assert first is not None
    climbed = replace(first, hint_step=None, poll_at=NOW + 5 * MINUTE)
    ended = decide(climbed, foreign(E.COMPLETED), OutcomeSource.CALLBACK, BOTH, NOW + MINUTE).task
    assert ended is not None
    assert (ended.hint_step, ended.poll_at) == (0, NOW + MINUTE)
    assert ended.hint_until == NOW + MINUTE + BOTH.confirm_within_ms
    again = decide(ended, foreign(E.COMPLETED), OutcomeSource.CALLBACK, BOTH, NOW + 9 * MINUTE).task
    assert again is not None
    assert again.hint_until == ended.hint_until, "repeating a hint does not put off its end"


def test_a_hint_of_an_end_is_not_replaced_by_one_of_progress() -> None:
    ended = decide(a_task(), foreign(E.COMPLETED), OutcomeSource.CALLBACK, BOTH, NOW).task
    assert ended is not None
    for outcome in (foreign(E.RUNNING), None):
        after = decide(ended, outcome, OutcomeSource.CALLBACK, BOTH, NOW).task
        assert after is not None
        assert after.hint == foreign(E.COMPLETED)


def test_the_id_of_an_earlier_hint_stays_a_candidate() -> None:
    """It may be the only id there is to ask by."""
    first = decide(a_task(task_id=None), says(E.RUNNING, "job-9"), OutcomeSource.CALLBACK, BOTH, NOW).task
    assert first is not None
    second = decide(first, foreign(E.COMPLETED), OutcomeSource.CALLBACK, BOTH, NOW).task
    assert second is not None
    assert second.hint is not None
    assert (second.candidates, second.hint.ending) == (("job-9",), E.COMPLETED)
    assert second.task_id is None, "a hint teaches nothing yet"


def test_without_a_key_a_hint_is_looked_at_when_its_time_is_over() -> None:
    blind = replace(BOTH, can_poll=False)
    task = decide(a_task(poll_at=None), foreign(E.FAILED), OutcomeSource.CALLBACK, blind, NOW).task
    assert task is not None
    assert task.poll_at == NOW + blind.confirm_within_ms


# -- fits --

TEN = 10 * MINUTE


@pytest.mark.parametrize(
    ("task", "outcome", "about_it"),
    [
        (a_task(), says(E.RUNNING, model="another"), False),
        (a_task(model=None), says(E.RUNNING, model="another"), True),
        (a_task(), says(E.RUNNING), True),
        (a_task(), says(E.RUNNING, created_at=NOW + TEN), True),
        (a_task(), says(E.RUNNING, created_at=NOW + TEN + 1), False),
        (a_task(), says(E.RUNNING, created_at=NOW - TEN), True),
        (a_task(), says(E.RUNNING, created_at=NOW - TEN - 1), False),
        # The provider's clock is an hour ahead of ours: its own earlier word is what counts.
        (a_task(provider_created_at=NOW + 6 * TEN), says(E.RUNNING, created_at=NOW + 6 * TEN), True),
        (a_task(provider_created_at=NOW + 6 * TEN), says(E.RUNNING, created_at=NOW), False),
    ],
)
def test_a_reply_fits_by_its_model_and_time(task: Task, outcome: Outcome, about_it: bool) -> None:
    assert matches_task(task, outcome) is about_it
    decision = decide(task, replace(outcome, progress=0.9), OutcomeSource.POLL, BOTH, NOW)
    assert (decision.task is not None) is about_it, "a reply that does not fit changes nothing"


def test_a_callback_without_an_id_is_not_believed_of_a_task_without_one() -> None:
    assert not is_believed(a_task(task_id=None), says(E.RUNNING, None), OutcomeSource.CALLBACK, BOTH)


# -- a status that we do not know --


def test_a_status_that_we_do_not_know_limits_the_place_and_is_remembered() -> None:
    task = a_task(place_until=FOREVER)
    strange = says(E.RUNNING, status="archived", unknown_status=True)
    after = decide(task, strange, OutcomeSource.POLL, BOTH, NOW).task
    assert after is not None
    assert (after.state, after.place_until) == (S.WAITING, NOW + UNSURE_MOST)
    assert after.hint_note == HintNote("archived", OutcomeSource.POLL, E.RUNNING, "receiver does not know this status")
    later = decide(after, strange, OutcomeSource.POLL, BOTH, NOW + MINUTE).task
    assert later is None or (later.place_until, later.hint_note) == (after.place_until, after.hint_note)
    known = decide(after, says(E.RUNNING), OutcomeSource.POLL, BOTH, NOW).task
    assert known is not None
    assert known.hint_note is None


def test_a_place_that_is_free_or_ends_sooner_is_not_prolonged_by_a_strange_status() -> None:
    for place in (None, NOW + MINUTE):
        after = decide(
            a_task(place_until=place), says(E.RUNNING, unknown_status=True), OutcomeSource.POLL, BOTH, NOW
        ).task
        assert after is not None
        assert after.place_until == place


def test_a_strange_status_hides_no_end_that_was_heard() -> None:
    doubted = decide(a_task(), says(E.COMPLETED, images=()), OutcomeSource.POLL, BOTH, NOW).task
    assert doubted is not None
    for strange in (says(E.RUNNING, unknown_status=True), says(E.RUNNING)):
        after = decide(doubted, strange, OutcomeSource.POLL, BOTH, NOW).task or doubted
        assert after.hint_note == doubted.hint_note
