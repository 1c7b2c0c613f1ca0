"""What happened to a task, a row at a time, in words: how it began, its callbacks, polls and pictures. Pure.

`timeline` puts the rows in order; notices have a file of their own.
"""

import re
from collections.abc import Collection, Sequence
from urllib.parse import quote

from msgspec import Struct

from receiver.core.sanitize import one_line
from receiver.core.types import (
    ArchiveState,
    Ending,
    HoldReason,
    ImageCopy,
    Outcome,
    OutcomeSource,
    PollResult,
    StepKind,
    Task,
    TaskError,
    TaskOrigin,
    TaskState,
    Verdict,
)
from receiver.notify.messages.media_words import count_media, media_noun
from receiver.web.pages.look import format_size
from receiver.web.pages.sentences import Piece, Sentence, describe_work, link_task, outside, say

ERROR_MOST = 300
_HTTP = re.compile(r"HTTP ([0-9]{3})")
_POLL_STATUS = re.compile(r"task \S+ (?P<word>\S+?)(?: (?P<percent>[0-9]{1,3})%)?(?::|$)")
_FAULT = re.compile(r"(?:^|: )([A-Z][A-Za-z]*(?:Error|Timeout|Exception))\b")

# the order of rows of the same moment
TAKEN_IN, QUEUE, SENT, HEARD, SETTLED, PICTURES, TOLD, PERSON = range(8)


class TimelineRow(Struct, frozen=True, gc=False):
    """One thing that happened. `gap` is how long after the first, empty for that one and where the time is unknown."""

    at: int
    mark: str
    sentence: Sentence
    notes: tuple[Sentence, ...] = ()  # small print
    gap: str = ""
    timed: bool = True  # whether `at` is when it happened, and not only its place in the order
    order: int = HEARD  # among rows of the same moment
    callback: int | None = None  # whose body goes with it
    size: int = 0  # of that body
    is_end: bool = False
    is_fail: bool = False
    fold: str = ""  # equal ones that follow each other become one row


class ArrivedCallback(Struct, frozen=True, gc=False):
    """A stored callback, and what its body says as far as it was read."""

    id: int
    at: int
    verdict: Verdict
    size: int
    outcome: Outcome | None = None
    replay_of: int | None = None
    unread: bool = False  # its body was left out, or is gone


class AskedPoll(Struct, frozen=True, gc=False):
    """A poll: what it brought, and the line that the log has of it."""

    at: int
    heard: str
    text: str


class KeptPictures(Struct, frozen=True, gc=False):
    """What became of a task's pictures. `kept_at` is when the last was kept, if that is known."""

    types: tuple[str, ...] = ()
    copies: tuple[ImageCopy, ...] = ()
    kept_at: int | None = None
    has_sheet: bool = False


def beginning_row(
    task: Task, parent: Task | None = None, *, batch: str = "", again_of: Task | None = None
) -> TimelineRow:
    """How the task came to be known here."""
    if task.origin is TaskOrigin.MINTED:
        sentence = say("A callback URL was made for somebody else’s submission.")
    elif task.origin is TaskOrigin.ADOPTED:
        sentence = say("A callback told of it; its submission is not known here.")
    elif batch:
        line = f", line {task.turn:,}" if task.turn > 0 else ""
        link = Piece(one_line(batch, 100), f"/batches/{quote(batch, safe='')}", outside=True)
        sentence = say("Taken in by batch ", link, f"{line}: ", *describe_work(task, parent), ".")
    else:
        sentence = say("Taken in: ", *describe_work(task, parent), ".")
    notes = (say("It repeats ", link_task(again_of), "."),) if again_of is not None else ()
    return TimelineRow(task.created_at, "○", sentence, notes, order=TAKEN_IN)


def held_rows(task: Task, parent: Task | None) -> list[TimelineRow]:
    """That it waits for another task, for a pick or for a person, or waited for another task."""
    named = link_task(parent) if parent is not None else "an earlier task"
    at, rows = task.created_at, []

    def add(*pieces: str | Piece) -> None:
        rows.append(TimelineRow(at, "‖", say(*pieces), order=QUEUE, timed=False))

    if task.held_by is HoldReason.PARENT:
        add("Held: it waits for ", named, ".")
    elif task.held_by is HoldReason.PICK:
        add("Held: somebody has to pick a picture of ", named, ".")
    elif parent is not None and (parent.settled_at or 0) > task.created_at:
        add("Held: it waited for ", named, ".")
    return rows


def sent_rows(task: Task, noted: Collection[StepKind] = ()) -> list[TimelineRow]:
    """That it was submitted, and what the provider made of that; without what is among the steps that were `noted`."""
    if task.origin is TaskOrigin.ADOPTED or task.submitted_at is None:
        return []
    at = task.submitted_at
    if task.origin is TaskOrigin.MINTED:
        if task.task_id is None or StepKind.ID_GIVEN in noted:
            return []
        return [TimelineRow(at, "→", say("The provider’s id of it became known: ", _id(task.task_id), "."), order=SENT)]
    if task.settled_by is OutcomeSource.ANSWER and task.error is not None:
        return [TimelineRow(at, "✗", say("Refused: ", _quote(task.error)), order=SENT, is_fail=True)]
    if task.state is TaskState.SUBMITTING:
        return [TimelineRow(at, "→", say("It is being submitted."), order=SENT)]
    if task.task_id is not None:
        return [TimelineRow(at, "→", say("Submitted. The provider took it as ", _id(task.task_id), "."), order=SENT)]
    words = "Submitted. Its answer broke off: nobody knows whether it was taken."
    unsaid = task.unsure and StepKind.UNSURE not in noted
    return [TimelineRow(at, "?" if unsaid else "→", say(words if unsaid else "Submitted."), order=SENT)]


def callback_row(it: ArrivedCallback, *, settles: bool, task: Task, can_poll: bool = True) -> TimelineRow:
    """A callback: its number, its verdict, what it says, and what came of it."""
    ended = it.outcome is not None and it.outcome.says_end
    link = Piece(f"Callback {it.id}", f"/callbacks/{it.id}")
    sentence = say(link, f", {it.verdict.value}: {_describe_callback(it, task, can_poll=can_poll)}")
    notes = [say(f"A replay of callback {it.replay_of}.")] if it.replay_of is not None else []
    if settles and task.settled_by is OutcomeSource.PERSON:
        notes.append(say("Believed by a person."))
    elif settles:
        how = "It settled the task; no poll was needed." if not task.polls else "It settled the task."
        notes.append(say("On disk before it was answered. ", how))
    failed = settles and (it.outcome is None or it.outcome.ending is not Ending.COMPLETED)
    progress = "progress" if not ended and it.outcome is not None and it.verdict in _OF_PROGRESS else ""
    return TimelineRow(
        it.at,
        "←" if not settles else "✗" if failed else "✓",
        sentence,
        tuple(notes),
        callback=it.id,
        size=it.size,
        is_end=settles and not failed,
        is_fail=failed,
        fold=progress,
    )


_OF_PROGRESS = (Verdict.ACCEPTED, Verdict.DUPLICATE)


def _describe_callback(it: ArrivedCallback, task: Task, *, can_poll: bool) -> str:
    says, ended = describe_outcome(it.outcome), it.outcome is not None and it.outcome.says_end
    match it.verdict:
        case Verdict.ACCEPTED:
            return "what it says is not shown here." if it.unread else f"{says}."
        case Verdict.DUPLICATE:
            return f"says again what is {'known' if not ended and it.outcome is not None else 'settled'}."
        case Verdict.LATE:
            return f"{says.removesuffix(' done')}, after the end."
        case Verdict.CONFLICT:
            same = task.state is TaskState.COMPLETED and it.outcome is not None
            same = same and it.outcome is not None and it.outcome.ending is Ending.COMPLETED
            return f"says {'other pictures' if same else says}; nothing was changed."
        case Verdict.HINT:
            asked = "the provider was asked" if can_poll else "and the provider cannot be asked without a key"
            return f"says {says}. Not believed by itself, {asked}."
        case _:
            return "nobody could read it."


def describe_outcome(outcome: Outcome | None) -> str:
    """What an outcome says, in a few words: `completed, 4 pictures`, `35 % done`."""
    if outcome is None:
        return "something else"
    match outcome.ending:
        case Ending.COMPLETED:
            return f"completed, {count_media([it.type for it in outcome.images])}"
        case Ending.FAILED:
            return "failed"
        case Ending.CANCELLED:
            return "cancelled by the provider"
        case _:
            return f"{round(outcome.progress * 100)} % done" if outcome.progress is not None else "still running"


def poll_row(it: AskedPoll, *, settles: bool, task: Task) -> TimelineRow:
    """A poll: what the provider answered."""
    says = say(task.state.value) if settles else _describe_poll(it)
    sentence = say("Asked the provider: ", *says, ".")
    notes: tuple[Sentence, ...] = ()
    if settles:
        found = "Found by the sweep: no callback came." if task.called_at is None else "It settled the task."
        notes = (say(found),)
    good = settles and task.state is TaskState.COMPLETED
    mark = "↻" if not settles else "✓" if good else "✗"
    return TimelineRow(
        it.at,
        mark,
        sentence,
        notes,
        is_end=good,
        is_fail=settles and not good,
        fold="" if settles else f"poll {''.join(each.text for each in sentence)}",
    )


def _describe_poll(it: AskedPoll) -> Sentence:
    status = _HTTP.search(it.text)
    code = f" ({status[1]})" if status else ""
    match it.heard:
        case PollResult.OUTCOME.value:
            status_word = _POLL_STATUS.search(it.text)
            if status_word is not None and status_word["percent"]:
                return say(f"{status_word['percent']} % done")
            return say(outside(status_word["word"], 40)) if status_word is not None else say("still running")
        case PollResult.UNKNOWN.value:
            own = it.text.startswith("not asked")
            return say("this cannot be an id of the provider’s" if own else f"it does not know the id{code}")
        case PollResult.UNAUTHORIZED.value:
            return say(f"it refuses our key{code}")
        case PollResult.BUSY.value:
            return say(f"it is too busy{code}")
        case PollResult.UNREADABLE.value:
            return say("nobody can read what it says")
        case _:
            fault = _FAULT.search(it.text)
            return say(f"no answer ({fault[1]})" if fault else f"no answer{code}")


def ending_row(task: Task, noted: Collection[StepKind] = ()) -> TimelineRow | None:
    """How it ended, where no callback, no poll and no step among the rows says so."""
    if task.settled_at is None:
        return None
    by, at, good = task.settled_by, task.settled_at, task.state is TaskState.COMPLETED
    if task.state is TaskState.CANCELLED and by is OutcomeSource.PERSON:
        return (
            None
            if StepKind.CANCELLED in noted
            else TimelineRow(at, "–", say("Cancelled, before it was sent."), order=PERSON, is_end=True)
        )
    if by is OutcomeSource.PARENT:
        return TimelineRow(at, "–", say("Not sent: ", _quote(task.error)), order=SETTLED, is_fail=True)
    if by is OutcomeSource.ANSWER and not good:
        return None  # its row says so
    words = "Completed" if good else "Cancelled by the provider" if task.state is TaskState.CANCELLED else "Failed"
    if not task.confirmed:
        sentence = say(f"{words}, as a callback says; nobody could confirm it.")
    elif by is OutcomeSource.CALLBACK:
        sentence = say(f"{words}, as a callback says.")
    elif by is OutcomeSource.POLL:
        sentence = say(f"{words}, as the provider says. ", "Found by the sweep: no callback came.")
        sentence = sentence if task.called_at is None else sentence[:1]
    else:
        sentence = say(f"{words}. Believed by a person.")
    mark = "?" if not task.confirmed else "✓" if good else "✗"
    return TimelineRow(at, mark, sentence, order=SETTLED, is_end=good, is_fail=not good)


def lost_row(task: Task, at: int) -> TimelineRow:
    """That it was given up, at its deadline."""
    return TimelineRow(at, "?", say("Given up at its deadline."), order=SETTLED, is_fail=True)


def picture_rows(task: Task, pictures: KeptPictures) -> list[TimelineRow]:
    """Which pictures were kept, and why others were not."""
    if not pictures.types or task.settled_at is None:
        return []
    kept = [it for it in pictures.copies if it.file is not None]
    missing = [it for it in pictures.copies if it.file is None]
    at, timed = pictures.kept_at or task.settled_at, pictures.kept_at is not None
    noun, rows = media_noun(pictures.types), []
    if task.archive is ArchiveState.DUE and len(kept) < len(pictures.types):
        rows.append(TimelineRow(at, "▦", _describe_due(task, pictures, len(kept)), order=PICTURES, timed=timed))
    elif kept:
        size = sum(it.size or 0 for it in kept)
        words = f"{len(kept)} {noun}{'' if len(kept) == 1 else 's'} kept" + (f", {format_size(size)}" if size else "")
        sheet = " Contact sheet drawn." if pictures.has_sheet else ""
        rows.append(TimelineRow(at, "▦", say(f"{words}.{sheet}"), order=PICTURES, timed=timed))
    by_error: dict[str, list[int]] = {}
    for it in missing:
        by_error.setdefault(it.error or "nobody knows why", []).append(it.image_no)
    for error, numbers in by_error.items():
        sentence = say(f"{_name_numbers(noun, numbers)} not kept: ", outside(error, ERROR_MOST), ".")
        rows.append(TimelineRow(at, "▦", sentence, order=PICTURES, timed=timed, is_fail=True))
    return rows


def _describe_due(task: Task, pictures: KeptPictures, kept: int) -> Sentence:
    """How many are kept, and when the others are fetched."""
    count = len(pictures.types)
    if kept:
        words, others = f"{kept} of {count_media(pictures.types)} kept; the others are ", "fetched now."
    else:
        words, others = f"{count_media(pictures.types)} {'is' if count == 1 else 'are'} ", "being fetched."
    if task.archive_tries and task.archive_at is not None:
        return say(words, "fetched again at ", Piece(at=task.archive_at), ".")
    return say(words, others)


def _name_numbers(noun: str, numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"{noun.capitalize()} {numbers[0]}"
    shown = ", ".join(map(str, numbers[:-1])) + f" and {numbers[-1]}"
    return f"{noun.capitalize()}s {shown}" if len(numbers) <= 12 else f"{len(numbers)} {noun}s"


def _id(text: str) -> Piece:
    return Piece(one_line(text, 256), outside=True, code=True)


def _quote(error: TaskError | None) -> Piece:
    return outside((error and (error.message or error.code)) or "no reason was given", ERROR_MOST)
