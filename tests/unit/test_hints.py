"""What is kept of outcomes that are not believed, the ids to poll by, and which end may settle."""

import pytest
from msgspec.structs import replace

from kit.fakes import DAY, HOUR, MINUTE, NOW, PICTURES, POLICY, SECOND, a_task, foreign, says
from receiver.core.decide import decide, heard_doubted_end, mark_lost, mark_unsure
from receiver.core.hints import (
    CANDIDATES_MOST,
    DENIED_MOST,
    KeptHint,
    add_candidate,
    add_hint,
    add_unreadable_reply,
    allow_id,
    choose_hint,
    deny_id,
    describe_hint,
    drop_candidate,
    hints_since,
    is_denied,
    next_id,
    polls_candidates,
    put_last,
    take_reply,
    why_unconfirmed,
)
from receiver.core.types import (
    Ending,
    HintNote,
    Image,
    Outcome,
    OutcomeShape,
    OutcomeSource,
    PollResult,
    Task,
    TaskOrigin,
    TaskState,
    Verdict,
)

BARE = says(Ending.COMPLETED, images=())
DIGEST = b"\x01" * 32
WITHIN = POLICY.confirm_within_ms


def hinted(*outcomes: Outcome | None, task: Task | None = None) -> Task:
    """The task after these hints, one a second."""
    task = task or a_task()
    for number, outcome in enumerate(outcomes):
        task = add_hint(task, outcome, POLICY, NOW + number * SECOND, digest=bytes([number]) * 32)
    return task


# -- doubt --


@pytest.mark.parametrize(
    ("outcome", "doubt"),
    [
        (says(Ending.COMPLETED), None),
        (BARE, "no picture was found in it"),
        (says(Ending.COMPLETED, images=(), doubt="odd"), "odd"),
        (says(Ending.COMPLETED, doubt="odd"), "odd"),
        (says(Ending.FAILED, doubt="odd"), "odd"),
        (says(Ending.FAILED), None),
        (says(Ending.RUNNING, doubt="odd"), None),
    ],
)
def test_an_end_is_doubted_if_the_parser_says_so_or_if_it_has_no_picture(outcome: Outcome, doubt: str | None) -> None:
    assert outcome.why_doubted == doubt
    assert outcome.is_terminal is (outcome.says_end and doubt is None)


@pytest.mark.parametrize("source", [OutcomeSource.CALLBACK, OutcomeSource.POLL, OutcomeSource.ANSWER])
def test_a_doubted_end_is_a_hint_from_wherever_it_comes(source: OutcomeSource) -> None:
    decision = decide(a_task(), BARE, source, POLICY, NOW, digest=DIGEST)
    after = decision.task
    assert after is not None
    assert (decision.verdict, after.state, after.hint) == (Verdict.HINT, TaskState.WAITING, BARE)
    assert after.hint_note == HintNote("completed", source, Ending.COMPLETED, "no picture was found in it", DIGEST)
    assert (after.doubted_at, after.place_until, after.hint_until, after.poll_at) == (NOW, None, None, NOW)


def test_a_poll_that_finds_the_task_teaches_its_id_though_its_end_is_doubted() -> None:
    after = decide(a_task(task_id=None, unsure=True), BARE, OutcomeSource.POLL, POLICY, NOW).task
    assert after is not None
    assert (after.task_id, after.unsure, after.place_until) == ("job-1", False, None)
    called = decide(a_task(task_id=None, unsure=True), BARE, OutcomeSource.CALLBACK, POLICY, NOW).task
    assert called is not None
    assert (called.task_id, called.candidates) == (None, ("job-1",))


def test_the_first_doubted_end_is_the_one_that_is_remembered() -> None:
    task = hinted(BARE, says(Ending.FAILED, doubt="odd"))
    assert (task.doubted_at, task.hint) == (NOW, BARE)


def test_a_submission_that_is_unclear_takes_no_place_if_a_doubted_end_was_heard() -> None:
    task = replace(a_task(TaskState.SUBMITTING), hint=BARE)
    assert heard_doubted_end(task)
    assert mark_unsure(task, NOW, MINUTE).place_until is None
    assert not heard_doubted_end(replace(task, hint=foreign(Ending.COMPLETED)))
    assert not heard_doubted_end(replace(task, hint=None))


# -- ranks --


def test_an_end_outranks_a_doubted_one_and_that_what_could_not_be_read_and_that_progress() -> None:
    rising = [foreign(Ending.RUNNING), None, BARE, foreign(Ending.COMPLETED)]
    kept = [hinted(*rising[: count + 1]) for count in range(4)]
    assert [it.hint for it in kept] == [rising[0], rising[0], BARE, rising[3]]
    assert [it.hint_note and it.hint_note.digest for it in kept] == [bytes([number]) * 32 for number in range(4)]
    falling = hinted(*reversed(rising))
    assert (falling.hint, falling.hint_note and falling.hint_note.digest) == (rising[3], bytes(32))


def test_what_could_not_be_read_and_an_end_have_a_time_and_a_doubted_end_needs_none() -> None:
    """A person was told of that at once."""
    assert hinted(foreign(Ending.RUNNING)).hint_until is None
    assert hinted(None).hint_until == NOW + WITHIN
    assert hinted(None, BARE).hint_until is None
    assert hinted(BARE, foreign(Ending.FAILED)).hint_until == NOW + SECOND + WITHIN


def test_a_lost_task_begins_anew_with_its_hints_but_an_unreadable_one_has_no_time() -> None:
    lost = mark_lost(hinted(BARE), POLICY, NOW).task
    assert lost is not None
    assert (lost.hint, lost.hint_note is not None, lost.doubted_at) == (None, True, NOW)
    again = add_hint(lost, BARE, POLICY, NOW + HOUR)
    assert (again.hint, again.hint_step, again.poll_at) == (BARE, 0, NOW + HOUR)
    unread = add_hint(lost, None, POLICY, NOW + HOUR)
    assert (unread.hint_until, unread.hint_step) == (None, 0)


def test_a_body_that_cannot_be_read_limits_the_place_and_never_gives_one() -> None:
    assert hinted(None).place_until == NOW + 15 * MINUTE
    assert hinted(None, task=a_task(place_until=NOW + 1)).place_until == NOW + 1
    assert hinted(None, task=a_task(place_until=None)).place_until is None


def test_a_reply_that_cannot_be_read_limits_the_place_and_is_remembered_if_nothing_else_was_heard() -> None:
    silent = add_unreadable_reply(a_task(), NOW)
    assert (silent.place_until, silent.hint_note) == (NOW + 15 * MINUTE, HintNote("", OutcomeSource.POLL))
    assert add_unreadable_reply(a_task(place_until=None), NOW).place_until is None
    assert add_unreadable_reply(hinted(foreign(Ending.RUNNING)), NOW).hint_note == HintNote("", OutcomeSource.POLL)
    doubted = hinted(BARE)
    assert add_unreadable_reply(doubted, NOW).hint_note == doubted.hint_note
    unread = add_hint(silent, None, POLICY, NOW, digest=DIGEST)
    assert unread.hint_note is not None
    assert (unread.hint_note.digest, unread.hint_until) == (DIGEST, NOW + WITHIN), "a callback says more than a poll"


# -- candidates --


def named(*ids: str) -> Task:
    """A task whose id is unknown, after hints with these."""
    return hinted(*(says(Ending.RUNNING, it) for it in ids), task=a_task(task_id=None))


def test_up_to_eight_ids_are_candidates_the_oldest_first_each_once() -> None:
    task = named(*(f"c{number}" for number in range(12)), "c0")
    assert task.candidates == tuple(f"c{number}" for number in range(CANDIDATES_MOST))
    assert CANDIDATES_MOST == 8


@pytest.mark.parametrize(
    "outcome",
    [foreign(Ending.COMPLETED), says(Ending.RUNNING, "job-1"), says(Ending.RUNNING, "x", shape=OutcomeShape.JOB)],
)
def test_only_another_id_of_a_task_object_is_a_candidate(outcome: Outcome) -> None:
    assert add_candidate(a_task(), outcome, POLICY, NOW).candidates == ()


def test_a_denied_id_is_dropped_and_not_taken_again_and_one_that_is_known_again_is() -> None:
    task = deny_id(named("a", "b"), "a")
    assert (task.candidates, is_denied(task, "a"), is_denied(task, "b")) == (("b",), True, False)
    assert add_candidate(task, says(Ending.RUNNING, "a"), POLICY, NOW) == task
    assert deny_id(task, "a") == task
    assert add_candidate(allow_id(task, "a"), says(Ending.RUNNING, "a"), POLICY, NOW).candidates == ("b", "a")
    assert allow_id(task, "b") is task


def test_the_memory_of_denied_ids_is_bounded_and_forgets_the_oldest() -> None:
    task = named()
    for number in range(DENIED_MOST + 1):
        task = deny_id(task, str(number))
    assert (len(task.denied), is_denied(task, "0"), is_denied(task, "1")) == (DENIED_MOST, False, True)


def test_past_the_deadline_nobody_who_made_up_so_many_ids_brings_another() -> None:
    known = replace(a_task(task_id=None), denied=tuple(map(str, range(DENIED_MOST))))
    for now, taken in ((NOW + DAY - 1, ("x",)), (NOW + DAY, ())):
        assert add_candidate(known, says(Ending.RUNNING, "x"), POLICY, now).candidates == taken
    few = replace(known, denied=known.denied[1:])
    assert add_candidate(few, says(Ending.RUNNING, "x"), POLICY, NOW + DAY).candidates == ("x",)


def test_a_new_candidate_is_polled_at_once_until_too_many_were_made_up() -> None:
    first = replace(named("a"), hint_step=3, poll_at=NOW + HOUR)
    second = add_hint(first, says(Ending.RUNNING, "b"), POLICY, NOW + MINUTE)
    assert (second.poll_at, second.hint_step) == (NOW + MINUTE, 3)
    tired = replace(first, denied=tuple(map(str, range(DENIED_MOST))))
    assert add_hint(tired, says(Ending.RUNNING, "b"), POLICY, NOW + MINUTE).poll_at == NOW + HOUR
    sure = replace(first, task_id="job-1")
    assert add_hint(sure, says(Ending.RUNNING, "b"), POLICY, NOW + MINUTE).poll_at == NOW + HOUR


def test_the_tasks_own_id_is_polled_and_the_candidates_in_turn_while_it_is_unknown_or_denied() -> None:
    task = named("a", "b")
    assert (next_id(task), next_id(put_last(task, "a"))) == ("a", "b")
    assert next_id(named()) is None
    sure = replace(task, task_id="job-1")
    assert (next_id(sure), polls_candidates(sure)) == ("job-1", False)
    denied = deny_id(sure, "job-1")
    assert polls_candidates(denied)
    assert [next_id(replace(denied, polls=count)) for count in (0, 1, 2)] == ["job-1", "a", "job-1"]
    assert next_id(replace(denied, candidates=(), polls=1)) == "job-1"
    assert (put_last(task, "c"), drop_candidate(task, "c")) == (task, task)


def test_a_settled_task_forgets_its_candidates_and_a_lost_one_keeps_them() -> None:
    task = deny_id(named("a", "b"), "a")
    done = decide(task, says(Ending.COMPLETED), OutcomeSource.PERSON, POLICY, NOW).task
    lost = mark_lost(task, POLICY, NOW).task
    assert done is not None
    assert lost is not None
    assert (done.candidates, done.denied, done.hint_note) == ((), (), None)
    assert (lost.candidates, lost.denied) == (task.candidates, task.denied)


R = PollResult


@pytest.mark.parametrize(
    ("result", "fits", "past", "left"),
    [
        (R.UNKNOWN, False, False, ("b",)),
        (R.OUTCOME, False, False, ("b", "a")),
        (R.OUTCOME, False, True, ("b",)),
        (R.OUTCOME, True, True, ("b", "a")),
        (R.UNREADABLE, False, False, ("b", "a")),
        (R.UNREADABLE, False, True, ("b",)),
        (R.NOTHING, False, True, ("b", "a")),
        (R.BUSY, False, True, ("b", "a")),
        (R.UNAUTHORIZED, False, True, ("b", "a")),
    ],
)
def test_a_candidate_is_dropped_when_it_is_denied_or_has_had_its_chance(
    result: PollResult, fits: bool, past: bool, left: tuple[str, ...]
) -> None:
    assert take_reply(named("a", "b"), "a", result, fits=fits, past_deadline=past).candidates == left


def test_one_that_is_another_task_gives_up_its_place_when_all_are_taken() -> None:
    full = named(*"abcdefgh")
    after = take_reply(full, "a", R.OUTCOME, fits=False, past_deadline=False)
    assert (after.candidates, is_denied(after, "a")) == (tuple("bcdefgh"), True)
    assert len(take_reply(full, "a", R.NOTHING, fits=False, past_deadline=False).candidates) == CANDIDATES_MOST


def test_the_tasks_own_id_is_denied_by_404_or_by_another_task_and_allowed_again_by_its_own() -> None:
    for result, fits in ((R.UNKNOWN, False), (R.OUTCOME, False)):
        denied = take_reply(a_task(), "job-1", result, fits=fits, past_deadline=False)
        assert is_denied(denied, "job-1")
        assert not is_denied(take_reply(denied, "job-1", R.OUTCOME, fits=True, past_deadline=False), "job-1")
    assert not is_denied(take_reply(a_task(), "job-1", R.UNREADABLE, fits=False, past_deadline=True), "job-1")


# -- which end may settle --

OTHER = (Image(0, "https://pics.example/other.png"),)


def kept(*outcomes: Outcome) -> list[KeptHint]:
    return [KeptHint(NOW + number * SECOND, it) for number, it in enumerate(outcomes)]


def test_the_oldest_end_is_chosen_and_repetition_is_no_dispute() -> None:
    signed = tuple(replace(it, url=it.url.replace("sig=a", "sig=b")) for it in reversed(PICTURES))
    choice = choose_hint(
        a_task(),
        kept(foreign(Ending.RUNNING), BARE, foreign(Ending.COMPLETED), foreign(Ending.COMPLETED, images=signed)),
    )
    assert choice is not None
    assert (choice.outcome, choice.disputed) == (foreign(Ending.COMPLETED), False)
    assert choose_hint(a_task(), kept(foreign(Ending.RUNNING), BARE)) is None


@pytest.mark.parametrize("other", [foreign(Ending.FAILED), foreign(Ending.COMPLETED, images=OTHER)])
def test_another_end_or_other_pictures_are_a_dispute(other: Outcome) -> None:
    choice = choose_hint(a_task(), kept(foreign(Ending.COMPLETED), other))
    assert choice is not None
    assert (choice.outcome, choice.disputed) == (foreign(Ending.COMPLETED), True)


def test_a_refuted_end_is_chosen_only_where_there_is_no_other() -> None:
    fake = says(Ending.COMPLETED, "fake", images=OTHER)
    task = deny_id(a_task(task_id=None), "fake")
    only, both = choose_hint(task, kept(fake)), choose_hint(task, kept(fake, foreign(Ending.FAILED)))
    assert only is not None
    assert both is not None
    assert (only.outcome, both.outcome, both.disputed) == (fake, foreign(Ending.FAILED), False)
    refuted = a_task(refuted_at=NOW)
    later = choose_hint(refuted, kept(foreign(Ending.FAILED), foreign(Ending.COMPLETED)))
    assert later is not None
    assert (later.outcome, later.disputed) == (foreign(Ending.COMPLETED), False)


def test_the_hint_counts_although_its_body_is_not_there_and_once_although_it_is() -> None:
    """It may have lost its id since, because that became another task's."""
    task = a_task(hint=foreign(Ending.FAILED))
    alone = choose_hint(task, ())
    assert alone is not None
    assert alone.outcome == foreign(Ending.FAILED)
    nameless = a_task(hint=says(Ending.FAILED, None))
    once = choose_hint(nameless, kept(says(Ending.FAILED, "job-9")))
    assert once is not None
    assert (once.outcome.task_id, once.disputed) == ("job-9", False)


def test_hints_from_before_a_task_of_ours_was_submitted_do_not_count() -> None:
    assert hints_since(a_task()) == NOW - 10 * SECOND
    assert hints_since(a_task(submitted_at=None)) == 0
    assert hints_since(a_task(origin=TaskOrigin.MINTED)) == 0


# -- what is said --


@pytest.mark.parametrize(
    ("note", "text"),
    [
        (None, None),
        (HintNote("busy", OutcomeSource.CALLBACK, Ending.RUNNING), None),
        (HintNote("", OutcomeSource.CALLBACK), "A callback could not be read."),
        (HintNote("", OutcomeSource.POLL), "The provider's answer to a poll could not be read."),
        (
            HintNote("done", OutcomeSource.CALLBACK, Ending.COMPLETED),
            "A callback said “done”, but no poll has confirmed it.",
        ),
        (
            HintNote("", OutcomeSource.ANSWER, Ending.FAILED, "its status is missing"),
            "The provider's answer to the submission said “failed”, but its status is missing.",
        ),
    ],
)
def test_what_was_heard_is_said_in_a_sentence(note: HintNote | None, text: str | None) -> None:
    assert describe_hint(note) == text


def why(task: Task, hint: Outcome, result: PollResult | None, *, barred: bool = False, key: bool = True) -> str:
    return why_unconfirmed(task, hint, result, replace(POLICY, can_poll=key), barred=barred)


def test_the_reason_why_nothing_confirmed_an_end_is_the_true_one() -> None:
    denied = deny_id(a_task(task_id=None), "fake")
    end = foreign(Ending.COMPLETED)
    assert "PROVIDER_KEY is not set" in why(a_task(), end, None, key=False)
    assert why(denied, says(Ending.COMPLETED, "fake"), R.NOTHING).endswith("does not confirm the id in it, fake")
    assert "refuses our key" in why(a_task(), end, None, barred=True)
    assert "none of the ids" in why(denied, end, None)
    assert "its id of the task is unknown" in why(a_task(task_id=None), end, None)
    assert len({why(a_task(), end, result) for result in PollResult}) == len(PollResult)
