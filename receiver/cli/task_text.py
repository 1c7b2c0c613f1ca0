"""A task as text for a terminal: what is known about it, how it stands, and what can be done.

Pure: the commands fetch the task and print what this returns.
"""

import re
import textwrap
from collections.abc import Iterator, Sequence

from msgspec import Struct

from receiver.cli.chain_text import count_cancelled, describe_rest, format_chain, goes_on_by_itself
from receiver.cli.money_text import show_usd
from receiver.cli.output import (
    GAP,
    format_facts,
    json_line,
    pluralize,
    safe_line,
    safe_text,
    short_time,
    time_and_age,
    wrap_prose,
)
from receiver.cli.wait_text import wait_words
from receiver.client.chain_schemas import ChainView
from receiver.client.schemas import CallbackView, ErrorView, ImageView, NoticeView, TaskNotice, TaskView
from receiver.core.queue_waits import describe_wait, reason_for
from receiver.core.types import ArchiveState, HoldReason, TaskOrigin, TaskState, Verdict
from receiver.notify.messages.media_words import count_media, media_noun
from receiver.pictures.sniff import is_drawn, media_name
from receiver.providers.advice import advice_for_code
from receiver.providers.models import find_word

_RAW_MOST = 4_000  # characters

_HELD_AS: dict[str, str] = {HoldReason.PAUSE: "paused"}  # the others are held
_WAITS_BRIEFLY = {
    "quiet": "quiet until",
    "digest": "digest at",
    "retry": "retry at",
    "rest": "paused until",
    "rate": "rate until",
    "pictures": "pictures until",
}
WAIT_REASONS = {
    "quiet": "its target has quiet hours",
    "digest": "it is held for a digest",
    "rest": "its target is paused, because it failed several times in a row",  # the circuit breaker
    "rate": "its target's rate limit is reached",
    "pictures": "it waits for its pictures",
}
"""Why a notice waits, apart from the gap before a retry."""
_UNTRUSTED = re.compile(r"^port \d+ is not allowed$|, which is not public \(")  # in the archive's words
_UNCLEAR = "It is unknown whether the provider accepted it: its answer leaves that open."
_ADOPTED = "It is known only from a callback: its submission was not recorded here."
_UNCONFIRMED = "Check it before you rely on it: a callback says so, and no poll could confirm it."

_SILENT = (
    "Nobody was notified that it completed, because its chain went on by itself; a step with `ping = true` says it."
)


class TaskRemedy(Struct, frozen=True):
    """What a person can do, in a sentence, and the command for it, if there is one."""

    text: str
    command: str | None = None


def describe_task(
    task: TaskView,
    callbacks: Sequence[CallbackView] = (),
    notices: Sequence[NoticeView] = (),
    *,
    chain: ChainView | None = None,
    saving: bool = False,
) -> str:
    """Everything known about a task, with its callbacks, its notices (newest first) and its `chain` if the caller has
    them.

    `saving`: its pictures are saved anyway, so how to do that is not said.
    """
    listed = notices[::-1] or task.notices
    parts = [
        format_facts(_task_facts(task)),
        *_picture_lines(task, saving=saving),
        *_callback_lines(callbacks),
        *map(_notice_line, listed),
        *_chain_lines(chain, task.ref),
    ]
    if standing := " ".join(_status_sentences(task, callbacks, chain)):
        parts.append(wrap_prose(standing))
    if remedies := [*_chain_remedies(task), *_list_remedies(task, callbacks, chain)]:
        parts += ["What to do:", *map(_format_remedy, remedies)]
    return "\n".join(parts)


def state_of(task: TaskView) -> str:
    """The state, with a question mark if it is in doubt, and `paused` or `held` if it does not go on."""
    state = safe_line(task.state)
    if task.held_by:
        return f"{state}, {_HELD_AS.get(task.held_by, 'held')}"
    return f"{state}?" if (task.unsure and task.state == TaskState.WAITING) or not task.confirmed else state


def under_way(task: TaskView) -> str:
    """The state in a few words, with its progress, or what a queued task waits for."""
    waits = queue_wait_text(task)
    return f"{safe_line(task.state)}{_progress_text(task)}{f': {waits}' if waits else ''}"


def queue_wait_text(task: TaskView) -> str:
    """What a queued task waits for, since when, and when something is tried next; empty if that is not known."""
    why = reason_for(task.waits_for, task.held_by)
    if why is None:
        return ""
    return safe_line(wait_words(why, task))


def queue_wait_brief(task: TaskView) -> str:
    """The same in few words, for a list."""
    why = reason_for(task.waits_for, task.held_by)
    until = short_time(task.waits_until) if task.waits_until else None
    return "" if why is None else safe_line(describe_wait(why, None, until))


def wait_text(notice: NoticeView) -> str:
    """What a notice waits for, and until when, in a few words; empty if it only waits for its turn."""
    if not notice.waits_until:
        return ""
    return f"{_WAITS_BRIEFLY.get(notice.waits_for or '', safe_line(notice.waits_for))} {short_time(notice.waits_until)}"


def news_text(task: TaskView) -> str:
    """Its label, and what is new: its progress, what it waits for, or how it ended, with the reason and the cost."""
    parts = [safe_line(task.label), _progress_text(task).strip(), queue_wait_text(task)]
    if task.state == TaskState.COMPLETED:
        parts.append(count_media([image.type for image in task.images]))
    elif task.error:
        parts.append(_error_text(task.error))
    elif task.hint and task.state in (TaskState.WAITING, TaskState.LOST):
        parts.append(safe_line(task.hint.text))
    return GAP.join(filter(None, (*parts, _cost_text(task))))


def _progress_text(task: TaskView) -> str:
    return f" {task.progress:.0%}" if task.progress and task.state == TaskState.WAITING else ""


def _error_text(error: ErrorView) -> str:
    return safe_line(" ".join(filter(None, (error.code, error.message))))


def _cost_text(task: TaskView) -> str | None:
    return show_usd(task.usage.cost) if task.usage and task.usage.cost else None


def _task_facts(task: TaskView) -> Iterator[tuple[str, str | None]]:
    yield "ref", safe_line(task.ref)
    yield "state", _state_in_words(task)
    yield "label", task.label and safe_line(task.label)
    yield "model", task.model and safe_line(task.model)
    for name, value in task.params.items():
        word = find_word(task.model or "", name, value)
        text = value if isinstance(value, str) else json_line(value)
        yield f"  {safe_line(name)}", safe_line(f"{word} ({text})" if word else text)
    yield "provider's id", task.task_id and safe_line(task.task_id)
    yield "origin", safe_line(task.origin) if task.origin != TaskOrigin.SUBMITTED else None
    yield "created", time_and_age(task.created_at)
    yield "submitted", task.submitted_at and time_and_age(task.submitted_at)
    yield "settled", task.settled_at and time_and_age(task.settled_at)
    yield "result's jobId", ", ".join(dict.fromkeys(safe_line(image.job_id) for image in task.images if image.job_id))
    yield "polls", str(task.polls) if task.polls else None
    yield "cost", _cost_text(task)
    if task.error:
        yield "error", _error_text(task.error)
        yield "  as received", None if task.error.raw is None else _raw_error(task.error.raw)


def _state_in_words(task: TaskView) -> str:
    doubts = [text for text, there in (("unsure", task.unsure), ("unconfirmed", not task.confirmed)) if there]
    held = [f"held by {safe_line(task.held_by)}"] if task.held_by else []
    share = [f"{task.progress:.0%}"] if task.progress and task.state == TaskState.WAITING else []
    by = [f"by {safe_line(task.settled_by)}"] if task.settled_by else []
    return ", ".join([safe_line(task.state), *by, *doubts, *held, *share])


def _raw_error(raw: object) -> str:
    text = safe_text(json_line(raw))
    return text if len(text) <= _RAW_MOST else f"{text[:_RAW_MOST]}… (--json shows all of it)"


def _picture_lines(task: TaskView, *, saving: bool) -> Iterator[str]:
    for image in task.images:
        # Never shortened, so that it can be opened.
        yield f"{safe_line(image.type)} {image.image_no}  {safe_text(image.url)}"
        if copied := describe_copy(image):
            yield f"  {copied}"
    if not saving and any(image.archived for image in task.images):
        several = "s" if len(task.images) > 1 else ""
        noun = media_noun(image.type for image in task.images)
        yield f"to save the {noun}{several} here: receiver tasks pictures {safe_line(task.ref)}"


def describe_copy(image: ImageView) -> str:
    """What became of our copy; empty if none is to be made."""
    why = f": {safe_line(image.archive_error)}" if image.archive_error else ""
    if image.archived:
        size = f", {image.width} × {image.height}" if image.width and image.height else ""
        name = "" if image.media_type is None or is_drawn(image.media_type) else f" as {media_name(image.media_type)}"
        return f"kept{name}{size}{f'; no thumbnail{why}' if why else ''}"
    if image.archive == ArchiveState.FAILED:
        return f"not kept{why}"
    if image.archive != ArchiveState.DUE:
        return ""
    return f"not kept yet, tried again {time_and_age(image.archive_at)}" if image.archive_at else "being fetched"


def _callback_lines(callbacks: Sequence[CallbackView]) -> Iterator[str]:
    for callback in reversed(callbacks):
        again = f", replayed from {callback.replay_of}" if callback.replay_of is not None else ""
        yield f"callback {callback.id}: {safe_line(callback.verdict)}, {time_and_age(callback.received_at)}{again}"


def _notice_line(notice: TaskNotice | NoticeView) -> str:
    tries = f" after {notice.attempts} tries" if notice.attempts > 1 else ""
    ahead = wait_text(notice) if isinstance(notice, NoticeView) else ""
    why = f": {safe_line(notice.error)}" if notice.error else ""
    what = f"{safe_line(notice.event)}, {safe_line(notice.state)}"
    return f"notice to {safe_line(notice.target)}: {what}{tries}{f', {ahead}' if ahead else ''}{why}"


def _chain_lines(chain: ChainView | None, ref: str) -> Iterator[str]:
    if chain is None:
        return
    rest = describe_rest(chain)
    yield f"its chain{f' ({rest})' if rest else ''}:"
    yield textwrap.indent(format_chain(chain, ref), "  ")


def _chain_remedies(task: TaskView) -> Iterator[TaskRemedy]:
    """What a person can do for the chain to go on."""
    if task.chain is None:
        return
    ref = safe_line(task.ref)
    if task.held_by == HoldReason.PICK:
        yield TaskRemedy("To let it go on from a picture of the task before it:", f"receiver tasks pick {ref} N")
    if task.chain.picks and task.state == TaskState.COMPLETED and task.confirmed:
        yield TaskRemedy("To let its chain go on from one of its pictures:", f"receiver tasks pick {ref} N")
    if task.chain.children and not task.confirmed:
        text = "If its end is right, let what waits for it go on:"
        yield TaskRemedy(text, f"receiver tasks release {ref}")


def _status_sentences(task: TaskView, callbacks: Sequence[CallbackView], chain: ChainView | None) -> Iterator[str]:
    """How it stands, and what happens next by itself."""
    if waits := queue_wait_text(task):
        yield f"It waits: {waits}."
    if _is_unsure(task):
        yield _UNCLEAR if task.origin == TaskOrigin.SUBMITTED else _ADOPTED
    hint = _hint_id(task, callbacks)
    if task.hint and task.state in (TaskState.WAITING, TaskState.LOST):
        yield safe_line(task.hint.text)
    if task.state == TaskState.WAITING and task.hint and (task.hint.doubt or task.hint.ending is None):
        yield "That does not settle it, but it is still polled."
    elif task.state == TaskState.WAITING and hint is not None:
        yield f"Callback {hint} is a hint: a poll has to confirm it first."
    elif task.state == TaskState.WAITING and task.unsure:
        yield "A callback would still settle it."
    elif task.state == TaskState.LOST:
        yield "It was given up at its deadline; a late callback still settles it."
    if not task.confirmed:
        yield _UNCONFIRMED
    if task.state == TaskState.COMPLETED and not task.notices and goes_on_by_itself(chain, task.ref):
        yield _SILENT


def _list_remedies(
    task: TaskView, callbacks: Sequence[CallbackView], chain: ChainView | None = None
) -> Iterator[TaskRemedy]:
    """What can be done, the free remedies first."""
    if task.task_id is None and (task.unsure or task.state == TaskState.LOST):
        text = "If the provider's own list shows it, set its id, and it is polled (free):"
        yield TaskRemedy(text, _tell_id(task))
    elif task.state == TaskState.LOST:
        yield TaskRemedy("Poll the provider once more:", f"receiver tasks poll {safe_line(task.ref)}")
    if task.state in (TaskState.WAITING, TaskState.LOST) and (hint := _hint_id(task, callbacks)) is not None:
        text = f"If you have checked callback {hint} (receiver callbacks show {hint}) and believe it:"
        yield TaskRemedy(text, f"receiver callbacks replay --accept {hint}")
    if _is_unsure(task) and task.origin == TaskOrigin.SUBMITTED:
        text = "If the provider's list does not show it, submit it again; if the provider did accept it, you pay twice:"
        yield TaskRemedy(text, f"receiver tasks resubmit {safe_line(task.ref)}")
    if task.held_by == HoldReason.PERSON:
        yield TaskRemedy("To submit it again:", f"receiver tasks resubmit {safe_line(task.ref)}")
        yield TaskRemedy("To withdraw it:", f"receiver tasks cancel {safe_line(task.ref)}")
    if task.state == TaskState.FAILED and not task.confirmed:
        text = "Look for the task in the provider's own list before you submit it again, or you may pay twice."
        yield TaskRemedy(text)
        yield TaskRemedy("If it is there, set its id, and it is polled (free):", _tell_id(task))
    elif task.state == TaskState.FAILED:
        known = advice_for_code(task.error.code) if task.error and task.error.code else None
        text = known or "Submit it again, or ask the provider's support."
        again = task.origin == TaskOrigin.SUBMITTED and "submit it again" in text.lower()
        command = f"receiver submit again {safe_line(task.ref)}"
        yield TaskRemedy(text, command if again else None)
        if task.origin == TaskOrigin.SUBMITTED and (count := count_cancelled(chain, task.ref)):
            what = f"{pluralize(count, 'task')} that {'goes' if count == 1 else 'go'} on from it"
            text = f"{what} {'was' if count == 1 else 'were'} cancelled with it. To submit all of them again:"
            yield TaskRemedy(text, f"{command} --with-children")
    if any(_UNTRUSTED.search(image.archive_error or "") for image in task.images):
        yield TaskRemedy("To keep pictures from that host from now on, add it to the service's setting FETCH_ALLOW.")
    if any(image.archive == ArchiveState.FAILED for image in task.images):
        yield TaskRemedy("Fetch the missing pictures again:", f"receiver tasks pictures --again {safe_line(task.ref)}")
    if any(notice.state == "dead" for notice in task.notices):
        yield TaskRemedy("Fix the target, then:", "receiver notices redrive")


def _tell_id(task: TaskView) -> str:
    return f"receiver tasks tell-id {safe_line(task.ref)} ID"


def _is_unsure(task: TaskView) -> bool:
    return task.unsure and task.state in (TaskState.WAITING, TaskState.LOST)


def _hint_id(task: TaskView, callbacks: Sequence[CallbackView]) -> int | None:
    """The callback that could be believed: that of the hint, or else the newest since the task was submitted."""
    if task.hint and task.hint.callback_id is not None and task.hint.ending is not None:
        return task.hint.callback_id
    since = task.submitted_at or ""
    return next((it.id for it in callbacks if it.verdict == Verdict.HINT and it.received_at >= since), None)


def _format_remedy(remedy: TaskRemedy) -> str:
    text = wrap_prose(remedy.text, "  ")
    return f"{text}\n    {remedy.command}" if remedy.command else text
