"""What was noted when it happened, as rows of a task's timeline: tries to submit it, and what people did. Pure."""

import re
from collections.abc import Sequence

from receiver.core.sanitize import format_duration, one_line
from receiver.core.types import Step, StepKind, Task
from receiver.tokens import is_ref
from receiver.web.pages.sentences import Piece, Sentence, format_span, outside, say
from receiver.web.pages.task.timeline_rows import ERROR_MOST, PERSON, QUEUE, SENT, TimelineRow

_HTTP = re.compile(r"HTTP ([0-9]{3})")
_FAULT = re.compile(r"(?:^|: )([A-Z][A-Za-z]*(?:Error|Timeout|Exception))\b")
_FULL = ("429", "503")
_TRIES = (StepKind.REFUSED, StepKind.PUT_BACK)
_PICTURES = (StepKind.KEPT, StepKind.NOT_KEPT)
_DID = {
    StepKind.CANCELLED: "Cancelled, before it was sent.",
    StepKind.RESUBMITTED: "Submitted again.",
    StepKind.BELIEVED: "A person believed a callback.",
    StepKind.PUT_FIRST: "Put in front of all others.",
    StepKind.FETCHED_AGAIN: "Its missing pictures were asked for again.",
    StepKind.NOTIFIED: "Notified again.",
}


def step_rows(steps: Sequence[Step], task: Task) -> list[TimelineRow]:
    """A row for each step that has one: what is said of pictures stands in a row of theirs."""
    rows = []
    for at, step in enumerate(steps):
        if step.kind in _TRIES:
            rows.append(_try_row(step, steps[at + 1 :], task))
        elif step.kind is StepKind.UNSURE:
            rows.append(_unsure_row(step, task))
        elif step.kind not in _PICTURES:
            rows.append(TimelineRow(step.at, "•", _describe_deed(step, task), order=PERSON))
    return rows


def kept_at(steps: Sequence[Step]) -> int | None:
    """When the last of the pictures was kept, or given up."""
    return max((it.at for it in steps if it.kind in _PICTURES), default=None)


def _try_row(step: Step, later: Sequence[Step], task: Task) -> TimelineRow:
    """A submission that the provider did not take, and when it was tried again."""
    next_at = next((it.at for it in later if it.kind in (*_TRIES, StepKind.UNSURE)), task.submitted_at)
    again = ""
    if next_at is not None and next_at >= step.at:
        again = f"; tried again after {format_span(next_at - step.at)}"
    words, why = _describe_try(step)
    sentence = say(words, *((why,) if why is not None else ()), f"{again}.")
    return TimelineRow(step.at, "‖", sentence, order=QUEUE, fold=f"{step.kind} {words} {step.text[:80]}")


def _describe_try(step: Step) -> tuple[str, Piece | None]:
    status, fault = _HTTP.search(step.text), _FAULT.search(step.text)
    if step.kind is StepKind.REFUSED:
        if status is not None and status[1] == "401":
            return "Paused: the provider refuses our key (401)", None
        return "Paused: the provider refuses it: ", outside(step.text or "no reason was given", ERROR_MOST)
    if status is not None and status[1] in _FULL:
        return f"The provider was full ({status[1]})", None
    if fault is not None:
        return f"Nothing reached the provider ({fault[1]})", None
    return "The provider did not take it: ", outside(step.text or "no reason was given", ERROR_MOST)


def _unsure_row(step: Step, task: Task) -> TimelineRow:
    span = ""
    if task.submitted_at is not None and task.submitted_at <= step.at:
        span = f" after {format_duration(step.at - task.submitted_at)}"
    notes: tuple[Sentence, ...] = (say(outside(step.text, ERROR_MOST)),) if step.text else ()
    words = f"Its answer broke off{span}: nobody knows whether it was taken."
    return TimelineRow(step.at, "?", say(words), notes, order=SENT)


def _describe_deed(step: Step, task: Task) -> Sentence:
    """What a person did."""
    match step.kind:
        case StepKind.REPEATED:
            return say("Submitted again, as ", _task_link(step.text), ".")
        case StepKind.ID_GIVEN:
            named = (": ", Piece(one_line(step.text, 256), outside=True, code=True)) if step.text else ()
            return say("Somebody told its id", *named, ".")
        case StepKind.PICKED:
            which = f"picture {task.parent_image}" if task.parent_image is not None else "its picture"
            return say(f"Somebody picked {which}.")
        case StepKind.SHARED:
            return say("Shared", *((" until ", outside(step.text, 60)) if step.text else ()), ".")
        case _:
            return say(_DID[step.kind])


def _task_link(ref: str) -> Piece:
    return Piece("a new task", f"/tasks/{ref}") if is_ref(ref) else Piece("a new task")
