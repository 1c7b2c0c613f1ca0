"""How a task stands, in the line below its title, and what a person can do about it from its page. Pure."""

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from receiver.core.hints import next_id
from receiver.core.money import format_usd
from receiver.core.queue_waits import QueueReason, QueueWait
from receiver.core.sanitize import format_duration
from receiver.core.types import (
    ArchiveState,
    HoldReason,
    Image,
    ImageCopy,
    OutcomeSource,
    Task,
    TaskOrigin,
    TaskState,
)
from receiver.web.pages.gallery.cards import UNSURE_AFTER_MS, CardContext, make_card
from receiver.web.pages.sentences import Piece, Sentence, link_task, outside, say

_TOLD_MOST = 4  # targets that are named


class TaskAct(StrEnum):
    """What a person can do from a task's page."""

    DOWNLOAD = "download"
    SHARE = "share"
    NOTIFY_AGAIN = "notify-again"
    POLL = "poll"
    CANCEL = "cancel"
    RESUBMIT = "resubmit"
    TELL_ID = "task-id"
    FETCH_AGAIN = "fetch-again"


class TaskScene(Struct, frozen=True, kw_only=True):
    """A task with what its page knows besides it. `missing` are copies that failed; `why_unconfirmed` is what the
    notice of its end says."""

    task: Task
    now: int
    images: Sequence[Image] = ()
    copies: Sequence[ImageCopy] = ()
    wait: QueueWait | None = None
    usual_ms: int | None = None
    parent: Task | None = None
    told: Sequence[str] = ()  # the targets that were sent its end
    lost_at: int | None = None
    can_poll: bool = True
    has_targets: bool = True
    why_unconfirmed: str = ""
    repeated: Task | None = None  # the newest task that repeats it

    @property
    def asks_person_at(self) -> int:
        """When a person is asked, if nobody knows by then whether the provider has the task."""
        return (self.task.submitted_at or self.task.created_at) + UNSURE_AFTER_MS

    @property
    def kept(self) -> int:
        """How many of its pictures have a copy."""
        return sum(it.file is not None for it in self.copies)

    @property
    def missing(self) -> list[ImageCopy]:
        """The pictures without a copy that are not fetched any more."""
        return [] if self.task.archive is ArchiveState.DUE else [it for it in self.copies if it.file is None]

    @property
    def needs_person(self) -> bool:
        """Whether nobody but a person can say whether the provider has the task."""
        return self.task.unsure and self.task.state is TaskState.WAITING and self.now > self.asks_person_at


class StateLine(Struct, frozen=True):
    """A mark and a word, and what is said beside it."""

    kind: str
    word: str
    facts: tuple[Sentence, ...] = ()
    percent: int | None = None  # how far it is, while it is under way


def describe_state(scene: TaskScene) -> StateLine:
    """The line below a task's title."""
    task = scene.task
    match task.state:
        case TaskState.COMPLETED:
            kind, word = ("good", "completed") if task.confirmed else ("warn", "unconfirmed")
            return StateLine(kind, word, _join(*_when(task), _took("took", task), _cost(task), _told(scene)))
        case TaskState.FAILED:
            word = "failed" if task.confirmed else "failed, unconfirmed"
            charged = _charged(task) if task.confirmed else _cost(task)
            return StateLine(
                "bad", word, _join(*_when(task), _took("after", task), charged, _told(scene), _repeated(scene))
            )
        case TaskState.CANCELLED:
            return StateLine("off", "cancelled", _join(*_when(task), _charged(task), _told(scene), _repeated(scene)))
        case TaskState.LOST:
            given_up = say("given up ", Piece(ago=scene.lost_at)) if scene.lost_at is not None else ()
            return StateLine("warn", "lost", _join(given_up, _told(scene), _repeated(scene)))
        case _:
            return _describe_under_way(scene)


def _describe_under_way(scene: TaskScene) -> StateLine:
    task, wait = scene.task, scene.wait
    if task.state is TaskState.QUEUED and wait is not None and scene.parent is not None:
        if wait.why is QueueReason.PARENT:
            return StateLine("hold", "held", (say("waits for ", link_task(scene.parent)),))
        if wait.why is QueueReason.PICK:
            return StateLine("hold", "held", (say("waits until a picture of ", link_task(scene.parent), " is picked"),))
    if task.state is TaskState.WAITING and not task.unsure:
        since = format_duration(scene.now - (task.submitted_at or task.created_at))
        usual = f", usually {format_duration(scene.usual_ms)}" if scene.usual_ms else ""
        percent = None if task.progress is None else max(0, min(100, round(task.progress * 100)))
        word = "waiting" if percent is None else f"waiting, {percent} %"
        return StateLine("busy", word, (say(f"for {since}{usual}"),), percent)
    if task.state is TaskState.SUBMITTING:
        return StateLine("busy", "being submitted")
    card = make_card(task, CardContext(wait=wait), scene.now)
    return StateLine(card.kind, card.word, tuple(say(it) for it in card.facts))


def offered_acts(scene: TaskScene) -> tuple[TaskAct, ...]:
    """What can be done about the task now, in the order of the buttons."""
    task, found = scene.task, list[TaskAct]()
    over = task.state.is_final and task.confirmed
    sent = task.state in (TaskState.WAITING, TaskState.LOST)
    if task.state is TaskState.COMPLETED and scene.kept:
        found += [TaskAct.DOWNLOAD, TaskAct.SHARE]
    if task.state is TaskState.QUEUED:
        found.append(TaskAct.CANCEL)
    if scene.can_poll and not over and task.state is not TaskState.QUEUED and next_id(task) is not None:
        found.append(TaskAct.POLL)
    if can_resubmit(task):
        found.append(TaskAct.RESUBMIT)
    if task.task_id is None and sent:
        found.append(TaskAct.TELL_ID)
    if task.state is TaskState.COMPLETED and scene.missing:
        found.append(TaskAct.FETCH_AGAIN)
    if scene.has_targets and (task.state is TaskState.LOST or is_end(task)):
        found.append(TaskAct.NOTIFY_AGAIN)
    return tuple(found)


def can_resubmit(task: Task) -> bool:
    """Whether a person may have it sent once more as it is: nobody knows whether the provider has it, or it is held."""
    held = task.state is TaskState.QUEUED and task.held_by in (HoldReason.PERSON, HoldReason.SUSPECT)
    unsure = task.unsure and task.state in (TaskState.WAITING, TaskState.LOST)
    return task.origin is TaskOrigin.SUBMITTED and (held or unsure)


def is_end(task: Task) -> bool:
    """Whether the task has an end that is reported: a person who cancels one knows."""
    if task.state is TaskState.CANCELLED:
        return task.settled_by not in (OutcomeSource.PERSON, OutcomeSource.PARENT)
    return task.state.is_final


def _when(task: Task) -> tuple[Sentence, ...]:
    return (say(Piece(ago=task.settled_at)),) if task.settled_at is not None else ()


def _took(word: str, task: Task) -> Sentence:
    if task.origin is not TaskOrigin.SUBMITTED or task.submitted_at is None or task.settled_at is None:
        return ()
    return say(f"{word} {format_duration(max(0, task.settled_at - task.submitted_at))}")


def is_unbilled(task: Task) -> bool:
    """Whether the provider never took the task; what it takes, it may bill though it fails."""
    if task.state is TaskState.FAILED:
        return task.settled_by is OutcomeSource.ANSWER
    by = (OutcomeSource.PERSON, OutcomeSource.PARENT)
    return task.state is TaskState.CANCELLED and task.settled_by in by and task.submitted_at is None


def _charged(task: Task) -> Sentence:
    return _cost(task) or say("nothing charged" if is_unbilled(task) else "cost not reported")


def _repeated(scene: TaskScene) -> Sentence:
    return say("submitted again as ", link_task(scene.repeated)) if scene.repeated is not None else ()


def _cost(task: Task) -> Sentence:
    cost = format_usd(task.usage.cost) if task.usage is not None else ""
    return say(cost)


def _told(scene: TaskScene) -> Sentence:
    names = list(dict.fromkeys(scene.told))
    if not names:
        return ()
    if len(names) > _TOLD_MOST:
        return say(f"told {len(names)} targets")
    before = [piece for name in names[:-1] for piece in (", ", outside(name, 60))][1:]
    return say("told ", *before, *((" and ",) if before else ()), outside(names[-1], 60))


def _join(*facts: Sentence) -> tuple[Sentence, ...]:
    return tuple(it for it in facts if it)
