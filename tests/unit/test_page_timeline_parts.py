"""The rows of pictures, of notices and of what was noted when it happened."""

from typing import Any

import pytest
from msgspec.structs import replace

from kit.fakes import HOUR, MINUTE, NOW, SECOND, a_notice, a_ref, a_task
from receiver.core.pacing import NoticeWait, WaitReason
from receiver.core.types import (
    ArchiveState,
    Ending,
    ImageCopy,
    NoticeEvent,
    NoticeState,
    Outcome,
    OutcomeShape,
    OutcomeSource,
    Step,
    StepKind,
    TaskOrigin,
    TaskState,
    Verdict,
)
from receiver.store import Attempt
from receiver.web.pages.sentences import plain_text
from receiver.web.pages.task.timeline import TaskStory, build_timeline
from receiver.web.pages.task.timeline_notices import NoticeStory, notice_rows
from receiver.web.pages.task.timeline_rows import ArrivedCallback, KeptPictures, TimelineRow, picture_rows
from receiver.web.pages.task.timeline_steps import kept_at, step_rows

TASK = a_task(
    TaskState.COMPLETED,
    submitted_at=NOW + 20 * SECOND,
    settled_at=NOW + MINUTE,
    settled_by=OutcomeSource.CALLBACK,
    archive=ArchiveState.DONE,
    parent_image=2,
)
OTHER = a_ref()


def words(row: TimelineRow) -> tuple[str, ...]:
    return (plain_text(row.sentence), *map(plain_text, row.notes))


def kept(*numbers: int, size: int = 1_450_000) -> tuple[ImageCopy, ...]:
    return tuple(ImageCopy(number, file=f"{number}.png", size=size) for number in numbers)


def lost(*numbers: int, error: str | None = "pics.example answered HTTP 403") -> tuple[ImageCopy, ...]:
    return tuple(ImageCopy(number, error=error) for number in numbers)


@pytest.mark.parametrize(
    ("types", "copies", "more", "said"),
    [
        (4, kept(0, 1, 2, 3), {}, ["4 pictures kept, 5.8 MB. Contact sheet drawn."]),
        (1, kept(0, size=900), {"has_sheet": False}, ["1 picture kept, 900 bytes."]),
        (2, kept(0) + lost(1), {"has_sheet": False},
         ["1 picture kept, 1.4 MB.", "Picture 1 not kept: pics.example answered HTTP 403."]),
        (3, lost(0, 1, 2), {}, ["Pictures 0, 1 and 2 not kept: pics.example answered HTTP 403."]),
        (3, lost(0) + lost(1, error=None), {},
         ["Picture 0 not kept: pics.example answered HTTP 403.", "Picture 1 not kept: nobody knows why."]),
        (40, lost(*range(40)), {}, ["40 pictures not kept: pics.example answered HTTP 403."]),
        (0, (), {}, []),
    ],
)  # fmt: skip
def test_which_pictures_were_kept(
    types: int, copies: tuple[ImageCopy, ...], more: dict[str, Any], said: list[str]
) -> None:
    pictures = KeptPictures(("image",) * types, copies, NOW + 62 * SECOND, **{"has_sheet": True, **more})
    rows = picture_rows(TASK, pictures)

    assert [words(it)[0] for it in rows] == said
    assert all(it.timed and it.at == NOW + 62 * SECOND for it in rows)
    assert [it.is_fail for it in rows] == ["not kept" in it for it in said]


@pytest.mark.parametrize(
    ("copies", "more", "said"),
    [
        ((), {}, "2 pictures are being fetched."),
        ((), {"archive_tries": 1, "archive_at": NOW + HOUR}, "2 pictures are fetched again at 10:20:00."),
        (kept(0), {}, "1 of 2 pictures kept; the others are fetched now."),
        (kept(0), {"archive_tries": 2, "archive_at": NOW + HOUR},
         "1 of 2 pictures kept; the others are fetched again at 10:20:00."),
    ],
)  # fmt: skip
def test_that_pictures_are_still_fetched(copies: tuple[ImageCopy, ...], more: dict[str, Any], said: str) -> None:
    [row] = picture_rows(replace(TASK, archive=ArchiveState.DUE, **more), KeptPictures(("image",) * 2, copies))
    assert words(row) == (said,)
    assert not row.timed


def test_when_they_were_kept_is_noted() -> None:
    steps = [Step(TASK.ref, NOW + at, kind) for at, kind in ((5, StepKind.KEPT), (9, StepKind.NOT_KEPT))]
    assert kept_at(steps) == NOW + 9
    assert kept_at([]) is None
    assert step_rows(steps, TASK) == []


def story(state: NoticeState, *attempts: tuple[int, str | None], **more: Any) -> NoticeStory:
    """A notice to `me` with attempts at so many seconds, each of which took 640 ms."""
    given = {it: more.pop(it) for it in ("wait", "sheet_at") if it in more}
    tries = [Attempt(1, NOW + at * SECOND, 640, error) for at, error in attempts]
    return NoticeStory(a_notice("me", state=state, **more), tries, **given)


def test_who_was_told() -> None:
    [row] = notice_rows(story(NoticeState.SENT, (61, None)))
    assert words(row) == ("me was told in 640 ms.",)
    assert (row.mark, row.at, row.is_fail) == ("✉", NOW + 61 * SECOND, False)


@pytest.mark.parametrize(("sheet_at", "shown"), [(NOW + 60_000, True), (NOW + 61_000, True), (NOW + 61_001, False)])
def test_the_sheet_went_along_if_it_was_there(sheet_at: int, shown: bool) -> None:
    [row] = notice_rows(story(NoticeState.SENT, (61, None), sheet_at=sheet_at))
    assert words(row) == (f"me was told{', with the contact sheet,' if shown else ''} in 640 ms.",)


def test_of_a_failure_no_sheet_is_told() -> None:
    [row] = notice_rows(story(NoticeState.SENT, (61, None), sheet_at=NOW, event=NoticeEvent.FAILED))
    assert words(row) == ("me was told in 640 ms.",)


def test_a_second_try() -> None:
    rows = notice_rows(story(NoticeState.SENT, (61, "451 try <b>later</b>"), (67, None), sheet_at=NOW))
    assert [words(it) for it in rows] == [
        ("me could not be told: 451 try <b>later</b>.", "Tried again after 5.4 s."),
        ("me was told at the second try, in 640 ms.",),
    ]
    assert [it.is_fail for it in rows] == [True, False]
    assert rows[0].sentence[2].outside


def test_a_twelfth_try() -> None:
    rows = notice_rows(story(NoticeState.SENT, *((at, "no") for at in range(11)), (20, None)))
    assert words(rows[-1]) == ("me was told at try 12, in 640 ms.",)


@pytest.mark.parametrize(
    ("state", "tries", "note"),
    [
        (NoticeState.DEAD, 8, "Given up after 8 tries."),
        (NoticeState.DEAD, 1, "Given up after one try."),
        (NoticeState.DISCARDED, 2, "Given up after 2 tries. A person wants it no more."),
        (NoticeState.SENDING, 1, "It is tried again."),
    ],
)
def test_what_followed_the_last_failure(state: NoticeState, tries: int, note: str) -> None:
    rows = notice_rows(story(state, *((at, "no") for at in range(tries))))
    assert len(rows) == tries
    assert words(rows[-1])[1] == note


def test_tries_that_failed_alike_are_one_row_which_says_what_came_of_it() -> None:
    tries = story(NoticeState.DEAD, (61, "HTTP 404"), (65, "HTTP 404"), (80, "HTTP 404"), (120, "HTTP 500"))
    rows = build_timeline(TaskStory(task=replace(TASK, settled_at=None, settled_by=None), notices=[tries])).first
    assert [words(it) for it in rows[-2:]] == [
        ("me could not be told: HTTP 404. ×3 until 09:21:20", "Tried again after 39 s."),
        ("me could not be told: HTTP 500.", "Given up after 4 tries."),
    ]


def test_of_a_batchs_task_nobody_is_told_by_itself() -> None:
    [row, *_] = build_timeline(TaskStory(task=TASK, batch="rows", batch_tells=True)).first
    assert words(row)[1:] == ("Nobody is told of this task by itself: its batch sends one ping at its end.",)


def test_after_a_failure_it_waits() -> None:
    waits = NoticeWait(WaitReason.RETRY, NOW + HOUR)
    rows = notice_rows(story(NoticeState.DUE, (1, "no"), wait=waits))
    assert words(rows[-1])[1] == "It waits for its next try at 10:20:00."


@pytest.mark.parametrize(
    ("why", "said"),
    [
        (WaitReason.QUIET, "is held: quiet hours until "),
        (WaitReason.DIGEST, "waits for its digest at "),
        (WaitReason.RETRY, "waits for its next try at "),
        (WaitReason.REST, "is held: its target rests until "),
        (WaitReason.RATE, "is held: its target takes no more until "),
        (WaitReason.PICTURES, "waits for the pictures, at most until "),
    ],
)
def test_what_a_notice_waits_for(why: WaitReason, said: str) -> None:
    [row] = notice_rows(story(NoticeState.HELD, wait=NoticeWait(why, NOW + HOUR)))
    assert words(row) == (f"me {said}10:20:00.",)


def test_a_notice_that_is_next_has_no_row() -> None:
    assert notice_rows(story(NoticeState.DUE)) == []


def test_a_target_that_is_gone_was_not_told() -> None:
    [row] = notice_rows(story(NoticeState.DEAD, error="this target is no longer configured"))
    assert words(row) == ("me could not be told: this target is no longer configured.",)
    assert row.is_fail


def test_attempts_are_removed_before_their_notices() -> None:
    [row] = notice_rows(story(NoticeState.SENT, sent_at=NOW + MINUTE))
    assert (words(row), row.at) == (("me was told.",), NOW + MINUTE)


def test_that_somebody_is_needed() -> None:
    [row] = notice_rows(story(NoticeState.SENT, (1, None), event=NoticeEvent.ATTENTION))
    assert words(row) == ("me was told that somebody is needed, in 640 ms.",)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (StepKind.PUT_BACK, "HTTP 429: slow down", ("The provider was full (429); tried again after 15 s.",)),
        (StepKind.PUT_BACK, "HTTP 503", ("The provider was full (503); tried again after 15 s.",)),
        (StepKind.PUT_BACK, "no answer: ConnectError: refused",
         ("Nothing reached the provider (ConnectError); tried again after 15 s.",)),
        (StepKind.PUT_BACK, "odd <i>", ("The provider did not take it: odd <i>; tried again after 15 s.",)),
        (StepKind.REFUSED, "HTTP 401: no", ("Paused: the provider refuses our key (401); tried again after 15 s.",)),
        (StepKind.REFUSED, "", ("Paused: the provider refuses it: no reason was given; tried again after 15 s.",)),
        (StepKind.UNSURE, "", ("Its answer broke off: nobody knows whether it was taken.",)),
        (StepKind.CANCELLED, "", ("Cancelled, before it was sent.",)),
        (StepKind.RESUBMITTED, "", ("Submitted again.",)),
        (StepKind.REPEATED, OTHER, ("Submitted again, as a new task.",)),
        (StepKind.REPEATED, "", ("Submitted again, as a new task.",)),
        (StepKind.ID_GIVEN, "prov-<1>", ("Somebody told its id: prov-<1>.",)),
        (StepKind.ID_GIVEN, "", ("Somebody told its id.",)),
        (StepKind.PICKED, "", ("Somebody picked picture 2.",)),
        (StepKind.BELIEVED, "7", ("A person believed a callback.",)),
        (StepKind.PUT_FIRST, "", ("Put in front of all others.",)),
        (StepKind.FETCHED_AGAIN, "", ("Its missing pictures were asked for again.",)),
        (StepKind.SHARED, "6 December", ("Shared until 6 December.",)),
        (StepKind.SHARED, "", ("Shared.",)),
        (StepKind.NOTIFIED, "", ("Notified again.",)),
    ],
)  # fmt: skip
def test_what_was_noted(kind: StepKind, text: str, said: tuple[str, ...]) -> None:
    [row] = step_rows([Step(TASK.ref, NOW + 5 * SECOND, kind, text)], TASK)
    assert words(row) == said


def test_a_new_task_is_linked() -> None:
    [row] = step_rows([Step(TASK.ref, NOW, StepKind.REPEATED, OTHER)], TASK)
    assert [it.href for it in row.sentence if it.href] == [f"/tasks/{OTHER}"]


def test_every_kind_of_step_is_told_or_stands_with_the_pictures() -> None:
    rows = [step_rows([Step(TASK.ref, NOW, kind)], TASK) for kind in StepKind]
    assert [kind for kind, found in zip(StepKind, rows, strict=True) if not found] == [StepKind.KEPT, StepKind.NOT_KEPT]


def test_an_answer_that_broke_off_says_when() -> None:
    [row] = step_rows([Step(TASK.ref, NOW + 30 * SECOND, StepKind.UNSURE, "ReadTimeout")], TASK)
    assert words(row) == ("Its answer broke off after 10 s: nobody knows whether it was taken.", "ReadTimeout")


def test_equal_tries_are_folded() -> None:
    steps = [Step(TASK.ref, NOW + at * SECOND, StepKind.PUT_BACK, "HTTP 429: no") for at in (1, 2, 4)]
    queued = replace(TASK, state=TaskState.QUEUED, submitted_at=None, settled_at=None, settled_by=None)
    rows = build_timeline(TaskStory(task=queued, steps=steps)).first

    assert words(rows[-1]) == ("The provider was full (429); tried again after 1 s. ×3",)
    assert len(rows) == 2


def test_what_is_noted_is_not_told_twice() -> None:
    cancelled = replace(TASK, state=TaskState.CANCELLED, submitted_at=None, settled_by=OutcomeSource.PERSON)
    unsure = replace(TASK, state=TaskState.WAITING, unsure=True, task_id=None, settled_at=None, settled_by=None)
    minted = replace(TASK, origin=TaskOrigin.MINTED, settled_at=None, settled_by=None)
    for task, kind, said in (
        (cancelled, StepKind.CANCELLED, ["Cancelled, before it was sent."]),
        (
            unsure,
            StepKind.UNSURE,
            ["Submitted.", "Its answer broke off after 10 s: nobody knows whether it was taken."],
        ),
        (minted, StepKind.ID_GIVEN, ["Somebody told its id: job-1."]),
    ):
        text = "job-1" if kind is StepKind.ID_GIVEN else ""
        rows = build_timeline(TaskStory(task=task, steps=[Step(task.ref, NOW + 30 * SECOND, kind, text)])).first
        assert [words(it)[0] for it in rows[1:]] == said


def test_who_believed_a_callback_stands_with_it() -> None:
    images = Outcome(Ending.FAILED, OutcomeShape.TASK, "failed")
    failed = replace(TASK, state=TaskState.FAILED, settled_by=OutcomeSource.PERSON)
    steps = [Step(TASK.ref, NOW + MINUTE, StepKind.BELIEVED, "7")]
    accepted = ArrivedCallback(9, NOW + MINUTE, Verdict.ACCEPTED, 10, images, replay_of=7)

    told = [words(it) for it in build_timeline(TaskStory(task=failed, steps=steps, callbacks=[accepted])).first]
    assert ("Callback 9, accepted: failed.", "A replay of callback 7.", "Believed by a person.") in told
    assert not any(it[0] == "A person believed a callback." for it in told)
    left = [words(it)[0] for it in build_timeline(TaskStory(task=failed, steps=steps)).first]
    assert "A person believed a callback." in left
