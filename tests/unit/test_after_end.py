"""What may still change a task that has ended: a refusal that was none, and an end that nobody could confirm."""

import pytest
from msgspec.structs import replace

from kit.fakes import MAIL, NOW, PICTURES, POLICY, SECOND, SLACK, a_task, foreign, says
from receiver.core.after_end import contradicts_refusal, picture_digest, verdict_after_end
from receiver.core.decide import decide
from receiver.core.next_step import PollNews, plan_recheck
from receiver.core.schedule import MINUTE
from receiver.core.types import (
    ArchiveState,
    ConfirmMode,
    Decision,
    Ending,
    Image,
    Outcome,
    OutcomeSource,
    Policy,
    PollResult,
    Task,
    TaskError,
    TaskState,
    Verdict,
)

E, S, V = Ending, TaskState, Verdict
BOTH = replace(POLICY, targets=(SLACK, MAIL))
OTHERS = (Image(0, "https://pics.example/other.png"),)


# -- a refused submission that was taken after all --

REFUSED = a_task(S.FAILED, task_id=None, settled_by=OutcomeSource.ANSWER, settled_at=NOW)


def test_pictures_for_a_refused_submission_open_the_task_again() -> None:
    verdict, task = moved(REFUSED, says(E.COMPLETED, "job-7"))
    assert (verdict, task.state, task.unsure, task.candidates) == (V.HINT, S.WAITING, True, ("job-7",))
    assert (task.settled_at, task.settled_by, task.poll_at, task.place_until) == (None, None, NOW, None)


def test_a_person_or_a_poll_settles_a_refused_submission_that_was_taken() -> None:
    for source in (OutcomeSource.PERSON, OutcomeSource.POLL):
        decision = decide(REFUSED, says(E.COMPLETED, "job-7"), source, BOTH, NOW)
        assert decision.task is not None
        assert (decision.verdict, decision.task.state, decision.task.error) == (V.ACCEPTED, S.COMPLETED, None)


@pytest.mark.parametrize(
    ("task", "outcome"),
    [
        (REFUSED, says(E.FAILED, "job-7")),
        (replace(REFUSED, task_id="job-1"), says(E.COMPLETED)),
        (replace(REFUSED, settled_by=OutcomeSource.POLL), says(E.COMPLETED)),
        (replace(REFUSED, state=S.COMPLETED), says(E.COMPLETED)),
    ],
    ids=["failed too", "its id was known", "failed by a poll", "completed"],
)
def test_nothing_else_opens_a_final_task(task: Task, outcome: Outcome | None) -> None:
    assert not contradicts_refusal(task, outcome)
    assert decide(task, outcome, OutcomeSource.CALLBACK, BOTH, NOW).task is None


@pytest.mark.parametrize("outcome", [says(E.RUNNING, "job-7"), says(E.RUNNING, "job-7", unknown_status=True), None])
def test_whatever_is_called_for_a_refused_submission_opens_it_again(outcome: Outcome | None) -> None:
    verdict, task = moved(REFUSED, outcome)
    assert (verdict, task.state, task.unsure) == (V.HINT if outcome else V.UNPARSED, S.WAITING, True)
    assert task.poll_at == NOW


# -- an end that nobody could confirm --

FORGED = a_task(
    S.FAILED, confirmed=False, settled_by=OutcomeSource.CALLBACK, settled_at=NOW, error=TaskError(None, "forged")
)
FORGED_PICTURES = a_task(
    S.COMPLETED,
    confirmed=False,
    settled_by=OutcomeSource.CALLBACK,
    settled_at=NOW,
    pictures=picture_digest(OTHERS),
    archive=ArchiveState.DONE,
    archive_tries=3,
)


def after(task: Task, outcome: Outcome | None, source: OutcomeSource, policy: Policy = BOTH) -> Decision:
    return decide(task, outcome, source, policy, NOW)


def moved(task: Task, outcome: Outcome | None) -> tuple[Verdict, Task]:
    decision = after(task, outcome, OutcomeSource.CALLBACK)
    assert decision.task is not None
    return decision.verdict, decision.task


@pytest.mark.parametrize("source", [OutcomeSource.CALLBACK, OutcomeSource.POLL, OutcomeSource.PERSON])
def test_what_is_believed_corrects_an_unconfirmed_end_and_is_told(source: OutcomeSource) -> None:
    for wrong in (FORGED, FORGED_PICTURES):
        decision = after(wrong, says(E.COMPLETED), source)
        assert (decision.verdict, decision.corrects, decision.images) == (V.ACCEPTED, True, PICTURES)
        assert decision.task is not None
        task = decision.task
        assert (task.state, task.confirmed, task.settled_by, task.error) == (S.COMPLETED, True, source, None)
        assert (task.archive, task.archive_at, task.archive_tries) == (ArchiveState.DUE, NOW, 0)
        assert [it.event.value for it in decision.notices] == ["completed", "completed"]


@pytest.mark.parametrize("source", [OutcomeSource.CALLBACK, OutcomeSource.POLL])
def test_what_is_believed_and_says_the_same_confirms_an_end_without_another_ping(source: OutcomeSource) -> None:
    decision = after(FORGED, says(E.FAILED), source)
    assert decision.task is not None
    assert (decision.verdict, decision.task.confirmed, decision.notices) == (V.DUPLICATE, True, ())


@pytest.mark.parametrize(
    "outcome",
    [says(E.COMPLETED, "job-2"), foreign(E.COMPLETED), says(E.COMPLETED, images=())],
    ids=["another id", "a job", "doubted"],
)
def test_what_is_not_believed_makes_the_provider_be_asked_again(outcome: Outcome) -> None:
    verdict, task = moved(FORGED, outcome)
    assert (verdict, task.state, task.confirmed, task.poll_at) == (V.CONFLICT, S.FAILED, False, NOW)
    assert after(FORGED, outcome, OutcomeSource.CALLBACK).notices == ()


def test_the_id_in_a_contradiction_is_asked_about_if_none_is_known() -> None:
    verdict, task = moved(replace(FORGED, task_id=None), says(E.COMPLETED, "job-7"))
    assert (verdict, task.candidates, task.poll_at) == (V.CONFLICT, ("job-7",), NOW)
    nobody = moved(replace(FORGED, task_id=None), foreign(E.COMPLETED))[1]
    assert (nobody.candidates, nobody.poll_at) == ((), None)


def test_without_a_key_a_contradiction_is_only_told() -> None:
    decision = after(FORGED, foreign(E.COMPLETED), OutcomeSource.CALLBACK, replace(BOTH, can_poll=False))
    assert (decision.verdict, decision.task and decision.task.poll_at) == (V.CONFLICT, None)


@pytest.mark.parametrize(
    "outcome", [says(E.RUNNING), foreign(E.FAILED), None], ids=["running", "the same", "unreadable"]
)
def test_what_contradicts_nothing_leaves_an_unconfirmed_end_as_it_is(outcome: Outcome | None) -> None:
    assert after(FORGED, outcome, OutcomeSource.CALLBACK).task is None


def test_a_reply_about_another_task_corrects_nothing() -> None:
    assert after(FORGED, says(E.COMPLETED, model="another"), OutcomeSource.POLL).task is None


def test_with_confirm_always_a_callback_corrects_nothing_by_itself() -> None:
    decision = after(FORGED, says(E.COMPLETED), OutcomeSource.CALLBACK, replace(BOTH, confirm=ConfirmMode.ALWAYS))
    assert decision.task is not None
    assert (decision.verdict, decision.task.confirmed, decision.task.poll_at) == (V.CONFLICT, False, NOW)
    assert decision.task.poll_step == 0, "it is asked often at first"


def test_a_confirmed_end_is_not_contradicted_by_one_that_cannot_be_believed() -> None:
    doubted = says(E.COMPLETED, images=())
    assert verdict_after_end(replace(FORGED, confirmed=True), doubted) is V.LATE
    assert verdict_after_end(FORGED, doubted) is V.CONFLICT


# -- how long the provider is asked again --


def news(result: PollResult | None, *, running: bool = False, dropped: bool = False) -> PollNews:
    return PollNews(NOW, result, running, dropped=dropped)


def recheck(task: Task, it: PollNews, now: int = NOW + SECOND, policy: Policy = BOTH) -> int | None:
    planned = plan_recheck(task, it, policy, now, jitter=0.5)
    assert planned.lease_until is None
    return planned.poll_at


ASKED = replace(FORGED, poll_at=NOW, lease_until=NOW + MINUTE, submitted_at=NOW)


@pytest.mark.parametrize("result", [PollResult.OUTCOME, PollResult.UNKNOWN, PollResult.UNREADABLE])
def test_an_answer_ends_the_asking(result: PollResult) -> None:
    assert recheck(ASKED, news(result)) is None


@pytest.mark.parametrize("result", [PollResult.NOTHING, PollResult.BUSY, None])
def test_without_an_answer_the_provider_is_asked_again_in_growing_gaps(result: PollResult | None) -> None:
    first = recheck(ASKED, news(result))
    later = recheck(replace(ASKED, poll_step=4), news(result))
    assert first is not None
    assert later is not None
    assert NOW + SECOND < first < later
    assert plan_recheck(ASKED, news(result), BOTH, NOW, jitter=0.5).poll_step == 1


def test_a_task_that_still_runs_is_asked_about_again() -> None:
    assert recheck(ASKED, news(PollResult.OUTCOME, running=True)) is not None


def test_each_id_is_asked_about_and_after_a_denial_the_next_at_once() -> None:
    several = replace(ASKED, task_id=None, candidates=("a", "b"))
    assert recheck(several, news(PollResult.UNKNOWN, dropped=True)) == NOW + SECOND
    assert recheck(several, news(PollResult.OUTCOME)) not in (None, NOW + SECOND)
    many = replace(several, denied=tuple(f"{it:016x}" for it in range(64)))
    assert recheck(many, news(PollResult.UNKNOWN, dropped=True)) not in (None, NOW + SECOND)


def test_nobody_is_asked_past_the_deadline_without_a_key_or_without_an_id() -> None:
    late = NOW + BOTH.deadline_ms
    assert recheck(ASKED, news(PollResult.NOTHING), late - 1) is not None
    assert recheck(ASKED, news(PollResult.NOTHING), late) is None
    assert recheck(ASKED, news(PollResult.NOTHING), policy=replace(BOTH, can_poll=False)) is None
    assert recheck(replace(ASKED, task_id=None), news(PollResult.NOTHING)) is None
