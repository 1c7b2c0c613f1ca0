"""A task in words, for a person at a terminal: all that is known of it, how it stands, and what can be done about it.

Pure. What a command prints of a task it takes from here; where the task comes from is the command's.
"""

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

from receiver.cli.output import cell, facts, harmless, json_line, prose, until, when
from receiver.client.schemas import CallbackView, ImageView, NoticeView, TaskNotice, TaskView
from receiver.core.types import Archive, Hold, Origin, State, Verdict
from receiver.providers.advice import advice

_RAW_MOST = 4_000  # characters

_HELD: dict[str, str] = {
    Hold.PARENT: "It waits for the task that it builds on.",
    Hold.BUDGET: "It waits, as the budget is used up.",
    Hold.PAUSE: "It waits, as the provider refuses the key or the balance: mend that, and it goes on by itself.",
}
_HELD_BRIEFLY: dict[str, str] = {
    Hold.PARENT: "held: it waits for the task that it builds on",
    Hold.BUDGET: "held: the budget is used up",
    Hold.PAUSE: "paused: the provider refuses our key or balance",
}
_BRIEFLY: dict[str, str] = {Hold.PAUSE: "paused"}  # the others are held
_WAITS = {
    "quiet": "quiet until",
    "digest": "digest at",
    "retry": "retry at",
    "rest": "rests until",
    "rate": "rate until",
    "pictures": "pictures until",
}
REASONS = {
    "quiet": "its target has quiet hours",
    "digest": "it is held for a digest",
    "rest": "its target rests, as it failed several times in a row",
    "rate": "its target's rate is used up",
    "pictures": "it waits for its pictures, at most",
}
"""Why a notice waits, beside the gap between two tries."""
_UNTRUSTED = re.compile(r"^port \d+ is not allowed$|, which is not public \(")  # what the archive says of such a place
_UNCLEAR = "Nobody knows whether the provider took it: its answer leaves that open."
_ADOPTED = "Only a callback told of it: its submission is not known here."
_UNCONFIRMED = "Look before you rely on it: a callback said so, and the provider could not be asked."


class Remedy(Struct, frozen=True):
    """What a person may do, in a sentence, and the command for it, if there is one."""

    text: str
    command: str | None = None


def describe(task: TaskView, callbacks: Sequence[CallbackView] = (), notices: Sequence[NoticeView] = ()) -> str:
    """All that is known of a task, with its callbacks and its notices (newest first) where the caller has them."""
    told = notices[::-1] or task.notices
    parts = [facts(_facts(task)), *_pictures(task), *_callbacks(callbacks), *map(_notice, told)]
    if standing := " ".join(_standing(task, callbacks)):
        parts.append(prose(standing))
    if remedies := list(_remedies(task, callbacks)):
        parts += ["What to do:", *map(_shown, remedies)]
    return "\n".join(parts)


def state_of(task: TaskView) -> str:
    """The state, with a question mark where there is a doubt, and `paused` or `held` where it does not go on."""
    state = cell(task.state)
    if task.held_by:
        return f"{state}, {_BRIEFLY.get(task.held_by, 'held')}"
    return f"{state}?" if (task.unsure and task.state == State.WAITING) or not task.confirmed else state


def under_way(task: TaskView) -> str:
    """How it goes, in a few words: the state, how far it is, and why it does not go on."""
    share = f" {task.progress:.0%}" if task.progress and task.state == State.WAITING else ""
    held = f" ({_HELD_BRIEFLY.get(task.held_by, 'held')})" if task.held_by else ""
    return f"{cell(task.state)}{share}{held}"


def waits(notice: NoticeView) -> str:
    """What a notice waits for, and until when, in a few words; empty where it waits for its turn alone."""
    if not notice.waits_until:
        return ""
    return f"{_WAITS.get(notice.waits_for or '', cell(notice.waits_for))} {until(notice.waits_until)}"


def progress(task: TaskView) -> str:
    """How far it is, while that is of interest, and its label."""
    share = f"{task.progress:.0%}  " if task.progress and task.state == State.WAITING else ""
    return f"{share}{cell(task.label)}"


def _facts(task: TaskView) -> Iterator[tuple[str, str | None]]:
    yield "ref", cell(task.ref)
    yield "state", _state_in_words(task)
    yield "label", task.label and cell(task.label)
    yield "model", task.model and cell(task.model)
    for name, value in task.params.items():
        yield f"  {cell(name)}", cell(str(value))
    yield "provider's id", task.task_id and cell(task.task_id)
    yield "origin", cell(task.origin) if task.origin != Origin.SUBMITTED else None
    yield "created", when(task.created_at)
    yield "submitted", task.submitted_at and when(task.submitted_at)
    yield "settled", task.settled_at and when(task.settled_at)
    yield "made jobId", ", ".join(dict.fromkeys(cell(image.job_id) for image in task.images if image.job_id))
    yield "polls", str(task.polls) if task.polls else None
    yield "cost", f"${cell(task.usage.cost)}" if task.usage and task.usage.cost else None
    if task.error:
        yield "error", cell(" ".join(filter(None, (task.error.code, task.error.message))))
        yield "  as it came", None if task.error.raw is None else _raw(task.error.raw)


def _state_in_words(task: TaskView) -> str:
    doubts = [text for text, there in (("unsure", task.unsure), ("unconfirmed", not task.confirmed)) if there]
    held = [f"held by {cell(task.held_by)}"] if task.held_by else []
    share = [f"{task.progress:.0%}"] if task.progress and task.state == State.WAITING else []
    by = [f"by {cell(task.settled_by)}"] if task.settled_by else []
    return ", ".join([cell(task.state), *by, *doubts, *held, *share])


def _raw(raw: object) -> str:
    text = harmless(json_line(raw))
    return text if len(text) <= _RAW_MOST else f"{text[:_RAW_MOST]}… (--json has all of it)"


def _pictures(task: TaskView) -> Iterator[str]:
    for image in task.images:
        # Whole, however long: it has to open.
        yield f"{cell(image.type)} {image.image_no}  {harmless(image.url)}"
        if told := kept(image):
            yield f"  {told}"
    if any(image.archived for image in task.images):
        yield f"to save the kept ones here: receiver tasks pictures {cell(task.ref)}"


def kept(image: ImageView) -> str:
    """What became of our own copy; empty where none is to be made."""
    why = f": {cell(image.archive_error)}" if image.archive_error else ""
    if image.archived:
        size = f", {image.width} × {image.height}" if image.width and image.height else ""
        return f"kept{size}{f'; no thumbnail{why}' if why else ''}"
    if image.archive == Archive.FAILED:
        return f"not kept{why}"
    if image.archive != Archive.DUE:
        return ""
    return f"not kept yet, tried again {when(image.archive_at)}" if image.archive_at else "being fetched"


def _callbacks(callbacks: Sequence[CallbackView]) -> Iterator[str]:
    for callback in reversed(callbacks):
        again = f", replayed from {callback.replay_of}" if callback.replay_of is not None else ""
        yield f"callback {callback.id}: {cell(callback.verdict)}, {when(callback.received_at)}{again}"


def _notice(notice: TaskNotice | NoticeView) -> str:
    tries = f" after {notice.attempts} tries" if notice.attempts > 1 else ""
    ahead = waits(notice) if isinstance(notice, NoticeView) else ""
    why = f": {cell(notice.error)}" if notice.error else ""
    what = f"{cell(notice.event)}, {cell(notice.state)}"
    return f"notice to {cell(notice.target)}: {what}{tries}{f', {ahead}' if ahead else ''}{why}"


def _standing(task: TaskView, callbacks: Sequence[CallbackView]) -> Iterator[str]:
    """How it stands, and what comes next by itself."""
    if task.held_by:
        yield _HELD.get(task.held_by, f"It waits: {cell(task.held_by)}.")
    elif task.state == State.QUEUED:
        yield "It is submitted by itself, once the provider has room for it."
    if _is_unsure(task):
        yield _UNCLEAR if task.origin == Origin.SUBMITTED else _ADOPTED
    hint = _hint(task, callbacks)
    if task.state == State.WAITING and hint:
        yield f"Callback {hint.id} is a hint: what it says waits to be confirmed by a poll."
    elif task.state == State.WAITING and task.unsure:
        yield "A callback would settle it."
    elif task.state == State.LOST:
        yield "It was given up at its deadline; a late callback still settles it."
    if not task.confirmed:
        yield _UNCONFIRMED


def _remedies(task: TaskView, callbacks: Sequence[CallbackView]) -> Iterator[Remedy]:
    """The free ones first."""
    if task.task_id is None and (task.unsure or task.state == State.LOST):
        text = "If it is in the provider's own list, tell its id, and it is polled (free):"
        yield Remedy(text, f"receiver tasks tell-id {cell(task.ref)} ID")
    elif task.state == State.LOST:
        yield Remedy("Ask the provider once more:", f"receiver tasks poll {cell(task.ref)}")
    if task.state in (State.WAITING, State.LOST) and (hint := _hint(task, callbacks)):
        text = f"If you have looked at callback {hint.id} (receiver callbacks show {hint.id}) and believe it:"
        yield Remedy(text, f"receiver callbacks replay --accept {hint.id}")
    if _is_unsure(task) and task.origin == Origin.SUBMITTED:
        text = "If it is not in the provider's list, send it again; should it be there after all, it is paid twice:"
        yield Remedy(text, f"receiver tasks resubmit {cell(task.ref)}")
    if task.state == State.FAILED:
        known = advice(task.error.code) if task.error and task.error.code else None
        yield Remedy(known or "Submit it again, or ask the provider.")
    if any(_UNTRUSTED.search(image.archive_error or "") for image in task.images):
        yield Remedy("To have pictures of that place kept from now on, name it in the service's setting FETCH_ALLOW.")
    if any(notice.state == "dead" for notice in task.notices):
        yield Remedy("Mend the target, then:", "receiver notices redrive")


def _is_unsure(task: TaskView) -> bool:
    return task.unsure and task.state in (State.WAITING, State.LOST)


def _hint(task: TaskView, callbacks: Sequence[CallbackView]) -> CallbackView | None:
    """The newest callback that could be believed; one from before it was sent again tells nothing of it any more."""
    since = task.submitted_at or ""
    return next((it for it in callbacks if it.verdict == Verdict.HINT and it.received_at >= since), None)


def _shown(remedy: Remedy) -> str:
    text = prose(remedy.text, "  ")
    return f"{text}\n    {remedy.command}" if remedy.command else text
