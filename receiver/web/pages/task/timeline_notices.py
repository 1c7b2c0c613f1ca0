"""Who was told of a task, and how that went, as rows of its timeline. Pure."""

from collections.abc import Sequence

from msgspec import Struct

from receiver.core.pacing import NoticeWait, WaitReason
from receiver.core.types import Notice, NoticeEvent, NoticeState
from receiver.store import Attempt
from receiver.web.pages.sentences import Piece, Sentence, format_span, outside, say
from receiver.web.pages.task.timeline_rows import ERROR_MOST, TOLD, TimelineRow

_NTH = ("", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_WAITS = {
    WaitReason.QUIET: " is held: quiet hours until ",
    WaitReason.DIGEST: " waits for its digest at ",
    WaitReason.RETRY: " waits for its next try at ",
    WaitReason.REST: " is held: its target rests until ",
    WaitReason.RATE: " is held: its target takes no more until ",
    WaitReason.PICTURES: " waits for the pictures, at most until ",
}


class NoticeStory(Struct, frozen=True, gc=False):
    """A notice with its attempts. `sheet_at` is when a contact sheet was there for it, if its target shows pictures."""

    notice: Notice
    attempts: Sequence[Attempt] = ()
    wait: NoticeWait | None = None
    sheet_at: int | None = None


def notice_rows(story: NoticeStory) -> list[TimelineRow]:
    """A row for each attempt, and one for what the notice waits for."""
    notice, attempts = story.notice, story.attempts
    rows = [_attempt_row(story, at) for at in range(len(attempts))]
    if notice.state is NoticeState.DEAD and not attempts:
        sentence = say(_target(notice), " could not be told: ", outside(notice.error or "nobody knows why"), ".")
        rows.append(_row(notice.created_at, sentence, fail=True))
    elif notice.state in (NoticeState.DUE, NoticeState.HELD) and story.wait is not None and not attempts:
        wait = story.wait
        words = say(_target(notice), _WAITS[wait.why], Piece(at=wait.until), ".")
        rows.append(_row(notice.created_at, words))
    elif notice.state is NoticeState.SENT and not attempts:  # they are older than what is kept of them
        rows.append(_row(notice.sent_at or notice.created_at, say(_target(notice), " was told", _what(notice), ".")))
    return rows


def _attempt_row(story: NoticeStory, index: int) -> TimelineRow:
    notice, attempt, last = story.notice, story.attempts[index], index == len(story.attempts) - 1
    if attempt.error is None:
        failed_before = any(it.error is not None for it in story.attempts[:index])
        nth = ""
        if failed_before:
            nth = f" at the {_NTH[index]} try" if index < len(_NTH) else f" at try {index + 1}"
        shown = story.sheet_at is not None and story.sheet_at <= attempt.at and not failed_before
        picture = ", with the contact sheet" if shown and notice.event is NoticeEvent.COMPLETED else ""
        span = format_span(attempt.duration_ms)
        told = f"{_what(notice)}{nth}{picture}"
        words = f" was told{told}{',' if told else ''} in {span}."
        return _row(attempt.at, say(_target(notice), words))
    sentence = say(_target(notice), " could not be told: ", outside(attempt.error, ERROR_MOST), ".")
    return _row(
        attempt.at,
        sentence,
        _after_failure(story, index, last=last),
        fail=True,
        fold=f"try {notice.id} {attempt.error[:ERROR_MOST]}",
    )


def _after_failure(story: NoticeStory, index: int, *, last: bool) -> Sentence:
    """What followed a failed attempt."""
    notice, attempt = story.notice, story.attempts[index]
    if not last:
        gap_ms = story.attempts[index + 1].at - attempt.at - attempt.duration_ms
        return say(f"Tried again after {format_span(max(0, gap_ms))}.")
    if notice.state is NoticeState.DEAD or notice.state is NoticeState.DISCARDED:
        tries = index + 1
        gone = "Given up after one try." if tries == 1 else f"Given up after {tries} tries."
        return say(gone, " A person wants it no more." if notice.state is NoticeState.DISCARDED else "")
    if story.wait is not None:
        return say("It", _WAITS[story.wait.why], Piece(at=story.wait.until), ".")
    return say("It is tried again.")


def _what(notice: Notice) -> str:
    return " that somebody is needed" if notice.event is NoticeEvent.ATTENTION else ""


def _target(notice: Notice) -> Piece:
    return Piece(notice.target, outside=True)


def _row(at: int, sentence: Sentence, note: Sentence = (), *, fail: bool = False, fold: str = "") -> TimelineRow:
    return TimelineRow(at, "✉", sentence, (note,) if note else (), order=TOLD, is_fail=fail, fold=fold)
