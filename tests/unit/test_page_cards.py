"""The card of a task in every state, and of a batch."""

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from kit.fakes import NOW, a_ref
from receiver.core.batches import BatchFigures
from receiver.core.chains import PARENT_FAILED
from receiver.core.queue_waits import QueueReason, QueueWait
from receiver.core.types import (
    ArchiveState,
    HoldReason,
    Image,
    ImageCopy,
    LanePriority,
    OutcomeSource,
    PauseCause,
    QueueLane,
    Task,
    TaskError,
    TaskState,
    Usage,
)
from receiver.web.pages.gallery.batch_cards import describe_time_left, make_batch_card
from receiver.web.pages.gallery.cards import UNSURE_AFTER_MS, CardContext, Thumbnail, make_card, nearest_ratio
from receiver.web.pages.going_on.stage import Source

REF = a_ref()
TASK = Task(
    ref=REF,
    created_at=NOW - 60_000,
    submitted_at=NOW - 36_000,
    provider="vtrix",
    model="midjourney_outpaint",
    label="hero",
    prompt="a house by the sea",
    params=b'{"scale":2.0,"imageNo":2}',
)
DONE = replace(
    TASK,
    state=TaskState.COMPLETED,
    settled_at=NOW - 2_000,
    usage=Usage(Decimal("0.05")),
    archive=ArchiveState.DONE,
)


def made(count: int, kept: int | None = None, *, width: int = 1024, height: int = 1024) -> CardContext:
    """What a task made: `count` pictures, of which the first `kept` were kept."""
    images = tuple(Image(number, f"https://pics.example/{number}.png") for number in range(count))
    copies = tuple(
        ImageCopy(
            number,
            file=f"{number}.png",
            media_type="image/png",
            width=width,
            height=height,
            small=f"{number}.small.jpg",
            tiny=f"{number}.tiny.jpg",
        )
        for number in range(count if kept is None else kept)
    )
    return CardContext(images=images, copies=copies)


@pytest.mark.parametrize(
    ("width", "height", "ratio"),
    [
        (1024, 1024, "r11"),
        (1456, 816, "r169"),
        (816, 1456, "r916"),
        (960, 640, "r32"),
        (640, 960, "r23"),
        (1, 9, "r12"),
        (9, 1, "r21"),
        (None, 10, "r11"),
        (10, 0, "r11"),
    ],
)
def test_a_card_has_the_ratio_nearest_to_its_pictures(width: int | None, height: int | None, ratio: str) -> None:
    assert nearest_ratio(width, height) == ratio


@pytest.mark.parametrize(
    ("count", "shown", "more"), [(1, 1, 0), (2, 2, 0), (3, 3, 0), (4, 4, 0), (5, 3, 2), (40, 3, 37)]
)
def test_a_completed_task_shows_its_pictures_and_no_state(count: int, shown: int, more: int) -> None:
    card = make_card(DONE, made(count), NOW)

    assert (len(card.pictures), card.more) == (shown, more)
    assert card.pictures[0].src == f"/images/{TASK.ref}/0.small.jpg"
    assert card.pictures[0].small == f"/images/{TASK.ref}/0.tiny.jpg"
    assert (card.kind, card.word, card.facts) == ("", "", ("$0.05", "outpaint"))
    assert card.announcement == f"hero is completed, {count} picture{'s' if count > 1 else ''}."


def test_two_pictures_stand_side_by_side_in_a_card_of_twice_their_width() -> None:
    assert make_card(DONE, made(2), NOW).ratio == "r21"
    assert make_card(DONE, made(2, width=640, height=960), NOW).ratio == "r43"
    assert make_card(DONE, made(4, width=640, height=960), NOW).ratio == "r23"


def test_an_unconfirmed_end_says_so() -> None:
    card = make_card(replace(DONE, confirmed=False), made(4), NOW)
    assert (card.kind, card.word) == ("warn", "unconfirmed")


def test_pictures_that_are_being_fetched_are_fields() -> None:
    card = make_card(replace(DONE, archive=ArchiveState.DUE), made(4, kept=2), NOW)

    assert [bool(it.src) for it in card.pictures] == [True, True, False, False]
    assert card.facts == ("2 of 4 pictures being fetched",)
    assert make_card(replace(DONE, archive=ArchiveState.DUE), made(4, kept=0), NOW).pictures == (Thumbnail(),) * 4


def test_pictures_that_were_not_kept_are_said_in_words() -> None:
    lost = tuple(ImageCopy(number, error="the link had ended") for number in range(4))
    card = make_card(DONE, replace(made(4), copies=lost), NOW)

    assert (card.kind, card.word, card.pictures) == ("good", "completed", ())
    assert card.says == "4 pictures, of which none was kept: the link had ended."


def test_a_video_is_said_in_words() -> None:
    copies = (ImageCopy(0, file="0.mp4", media_type="video/mp4"),)
    card = make_card(DONE, CardContext(images=(Image(0, "https://x.example/0.mp4", type="video"),), copies=copies), NOW)

    assert (card.word, card.says) == ("completed", "1 video.")


def test_a_failed_task_says_why_and_shows_its_prompt() -> None:
    failed = replace(
        TASK, state=TaskState.FAILED, settled_at=NOW, error=TaskError("004", "the filter <b>stopped</b>\nthe prompt")
    )
    card = make_card(failed, CardContext(), NOW)

    assert (card.kind, card.word, card.quote) == ("bad", "failed", "a house by the sea")
    assert card.says == "the filter <b>stopped</b> the prompt"
    assert (card.facts, card.announcement) == (("outpaint",), "hero has failed.")


@pytest.mark.parametrize(
    ("state", "word", "start"),
    [(TaskState.LOST, "lost", "No callback came"), (TaskState.CANCELLED, "cancelled", "The provider withdrew it")],
)
def test_lost_and_cancelled_tasks_say_what_that_means(state: TaskState, word: str, start: str) -> None:
    card = make_card(replace(TASK, state=state, settled_at=NOW), CardContext(), NOW)
    assert card.word == word
    assert card.says.startswith(start)


def test_what_was_withdrawn_before_it_was_sent_cost_nothing() -> None:
    withdrawn = replace(TASK, state=TaskState.CANCELLED, submitted_at=None, settled_at=NOW)
    assert make_card(withdrawn, CardContext(), NOW).says == "Withdrawn before it was sent. Nothing was charged."


def test_what_was_not_sent_because_of_another_says_so() -> None:
    why = TaskError(PARENT_FAILED, "“hero”, which it goes on from, failed: the filter stopped it")
    step = replace(TASK, state=TaskState.CANCELLED, submitted_at=None, settled_at=NOW, error=why)
    step = replace(step, settled_by=OutcomeSource.PARENT, parent=a_ref(1))
    parent = replace(TASK, step="make", state=TaskState.FAILED)

    says = make_card(step, CardContext(parent=parent), NOW).says
    assert says == "hero · make failed, so this was not sent. Nothing was charged."
    assert make_card(step, CardContext(), NOW).says == (
        "What it goes on from did not come: “hero”, which it goes on from, failed: the filter stopped it. "
        "It was not sent; nothing was charged."
    )


def test_a_task_for_which_a_picture_is_to_be_picked_shows_them() -> None:
    held = replace(TASK, state=TaskState.QUEUED, submitted_at=None, parent=a_ref(1), held_by=HoldReason.PICK)
    wait = QueueWait(QueueReason.PICK)
    card = make_card(held, CardContext(picks=made(4, width=1200, height=800).copies, wait=wait), NOW)

    assert [it.small for it in card.pictures] == [f"/images/{held.parent}/{it}.tiny.jpg" for it in range(4)]
    assert (card.ratio, card.word, card.facts) == ("r32", "held", ("waits for your pick",))
    assert card.frame is not None, "it is still under way"
    assert make_card(held, CardContext(wait=wait), NOW).pictures == ()


@pytest.mark.parametrize(
    ("more", "title"),
    [
        ({"step": "wide"}, "hero · wide"),
        ({"label": None, "step": "wide"}, "a house by the sea · wide"),
        ({"label": None, "prompt": None, "step": "wide"}, "wide"),
        ({"label": None, "parent": REF}, "Extend picture 2, 2 times: a house by the sea"),
        (
            {"label": None, "parent": REF, "model": "midjourney_upscale", "params": b"{}"},
            "Upscale a picture: a house by the sea",
        ),
        ({"label": None, "parent": REF, "prompt": None}, "Extend picture 2, 2 times"),
        ({"parent": REF}, "hero"),
        ({"label": None}, "a house by the sea"),
    ],
    ids=range(8),
)
def test_tasks_of_one_prompt_have_names_of_their_own(more: dict[str, Any], title: str) -> None:
    assert make_card(replace(TASK, **more), CardContext(), NOW).title == title


def test_a_waiting_task_shows_its_source_in_the_new_frame() -> None:
    waiting = replace(TASK, state=TaskState.WAITING, progress=0.617)
    context = CardContext(source=Source("/images/a/2.small.jpg", 1200, 800), usual_ms=58_000)
    card = make_card(waiting, context, NOW)

    assert card.frame is not None
    assert (card.frame.x, card.frame.width, card.ratio) == (25, 50, "r32")
    assert (card.kind, card.word, card.progress) == ("busy", "waiting", 62)
    assert card.facts == ("62 %", "36 s, usually 58 s")
    assert card.quote == ""


def test_a_waiting_task_without_a_source_shows_its_prompt() -> None:
    card = make_card(replace(TASK, state=TaskState.WAITING), CardContext(), NOW)

    assert (card.frame is not None and card.frame.src, card.quote) == ("", "a house by the sea")
    assert (card.facts, card.progress) == (("36 s",), None)


@pytest.mark.parametrize(
    ("wait", "held_by", "expected"),
    [
        (None, None, ("hold", "queued", ())),
        (QueueWait(QueueReason.TURN), None, ("hold", "queued", ())),
        (QueueWait(QueueReason.ROOM), None, ("hold", "queued", ("the provider has no room",))),
        (
            QueueWait(QueueReason.KEY),
            HoldReason.PAUSE,
            ("hold", "paused", ("the provider refuses our key or balance",)),
        ),
        (QueueWait(QueueReason.PARENT), HoldReason.PARENT, ("hold", "held", ("waits for the task before it",))),
        (QueueWait(QueueReason.PERSON), HoldReason.PERSON, ("warn", "queued", ("needs you",))),
    ],
)
def test_a_queued_task_says_what_it_waits_for(
    wait: QueueWait | None, held_by: HoldReason | None, expected: tuple[str, str, tuple[str, ...]]
) -> None:
    card = make_card(replace(TASK, held_by=held_by), CardContext(wait=wait), NOW)
    assert (card.kind, card.word, card.facts) == expected


def test_every_reason_to_wait_has_words() -> None:
    for why in set(QueueReason) - {QueueReason.TURN, QueueReason.PERSON}:
        card = make_card(TASK, CardContext(wait=QueueWait(why, until=NOW)), NOW)
        assert card.facts[0] != "waits"
        assert "tried again at " in card.facts[0]


def test_an_unsure_task_needs_a_person_after_a_while() -> None:
    unsure = replace(TASK, state=TaskState.WAITING, unsure=True)
    assert make_card(unsure, CardContext(), NOW).facts == ("waits for its callback",)
    assert make_card(unsure, CardContext(), NOW + UNSURE_AFTER_MS).facts == ("needs you",)


LANE = QueueLane(id=7, name="posters.csv", batch=True, priority=LanePriority.LOW, created_at=NOW - 3_000_000)
FIGURES = BatchFigures(
    {
        TaskState.COMPLETED: 312,
        TaskState.FAILED: 5,
        TaskState.LOST: 1,
        TaskState.WAITING: 9,
        TaskState.SUBMITTING: 1,
        TaskState.QUEUED: 172,
    },
    cost=Decimal("15.6"),
)


def test_a_batch_says_how_far_it_is() -> None:
    card = make_batch_card(LANE, FIGURES, [], NOW)

    assert (card.kind, card.word) == ("busy", "under way")
    assert (card.total, card.ended, card.percent) == (500, 318, 63)
    assert (card.completed, card.failed, card.in_hand, card.queued) == (312, 6, 10, 172)
    assert (card.cost, card.left, card.why) == ("$15.60", "", "")


def test_a_paused_batch_says_why() -> None:
    paused = replace(LANE, paused_at=NOW, paused_by=PauseCause.BUDGET)
    card = make_batch_card(paused, FIGURES, [DONE, DONE], NOW)
    assert (card.word, card.why, card.left) == ("paused", "its budget is used up", "")
    assert make_batch_card(replace(paused, paused_by=PauseCause.PERSON), FIGURES, [], NOW).why == "by a person"


def test_a_batch_that_has_ended_is_done() -> None:
    assert make_batch_card(replace(LANE, finished_at=NOW), FIGURES, [], NOW).word == "done"
    assert make_batch_card(LANE, BatchFigures({}), [], NOW).percent == 0


@pytest.mark.parametrize(
    ("open_tasks", "ages_ms", "expected"),
    [
        (172, [1_000, 5_000, 20_000], "about 19 min left"),
        (1, [1_000, 2_000], "less than a minute left"),
        (9_999, [60_000, 120_000], "about 167 h left"),
        (0, [1_000, 2_000], ""),
        (10, [1_000], ""),
    ],
)
def test_the_time_left_follows_the_pace_of_the_newest_ends(open_tasks: int, ages_ms: list[int], expected: str) -> None:
    newest = [replace(DONE, settled_at=NOW - age) for age in ages_ms]
    assert describe_time_left(open_tasks, newest, NOW) == expected
