"""What happened to a task, in sentences and in order."""

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from kit.fakes import DAY, HOUR, MINUTE, NOW, PICTURES, SECOND, a_ref, a_task
from receiver.core.types import (
    Ending,
    HoldReason,
    Image,
    Outcome,
    OutcomeShape,
    OutcomeSource,
    Task,
    TaskError,
    TaskOrigin,
    TaskState,
    Verdict,
)
from receiver.web.pages.sentences import format_gap, plain_text
from receiver.web.pages.task.timeline import ROWS_MOST, TaskStory, build_timeline
from receiver.web.pages.task.timeline_rows import ArrivedCallback, AskedPoll, TimelineRow

PARENT = a_task(TaskState.COMPLETED, ref=a_ref(), label="shore", settled_at=NOW - MINUTE)
HERO = a_task(
    TaskState.COMPLETED,
    label="hero",
    task_id="prov-1",
    created_at=NOW,
    submitted_at=NOW + 100,
    settled_at=NOW + 58 * SECOND,
    settled_by=OutcomeSource.CALLBACK,
    params=b'{"jobId":"a","imageNo":0,"scale":1.5}',
    parent=PARENT.ref,
    parent_image=0,
)
RUNNING = replace(HERO, state=TaskState.WAITING, settled_at=None, settled_by=None)


def says(ending: Ending, **more: Any) -> Outcome:
    images = PICTURES if ending is Ending.COMPLETED else ()
    return Outcome(ending=ending, shape=OutcomeShape.TASK, status=ending.value, images=images, **more)


def arrived(number: int, at_s: float, verdict: Verdict, outcome: Outcome | None = None, **more: Any) -> ArrivedCallback:
    return ArrivedCallback(number, NOW + int(at_s * SECOND), verdict, 200, outcome, **more)


def progress(number: int, at_s: float, share: float) -> ArrivedCallback:
    return arrived(number, at_s, Verdict.ACCEPTED, says(Ending.RUNNING, progress=share))


def rows_of(task: Task, **story: Any) -> Sequence[TimelineRow]:
    return build_timeline(TaskStory(task=task, **story)).first


def texts(rows: Sequence[TimelineRow]) -> list[str]:
    return [plain_text(it.sentence) for it in rows]


def notes(row: TimelineRow) -> list[str]:
    return [plain_text(it) for it in row.notes]


def test_a_task_from_beginning_to_end() -> None:
    rows = rows_of(
        HERO,
        parent=PARENT,
        callbacks=[progress(1281, 14, 0.35), arrived(1284, 57.9, Verdict.ACCEPTED, says(Ending.COMPLETED))],
    )

    assert texts(rows) == [
        "Taken in: extend picture 0 of shore, 1.5 times.",
        "Submitted. The provider took it as prov-1.",
        "Callback 1281, accepted: 35 % done.",
        "Callback 1284, accepted: completed, 2 pictures.",
    ]
    assert [it.gap for it in rows] == ["", "+0.1 s", "+14 s", "+58 s"]
    assert [it.mark for it in rows] == ["○", "→", "←", "✓"]
    assert [it.is_end for it in rows] == [False, False, False, True]
    assert notes(rows[3]) == ["On disk before it was answered. It settled the task; no poll was needed."]
    assert (rows[3].callback, rows[3].size) == (1284, 200)
    assert [(it.text, it.href) for it in rows[0].sentence if it.href] == [("shore", f"/tasks/{PARENT.ref}")]
    assert [it.href for it in rows[3].sentence if it.href] == ["/callbacks/1284"]


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (replace(HERO, origin=TaskOrigin.MINTED), "A callback URL was made for somebody else’s submission."),
        (replace(HERO, origin=TaskOrigin.ADOPTED), "A callback told of it; its submission is not known here."),
        (replace(HERO, params=b"{}", parent=None, parent_image=None), "Taken in: extend a picture."),
        (replace(HERO, model="midjourney_pan", params=b'{"jobId":"a","imageNo":2,"direction":0,"scale":2}'),
         "Taken in: pan picture 2 of shore, down, 2 times."),
        (replace(HERO, model="midjourney_variation", params=b'{"jobId":"a","imageNo":1,"type":1}'),
         "Taken in: vary picture 1 of shore, strong."),
        (replace(HERO, model="midjourney_upscale", params=b'{"jobId":"a","imageNo":3,"type":1}'),
         "Taken in: upscale picture 3 of shore, creative."),
        (replace(HERO, model="midjourney_upscale", params=b'{"jobId":"a","imageNo":3,"type":2}'),
         "Taken in: upscale picture 3 of shore, 2 ×."),
        (replace(HERO, model="midjourney_diffusion", params=b'{"text":"a"}', parent=None), "Taken in: make pictures."),
        (replace(HERO, model="midjourney_extend_video", params=b'{"jobId":"a","videoNo":1}'),
         "Taken in: let video 1 of shore go on."),
        (replace(HERO, model="midjourney_reroll", params=b'{"jobId":"a"}', parent_image=None),
         "Taken in: make once more the pictures of shore."),
        (replace(HERO, model="foreign/new", params=b"[]", parent=None), "Taken in: foreign/new."),
        (replace(HERO, model=None, params=b"{}", parent=None), "Taken in: a task whose model is not known."),
    ],
)  # fmt: skip
def test_how_it_began(task: Task, words: str) -> None:
    parent = PARENT if task.parent is not None else None
    assert texts(rows_of(task, parent=parent))[0] == words


def test_a_row_of_a_batch_names_its_line() -> None:
    row = rows_of(replace(HERO, turn=1212), parent=PARENT, batch="posters & more.csv")[0]

    assert plain_text(row.sentence).startswith("Taken in by batch posters & more.csv, line 1,212: extend picture 0")
    assert row.sentence[1].href == "/batches/posters%20%26%20more.csv"


def test_what_it_repeats_is_named() -> None:
    assert notes(rows_of(HERO, again_of=PARENT)[0]) == ["It repeats shore."]


@pytest.mark.parametrize(
    ("held", "settled_ms", "words"),
    [
        (HoldReason.PARENT, None, "Held: it waits for shore."),
        (HoldReason.PICK, -MINUTE, "Held: somebody has to pick a picture of shore."),
        (None, MINUTE, "Held: it waited for shore."),
        (None, -MINUTE, None),
    ],
)
def test_that_it_is_held(held: HoldReason | None, settled_ms: int | None, words: str | None) -> None:
    queued = replace(HERO, state=TaskState.QUEUED, held_by=held, submitted_at=None, settled_at=None, settled_by=None)
    parent = replace(PARENT, settled_at=None if settled_ms is None else NOW + settled_ms)
    rows = rows_of(queued, parent=parent)

    assert texts(rows)[1:] == ([words] if words else [])
    assert all(it.gap == "" for it in rows)  # nobody noted when


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (replace(RUNNING, state=TaskState.SUBMITTING, task_id=None), ["It is being submitted."]),
        (replace(RUNNING, task_id=None, unsure=True),
         ["Submitted. Its answer broke off: nobody knows whether it was taken."]),
        (replace(RUNNING, task_id=None), ["Submitted."]),
        (replace(RUNNING, submitted_at=None), []),
        (replace(RUNNING, origin=TaskOrigin.MINTED), ["The provider’s id of it became known: prov-1."]),
        (replace(RUNNING, origin=TaskOrigin.MINTED, task_id=None), []),
        (replace(HERO, state=TaskState.FAILED, settled_by=OutcomeSource.ANSWER, error=TaskError("400", "bad scale")),
         ["Refused: bad scale"]),
    ],
)  # fmt: skip
def test_that_it_was_sent(task: Task, words: list[str]) -> None:
    assert texts(rows_of(task))[1:] == words


@pytest.mark.parametrize(
    ("verdict", "outcome", "words"),
    [
        (Verdict.ACCEPTED, says(Ending.RUNNING), "accepted: still running."),
        (Verdict.DUPLICATE, says(Ending.COMPLETED), "duplicate: says again what is settled."),
        (Verdict.DUPLICATE, says(Ending.RUNNING), "duplicate: says again what is known."),
        (Verdict.LATE, says(Ending.RUNNING, progress=0.9), "late: 90 %, after the end."),
        (Verdict.CONFLICT, says(Ending.FAILED), "conflict: says failed; nothing was changed."),
        (Verdict.CONFLICT, says(Ending.COMPLETED), "conflict: says other pictures; nothing was changed."),
        (Verdict.HINT, says(Ending.COMPLETED),
         "hint: says completed, 2 pictures. Not believed by itself, the provider was asked."),
        (Verdict.UNPARSED, None, "unparsed: nobody could read it."),
    ],
)  # fmt: skip
def test_what_became_of_a_callback(verdict: Verdict, outcome: Outcome | None, words: str) -> None:
    row = rows_of(HERO, callbacks=[arrived(7, 70, verdict, outcome)])[-1]
    assert plain_text(row.sentence) == f"Callback 7, {words}"
    assert (row.is_end, row.is_fail, row.notes) == (False, False, ())


def test_without_a_key_nobody_was_asked() -> None:
    row = rows_of(RUNNING, callbacks=[arrived(7, 9, Verdict.HINT, says(Ending.FAILED))], can_poll=False)[-1]
    assert plain_text(row.sentence).endswith("Not believed by itself, and the provider cannot be asked without a key.")


def test_a_body_that_was_not_read_says_nothing() -> None:
    row = rows_of(RUNNING, callbacks=[arrived(7, 9, Verdict.ACCEPTED, unread=True)])[-1]
    assert plain_text(row.sentence) == "Callback 7, accepted: what it says is not shown here."


def test_a_failure_is_an_end_too() -> None:
    failed = replace(HERO, state=TaskState.FAILED, polls=2)
    row = rows_of(failed, callbacks=[arrived(7, 58, Verdict.ACCEPTED, says(Ending.FAILED))])[-1]
    assert (row.mark, row.is_end, row.is_fail) == ("✗", False, True)
    assert notes(row) == ["On disk before it was answered. It settled the task."]


def test_a_person_may_have_believed_it() -> None:
    believed = replace(HERO, settled_by=OutcomeSource.PERSON)
    replay = arrived(9, 58, Verdict.ACCEPTED, says(Ending.COMPLETED), replay_of=7)
    row = rows_of(believed, callbacks=[arrived(7, 20, Verdict.HINT, says(Ending.COMPLETED)), replay])[-1]
    assert notes(row) == ["A replay of callback 7.", "Believed by a person."]


def test_only_the_last_end_before_it_settled_it() -> None:
    """A later one only repeats it, whatever its verdict was."""
    ends = [
        arrived(number, at_s, Verdict.ACCEPTED, says(Ending.COMPLETED)) for number, at_s in ((1, 40), (2, 58), (3, 90))
    ]
    assert [it.callback for it in rows_of(HERO, callbacks=ends) if it.is_end] == [2]


def test_progress_is_folded() -> None:
    """The first, and each that comes 10 s or more after the one before it."""
    reports = [progress(number, at_s, number / 100) for number, at_s in enumerate((1, 2, 11.9, 21.9, 22, 23, 24))]
    rows = rows_of(RUNNING, callbacks=reports)[2:]

    assert [it.callback for it in rows] == [0, 3]
    assert [notes(it) for it in rows] == [["and 2 more reports of progress"], ["and 3 more reports of progress"]]


def test_one_report_that_is_folded_is_one() -> None:
    rows = rows_of(RUNNING, callbacks=[progress(1, 1, 0.1), progress(2, 2, 0.2)])
    assert notes(rows[-1]) == ["and 1 more report of progress"]


def test_an_end_between_reports_is_not_folded() -> None:
    late = arrived(3, 59, Verdict.LATE, says(Ending.RUNNING, progress=0.4))
    rows = rows_of(
        HERO, callbacks=[progress(1, 56, 0.1), arrived(2, 58, Verdict.ACCEPTED, says(Ending.COMPLETED)), late]
    )
    assert [it.callback for it in rows[2:]] == [1, 2, 3]


@pytest.mark.parametrize(
    ("heard", "text", "words"),
    [
        ("outcome", "HTTP 200: task prov-1 processing 40%", "40 % done"),
        ("outcome", "HTTP 200: task prov-1 queued", "queued"),
        ("outcome", "HTTP 200: task prov-1 failed: 004 no", "failed"),
        ("outcome", "HTTP 200", "still running"),
        ("unknown", "HTTP 404: not found", "it does not know the id (404)"),
        ("unknown", "not asked: this cannot be an id of this provider", "this cannot be an id of the provider’s"),
        ("barred", "HTTP 401: who?", "it refuses our key (401)"),
        ("busy", "HTTP 429", "it is too busy (429)"),
        ("unreadable", "HTTP 200", "nobody can read what it says"),
        ("nothing", "no answer: ConnectError: refused", "no answer (ConnectError)"),
        ("nothing", "HTTP 503: down", "no answer (503)"),
        ("something new", "", "no answer"),
    ],
)
def test_what_a_poll_brought(heard: str, text: str, words: str) -> None:
    row = rows_of(RUNNING, polls=[AskedPoll(NOW + MINUTE, heard, text)])[-1]
    assert (plain_text(row.sentence), row.mark) == (f"Asked the provider: {words}.", "↻")


def test_equal_polls_are_folded() -> None:
    polls = [AskedPoll(NOW + at * MINUTE, "unknown", "HTTP 404: no") for at in range(1, 5)]
    polls.append(AskedPoll(NOW + 5 * MINUTE, "nothing", "no answer: ConnectError"))
    rows = rows_of(RUNNING, polls=polls)[2:]

    assert texts(rows) == [
        "Asked the provider: it does not know the id (404). ×4 until 09:24:00",
        "Asked the provider: no answer (ConnectError).",
    ]
    assert rows[0].sentence[-1].at == NOW + 4 * MINUTE


def test_other_rows_between_keep_polls_apart() -> None:
    polls = [AskedPoll(NOW + at * MINUTE, "unknown", "HTTP 404: no") for at in (1, 3)]
    rows = rows_of(RUNNING, polls=polls, callbacks=[arrived(1, 120, Verdict.UNPARSED)])
    assert len(rows) == 5


@pytest.mark.parametrize(
    ("called_at", "words"),
    [(None, "Found by the sweep: no callback came."), (NOW + SECOND, "It settled the task.")],
)
def test_a_poll_may_have_settled_it(called_at: int | None, words: str) -> None:
    polled = replace(HERO, settled_by=OutcomeSource.POLL, called_at=called_at)
    polls = [AskedPoll(NOW + at * SECOND, "outcome", "HTTP 200: task prov-1 done") for at in (20, 57, 70)]
    rows = rows_of(polled, polls=polls)

    [end] = [it for it in rows if it.is_end]
    assert (plain_text(end.sentence), end.at, notes(end)) == ("Asked the provider: completed.", NOW + 57_000, [words])


@pytest.mark.parametrize(
    ("more", "words", "mark"),
    [
        ({}, "Completed, as a callback says.", "✓"),
        ({"state": TaskState.FAILED}, "Failed, as a callback says.", "✗"),
        ({"settled_by": OutcomeSource.POLL, "called_at": NOW}, "Completed, as the provider says. ", "✓"),
        ({"settled_by": OutcomeSource.POLL},
         "Completed, as the provider says. Found by the sweep: no callback came.", "✓"),
        ({"settled_by": OutcomeSource.PERSON}, "Completed. Believed by a person.", "✓"),
        ({"confirmed": False}, "Completed, as a callback says; nobody could confirm it.", "?"),
        ({"state": TaskState.CANCELLED}, "Cancelled by the provider, as a callback says.", "✗"),
        ({"state": TaskState.CANCELLED, "settled_by": OutcomeSource.PERSON}, "Cancelled, before it was sent.", "–"),
        ({"state": TaskState.CANCELLED, "settled_by": OutcomeSource.PARENT, "error": TaskError("x", "shore failed")},
         "Not sent: shore failed", "–"),
    ],
)  # fmt: skip
def test_an_end_stays_though_what_brought_it_is_gone(more: dict[str, Any], words: str, mark: str) -> None:
    """Callbacks and polls are removed before tasks are."""
    row = rows_of(replace(HERO, **more))[-1]
    assert (plain_text(row.sentence), row.mark) == (words, mark)


def test_that_it_was_given_up() -> None:
    lost = replace(RUNNING, state=TaskState.LOST)
    row = rows_of(lost, lost_at=NOW + DAY)[-1]
    assert (plain_text(row.sentence), row.gap, row.is_fail) == ("Given up at its deadline.", "+1 d", True)


def test_callbacks_that_were_only_counted_are_told() -> None:
    rows = rows_of(RUNNING, callbacks=[arrived(1, 5, Verdict.UNPARSED)], only_counted=1_204)
    assert texts(rows)[-1] == "1,204 more callbacks were only counted, not kept."
    assert "1 more callback was only counted, not kept." in texts(rows_of(RUNNING, only_counted=1))


def test_the_middle_of_many_rows_is_folded() -> None:
    many = [arrived(number, number * 20, Verdict.UNPARSED) for number in range(ROWS_MOST + 212 - 3)]
    told = build_timeline(TaskStory(task=RUNNING, callbacks=many))

    assert (len(told.first), len(told.middle), len(told.last)) == (30, 212, 29)
    ids = [it.callback for it in (*told.first, *told.middle, *told.last) if it.callback is not None]
    assert ids == list(range(len(many)))

    few = build_timeline(TaskStory(task=RUNNING, callbacks=many[: ROWS_MOST - 2]))
    assert (len(few.first), few.middle, few.last) == (ROWS_MOST, (), ())


def test_what_came_before_a_task_is_below_its_beginning() -> None:
    """A callback may be older than the row of the task that was adopted for it."""
    adopted = replace(HERO, origin=TaskOrigin.ADOPTED)
    rows = rows_of(adopted, callbacks=[arrived(1, -2, Verdict.UNPARSED)])
    assert [it.at - NOW for it in rows[:2]] == [-2_000, -2_000]
    assert rows[1].callback == 1


@pytest.mark.parametrize(
    ("span_ms", "words"),
    [
        (-5, "+0 s"), (0, "+0 s"), (100, "+0.1 s"), (5_000, "+5 s"), (58_400, "+58 s"), (72_000, "+1 min 12 s"),
        (599_000, "+9 min 59 s"), (611_000, "+10 min"), (HOUR, "+1 h"), (HOUR + 90_000, "+1 h 1 min"),
        (11 * HOUR + 5 * MINUTE, "+11 h"), (DAY, "+1 d"), (2 * DAY + 3 * HOUR, "+2 d 3 h"), (40 * DAY + HOUR, "+40 d"),
    ],
)  # fmt: skip
def test_gaps_are_short(span_ms: int, words: str) -> None:
    assert format_gap(span_ms) == words


def test_hostile_words_stay_words() -> None:
    task = replace(HERO, label="<b>a</b>\u202e\nb", task_id="<i>")
    pieces = [it for row in rows_of(task, parent=task) for it in row.sentence if "<" in it.text]

    assert [it.text for it in pieces] == ["<b>a</b> b", "<b>a</b> b", "<i>"]
    assert all(it.outside for it in pieces)


def test_pictures_of_another_kind_are_called_what_they_are() -> None:
    video = says(Ending.COMPLETED)
    video = replace(video, images=(Image(0, "https://a.example/0.mp4", type="video"),))
    row = rows_of(HERO, callbacks=[arrived(1, 58, Verdict.ACCEPTED, video)])[-1]
    assert plain_text(row.sentence) == "Callback 1, accepted: completed, 1 video."
