"""Hints at their bounds: which one is kept, which of several ends counts, and what an answered poll does to an id."""

import pytest

from kit.fakes import NOW, PICTURES, POLICY, SECOND, a_task, foreign, says
from receiver.core.hints import (
    CANDIDATES_MOST,
    DENIED_MOST,
    HintChoice,
    HintRank,
    KeptHint,
    add_candidate,
    add_hint,
    choose_hint,
    deny_id,
    is_denied,
    take_reply,
)
from receiver.core.types import Ending, Image, Outcome, PollResult

OTHERS = (Image(0, "https://pics.example/0.png?sig=a"), Image(1, "https://pics.example/other.png?sig=a"))


def test_eight_ids_are_polled_in_turn_and_64_are_remembered_as_denied() -> None:
    assert (CANDIDATES_MOST, DENIED_MOST) == (8, 64)


def test_what_is_kept_of_hints_never_changes_and_costs_the_garbage_collector_nothing() -> None:
    for struct in (KeptHint, HintChoice):
        assert (struct.__struct_config__.frozen, struct.__struct_config__.gc) == (True, False)


def test_an_end_says_more_than_a_doubted_one_than_an_unreadable_body_than_progress() -> None:
    assert HintRank.PROGRESS < HintRank.UNREADABLE < HintRank.DOUBTED < HintRank.END


def test_a_denied_id_is_remembered_by_64_bits_in_every_version() -> None:
    denied = deny_id(a_task(), "job-1").denied
    assert [len(it) for it in denied] == [16]
    assert is_denied(a_task(denied=denied), "job-1")
    assert not is_denied(a_task(denied=denied), "job-2")


def test_what_was_heard_last_of_the_progress_is_what_is_told() -> None:
    task = a_task()
    for word in ("queued", "rendering"):
        task = add_hint(task, foreign(Ending.RUNNING, status=word), POLICY, NOW)
    assert task.hint_note is not None
    assert task.hint_note.status == "rendering"


def test_of_two_bodies_that_nobody_can_read_the_first_is_what_is_told() -> None:
    task = a_task()
    for digest in (b"\x01", b"\x02"):
        task = add_hint(task, None, POLICY, NOW, digest=digest)
    assert task.hint_note is not None
    assert task.hint_note.digest == b"\x01"


def test_a_task_of_unknown_submission_takes_new_ids_up_to_its_deadline_from_when_it_was_made() -> None:
    task = a_task(submitted_at=None, task_id=None, denied=tuple(f"{it:016x}" for it in range(DENIED_MOST)))
    late = NOW + POLICY.deadline_ms
    assert add_candidate(task, says(Ending.RUNNING, "x"), POLICY, late - 1).candidates == ("x",)
    assert add_candidate(task, says(Ending.RUNNING, "x"), POLICY, late).candidates == ()


@pytest.mark.parametrize(
    ("result", "fits", "denied"),
    [
        (PollResult.OUTCOME, True, False),
        (PollResult.OUTCOME, False, True),
        (PollResult.UNREADABLE, True, True),
        (PollResult.NOTHING, True, True),
        (PollResult.BUSY, False, True),
    ],
)
def test_a_denied_id_is_allowed_again_only_by_an_answer_that_is_about_the_task(
    result: PollResult, fits: bool, denied: bool
) -> None:
    task = deny_id(a_task(), "job-1")
    assert is_denied(take_reply(task, "job-1", result, fits=fits, past_deadline=False), "job-1") is denied


# -- which end counts --


def chosen(hint: Outcome, *kept: Outcome) -> HintChoice | None:
    stored = [KeptHint(NOW + number * SECOND, it) for number, it in enumerate(kept)]
    return choose_hint(a_task(hint=hint), stored)


def test_the_hint_is_older_than_all_other_ends_that_are_still_stored() -> None:
    done, failed = foreign(Ending.COMPLETED), foreign(Ending.FAILED)
    cancelled = foreign(Ending.CANCELLED)
    assert chosen(done, failed, cancelled) == HintChoice(done, disputed=True)
    assert chosen(done, failed) == HintChoice(done, disputed=True)
    assert chosen(done) == HintChoice(done)
    assert chosen(done, done) == HintChoice(done)


@pytest.mark.parametrize(
    ("images", "disputed"),
    [
        (tuple(reversed(PICTURES)), False),
        (tuple(Image(it.image_no, it.url.replace("sig=a", "sig=b")) for it in PICTURES), False),
        (OTHERS, True),
        (PICTURES[:1], True),
    ],
)
def test_two_completions_agree_if_they_have_the_same_pictures_under_any_signature(
    images: tuple[Image, ...], disputed: bool
) -> None:
    choice = chosen(says(Ending.COMPLETED), says(Ending.COMPLETED, images=images))
    assert choice is not None
    assert choice.disputed is disputed
