"""What a task looks like after each step it can take: settled, lost, uncertain, queued again, further along."""

import pytest
from msgspec.structs import replace

from kit.fakes import DAY, HOUR, MINUTE, NOW, PICTURES, POLICY, SECOND, a_task, foreign, says
from receiver.core.after_end import picture_digest
from receiver.core.decide import (
    CREATED_TOLERANCE_MS,
    FOREVER,
    decide,
    heard_doubted_end,
    mark_lost,
    mark_unsure,
    matches_task,
    pause_task,
    requeue_task,
    settle_task,
    task_deadline,
)
from receiver.core.hints import add_hint
from receiver.core.schedule import UNSURE_MOST
from receiver.core.types import (
    ArchiveState,
    Ending,
    HoldReason,
    Image,
    MessageStyle,
    Outcome,
    OutcomeSource,
    Policy,
    Target,
    Task,
    TaskOrigin,
    TaskState,
    Usage,
    Verdict,
)

NO_LONGER_DUE = dict.fromkeys(("held_by", "due_at", "lease_until", "place_until", "poll_at"))
NO_HINT = dict.fromkeys(("hint", "hint_step", "hint_until"))


def settled(task: Task, outcome: Outcome, source: OutcomeSource = OutcomeSource.POLL) -> Task:
    """The task after `outcome` has settled it."""
    after = settle_task(task, outcome, source, POLICY, NOW + HOUR).task
    assert after is not None
    return after


def some(task: Task, *names: str) -> dict[str, object]:
    """The fields of the task with these names."""
    return {name: getattr(task, name) for name in names}


# -- settled --


def test_a_completed_task_is_all_done_and_another_end_leaves_its_progress_where_it_was() -> None:
    half = a_task(progress=0.5)
    assert settled(half, says(Ending.COMPLETED)).progress == 1.0
    assert settled(half, says(Ending.FAILED)).progress == 0.5
    assert settled(a_task(), says(Ending.CANCELLED)).progress is None


def test_the_pictures_of_a_completed_task_are_due_for_the_archive_and_a_failed_one_has_none() -> None:
    done = settled(a_task(), says(Ending.COMPLETED))
    assert (done.archive, done.archive_at) == (ArchiveState.DUE, NOW + HOUR)
    assert done.pictures == picture_digest(PICTURES)
    failed = settled(a_task(), says(Ending.FAILED))
    assert (failed.archive, failed.archive_at, failed.pictures) == (None, None, None)


def test_a_settled_task_waits_for_nothing_and_is_no_longer_unsure() -> None:
    waiting = a_task(
        unsure=True,
        held_by=HoldReason.PAUSE,
        due_at=NOW,
        lease_until=NOW,
        hint=foreign(Ending.RUNNING),
        hint_step=1,
        hint_until=NOW,
    )
    done = settled(waiting, says(Ending.COMPLETED))
    assert some(done, *NO_LONGER_DUE, *NO_HINT) == {**NO_LONGER_DUE, **NO_HINT}
    assert not done.unsure


def test_what_we_knew_stays_and_what_we_did_not_know_is_learnt() -> None:
    outcome = says(Ending.COMPLETED, "job-2", model="veo", usage=Usage(None, 0.5))
    known = settled(a_task(), outcome)
    assert (known.task_id, known.model, known.submitted_at) == ("job-1", a_task().model, NOW)
    learnt = settled(a_task(task_id=None, model=None, submitted_at=None), outcome)
    assert (learnt.task_id, learnt.model, learnt.submitted_at) == ("job-2", "veo", NOW + HOUR)
    assert learnt.usage == Usage(None, 0.5)


def test_who_settled_a_task_and_whether_it_is_confirmed_is_recorded() -> None:
    decision = settle_task(
        a_task(), says(Ending.FAILED), OutcomeSource.PERSON, POLICY, NOW, unconfirmed="we saw nothing"
    )
    assert decision.task is not None
    assert some(decision.task, "settled_by", "settled_at", "confirmed") == {
        "settled_by": OutcomeSource.PERSON,
        "settled_at": NOW,
        "confirmed": False,
    }
    assert not decision.notices[0].report.confirmed
    confirmed = settled(a_task(), says(Ending.COMPLETED))
    assert confirmed.confirmed
    assert confirmed.error is None


@pytest.mark.parametrize(("submitted_at", "took"), [(NOW, HOUR), (NOW + HOUR, 0), (NOW + DAY, 0)])
def test_how_long_a_task_took_is_never_negative(submitted_at: int, took: int) -> None:
    """A clock can be set back."""
    decision = settle_task(
        a_task(submitted_at=submitted_at), says(Ending.COMPLETED), OutcomeSource.POLL, POLICY, NOW + HOUR
    )
    assert decision.notices[0].report.duration_ms == took


def test_a_target_that_shows_pictures_waits_for_them_and_one_of_text_does_not() -> None:
    text, slack = (Target(name=it, url="json://a/", style=it) for it in (MessageStyle.TEXT, MessageStyle.SLACK))
    policy = Policy(targets=(text, slack), picture_wait_ms=15 * SECOND)
    with_pictures = settle_task(a_task(), says(Ending.COMPLETED), OutcomeSource.POLL, policy, NOW).notices
    assert [it.due_at for it in with_pictures] == [NOW, NOW + 15 * SECOND]
    without = settle_task(a_task(), says(Ending.FAILED), OutcomeSource.POLL, policy, NOW).notices
    assert [it.due_at for it in without] == [NOW, NOW]


def test_pictures_are_compared_by_their_urls_without_the_query_and_in_any_order() -> None:
    one, other = Image(0, "https://a/0.png?sig=1"), Image(1, "https://a/1.png?sig=1")
    digest = picture_digest([one, other])
    assert digest == picture_digest([Image(0, "https://a/1.png"), Image(1, "https://a/0.png?sig=2")])
    assert digest != picture_digest([one, Image(1, "https://a/2.png?sig=1")])
    assert digest is not None
    assert len(digest) == 2 * 16, "128 bits"
    assert picture_digest([]) is None


def test_a_failure_after_a_completion_is_a_conflict_even_with_the_same_pictures() -> None:
    done = settled(a_task(), says(Ending.COMPLETED))
    again = decide(done, says(Ending.COMPLETED), OutcomeSource.POLL, POLICY, NOW)
    assert again.verdict is Verdict.DUPLICATE
    contrary = decide(done, says(Ending.FAILED, images=PICTURES), OutcomeSource.POLL, POLICY, NOW)
    assert (contrary.verdict, contrary.task) == (Verdict.CONFLICT, None)


# -- lost --


def test_a_lost_task_waits_for_nothing_and_stays_as_unsure_as_it_was() -> None:
    for unsure in (True, False):
        gone = mark_lost(a_task(unsure=unsure, hint=foreign(Ending.RUNNING)), POLICY, NOW).task
        assert gone is not None
        assert some(gone, *NO_LONGER_DUE, *NO_HINT) == {**NO_LONGER_DUE, **NO_HINT}
        assert (gone.state, gone.unsure) == (TaskState.LOST, unsure)


def test_a_task_is_given_up_a_day_after_its_submission_or_if_it_was_never_used_after_its_making() -> None:
    policy = Policy(deadline_ms=DAY)
    assert task_deadline(a_task(created_at=NOW - HOUR, submitted_at=NOW), policy) == NOW + DAY
    assert task_deadline(a_task(created_at=NOW - HOUR, submitted_at=None), policy) == NOW - HOUR + DAY


# -- queued again --


@pytest.mark.parametrize("tries", [0, 3])
def test_after_a_submission_that_came_to_nothing_the_task_is_queued_as_if_it_had_not_been_sent(
    tries: int,
) -> None:
    sent = a_task(TaskState.SUBMITTING, tries=tries, unsure=True, poll_at=NOW)
    queued = requeue_task(sent, NOW + MINUTE, "HTTP 429")
    assert queued == replace(
        sent,
        state=TaskState.QUEUED,
        why="HTTP 429",
        unsure=False,
        submitted_at=None,
        lease_until=None,
        place_until=None,
        poll_at=None,
        due_at=NOW + MINUTE,
    )


def test_a_task_that_waits_for_our_key_or_balance_is_queued_and_held() -> None:
    sent = a_task(TaskState.SUBMITTING)
    assert pause_task(sent, NOW + MINUTE) == replace(requeue_task(sent, NOW + MINUTE), held_by=HoldReason.PAUSE)


# -- uncertain --


def test_a_task_that_may_have_been_taken_holds_its_place_for_three_expected_times_and_is_then_looked_at() -> None:
    sent = a_task(TaskState.SUBMITTING, due_at=NOW, held_by=HoldReason.PAUSE)
    unsure = mark_unsure(sent, NOW + SECOND, 2 * MINUTE)
    assert (unsure.state, unsure.unsure, unsure.submitted_at) == (TaskState.WAITING, True, NOW)
    assert (unsure.place_until, unsure.poll_at) == (NOW + 6 * MINUTE, NOW + SECOND + 6 * MINUTE)
    assert (unsure.due_at, unsure.lease_until, unsure.held_by) == (None, None, None)
    assert mark_unsure(sent, NOW, HOUR).poll_at == NOW + UNSURE_MOST


def test_an_uncertain_task_holds_no_place_once_the_provider_cannot_be_at_it_any_more() -> None:
    """It was sent, and the service was down since; a clock that was set back makes no place longer."""
    sent = a_task(TaskState.SUBMITTING)
    for now, until in ((NOW + 2 * MINUTE, NOW + 3 * MINUTE), (NOW + HOUR, NOW + HOUR), (NOW - HOUR, NOW - 57 * MINUTE)):
        unsure = mark_unsure(sent, now, MINUTE)
        assert (unsure.place_until, unsure.poll_at) == (until, now + 3 * MINUTE)


def test_a_restored_task_that_was_queued_in_the_backup_holds_no_place_and_is_looked_at_all_the_same() -> None:
    restored = mark_unsure(a_task(TaskState.SUBMITTING, place_until=None), NOW, MINUTE)
    assert (restored.unsure, restored.place_until, restored.poll_at) == (True, NOW, NOW + 3 * MINUTE)
    called = mark_unsure(a_task(TaskState.QUEUED), NOW, MINUTE)  # somebody has taken it: its URL was called
    assert called.place_until == NOW + 3 * MINUTE


def test_a_task_whose_id_a_callback_taught_us_was_taken_for_certain() -> None:
    known = mark_unsure(a_task(TaskState.SUBMITTING, task_id="job-7"), NOW, 2 * MINUTE)
    assert (known.unsure, known.place_until, known.poll_at) == (False, FOREVER, NOW + 2 * MINUTE)


def test_an_uncertain_task_that_probably_ended_holds_no_place() -> None:
    doubted = a_task(TaskState.SUBMITTING, hint=says(Ending.COMPLETED, images=()))
    assert heard_doubted_end(doubted)
    assert mark_unsure(doubted, NOW, MINUTE).place_until is None
    for hint in (None, foreign(Ending.RUNNING), foreign(Ending.COMPLETED)):
        readable = a_task(TaskState.SUBMITTING, hint=hint)
        assert not heard_doubted_end(readable)
        assert mark_unsure(readable, NOW, MINUTE).place_until == NOW + 3 * MINUTE


def test_an_uncertain_task_is_looked_at_no_later_than_it_would_have_been() -> None:
    assert mark_unsure(a_task(poll_at=NOW + 1), NOW, MINUTE).poll_at == NOW + 1
    assert mark_unsure(a_task(poll_at=NOW + HOUR, task_id=None), NOW, MINUTE).poll_at == NOW + 3 * MINUTE


def test_an_uncertain_task_that_was_never_sent_counts_from_now() -> None:
    assert mark_unsure(a_task(TaskState.QUEUED), NOW + 5, MINUTE).submitted_at == NOW + 5


def test_a_place_that_is_held_until_the_end_outlasts_every_clock_and_fits_into_the_database() -> None:
    assert FOREVER == 1 << 62


def test_a_callback_is_remembered_from_the_first_on() -> None:
    policy = replace(POLICY, sweep_first_ms=2 * MINUTE)
    minted = a_task(TaskState.QUEUED, origin=TaskOrigin.MINTED, due_at=None)
    called = decide(minted, None, OutcomeSource.CALLBACK, policy, NOW + SECOND).task
    assert called is not None
    assert (called.called_at, called.submitted_at) == (NOW + SECOND, NOW + SECOND)
    assert (called.state, called.place_until) == (TaskState.WAITING, NOW + SECOND + 6 * MINUTE)
    again = decide(called, None, OutcomeSource.CALLBACK, policy, NOW + HOUR).task
    assert again is not None
    assert (again.called_at, again.submitted_at) == (NOW + SECOND, NOW + SECOND)
    ours = decide(a_task(), None, OutcomeSource.CALLBACK, policy, NOW + SECOND).task
    assert ours is not None
    assert (ours.called_at, ours.submitted_at) == (NOW + SECOND, NOW)


# -- further along --


def heard(task: Task, outcome: Outcome) -> Task:
    """The task after a poll's reply."""
    return decide(task, outcome, OutcomeSource.POLL, POLICY, NOW).task or task


def test_an_id_makes_an_unsure_task_certain_and_one_of_ours_keeps_its_place_to_the_end() -> None:
    unsure = a_task(task_id=None, unsure=True, place_until=NOW + MINUTE)
    found = heard(unsure, says(Ending.RUNNING, "job-3"))
    assert (found.task_id, found.unsure, found.place_until) == ("job-3", False, FOREVER)
    minted = heard(replace(unsure, origin=TaskOrigin.MINTED), says(Ending.RUNNING, "job-3"))
    assert (minted.task_id, minted.unsure, minted.place_until) == ("job-3", False, NOW + MINUTE)


def test_an_id_that_is_known_for_certain_is_no_candidate_any_more() -> None:
    task = a_task(task_id=None, candidates=("job-3", "job-4"))
    assert heard(task, says(Ending.RUNNING, "job-3")).candidates == ("job-4",)
    assert heard(task, says(Ending.RUNNING, None, progress=0.1)).candidates == ("job-3", "job-4")


def test_without_an_id_an_unsure_task_stays_unsure() -> None:
    unsure = a_task(task_id=None, unsure=True, place_until=NOW + MINUTE)
    after = heard(unsure, says(Ending.RUNNING, None, progress=0.1))
    assert (after.task_id, after.unsure, after.place_until, after.progress) == (None, True, NOW + MINUTE, 0.1)


def test_a_certain_task_keeps_its_id_its_model_and_its_place() -> None:
    sure = a_task(place_until=NOW + MINUTE)
    after = heard(sure, says(Ending.RUNNING, "job-2", progress=0.1))
    assert after == replace(sure, progress=0.1)
    learnt = heard(replace(sure, model=None), says(Ending.RUNNING, model="veo"))
    assert (learnt.model, learnt.unsure) == ("veo", False)


def test_progress_is_taken_when_it_is_the_first_or_more() -> None:
    first = heard(a_task(), says(Ending.RUNNING, progress=0.0))
    assert first.progress == 0.0
    assert heard(first, says(Ending.RUNNING, progress=0.2)).progress == 0.2


# -- hints --


def test_later_progress_replaces_progress_but_the_oldest_end_stays() -> None:
    """A later end may come from anyone who knows the URL."""
    half, more = (foreign(Ending.RUNNING, progress=it) for it in (0.5, 0.7))
    assert add_hint(a_task(hint=half, hint_step=1), more, POLICY, NOW).hint == more
    failed, done = foreign(Ending.FAILED), foreign(Ending.COMPLETED, images=PICTURES)
    assert add_hint(a_task(hint=failed, hint_step=1), done, POLICY, NOW).hint == failed


def test_a_hint_that_says_nothing_new_does_not_start_the_ladder_again() -> None:
    for outcome in (foreign(Ending.RUNNING), None):
        climbed = replace(add_hint(a_task(), outcome, POLICY, NOW), hint_step=3, poll_at=NOW + HOUR)
        assert add_hint(climbed, outcome, POLICY, NOW) == climbed


def test_a_hint_with_an_id_of_its_own_keeps_that() -> None:
    known = a_task(task_id=None, hint=says(Ending.RUNNING, "job-8"), hint_step=1)
    assert add_hint(known, says(Ending.RUNNING, "job-9"), POLICY, NOW).hint == says(Ending.RUNNING, "job-9")


# -- does a reply belong to the task? --


def test_a_reply_was_made_within_ten_minutes_of_what_it_answers() -> None:
    assert CREATED_TOLERANCE_MS == 10 * MINUTE


@pytest.mark.parametrize(
    ("off_ms", "about_it"),
    [(10 * MINUTE, True), (10 * MINUTE + 1, False), (-10 * MINUTE, True), (-10 * MINUTE - 1, False)],
)
def test_the_providers_own_clock_is_compared_with_itself(off_ms: int, about_it: bool) -> None:
    task = a_task(provider_created_at=NOW + DAY)
    assert matches_task(task, says(Ending.RUNNING, created_at=NOW + DAY + off_ms)) is about_it


@pytest.mark.parametrize(
    ("created_at", "task_id", "about_it"),
    [
        (NOW - 10 * MINUTE, "job-2", True),
        (NOW - 10 * MINUTE - 1, "job-2", False),
        (NOW + DAY, "job-2", True),  # whenever somebody used the URL
        (NOW - DAY, "job-1", True),  # a person told us this id, of an older submission
        (NOW - DAY, None, False),
    ],
)
def test_a_task_that_another_submits_is_answered_after_its_making_or_under_the_id_that_we_were_told(
    created_at: int, task_id: str | None, about_it: bool
) -> None:
    minted = a_task(origin=TaskOrigin.MINTED)
    assert matches_task(minted, says(Ending.RUNNING, task_id, created_at=created_at)) is about_it
    if task_id != "job-1":
        nameless = replace(minted, task_id=None)
        assert matches_task(nameless, says(Ending.RUNNING, task_id, created_at=created_at)) is about_it


def test_a_task_of_ours_without_a_submission_is_compared_with_its_making() -> None:
    task = a_task(submitted_at=None, created_at=NOW)
    assert matches_task(task, says(Ending.RUNNING, "job-2", created_at=NOW + DAY))
