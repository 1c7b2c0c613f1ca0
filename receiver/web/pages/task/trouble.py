"""The box above a task's pictures if something is wrong: what happened, and what a person can do. Pure.

It speaks of the page's own buttons, and names a command only where there is none.
"""

import re

from msgspec import Struct
from msgspec.structs import replace

from receiver.core.chains import PARENT_FAILED
from receiver.core.hints import describe_hint
from receiver.core.queue_waits import QueueReason
from receiver.core.sanitize import format_duration, one_line
from receiver.core.types import HoldReason, OutcomeSource, Task, TaskError, TaskState
from receiver.notify.messages.media_words import count_media, media_noun
from receiver.providers.advice import page_advice
from receiver.web.pages.sentences import Piece, Sentence, link_task, outside, say, with_commands
from receiver.web.pages.task.states import TaskAct, TaskScene

ERROR_MOST = 800
_FILTER = re.compile(r"moderat|community standard|banned|prohibited|content (?:policy|filter)|sensitive", re.IGNORECASE)
_GONE = re.compile(r"answered HTTP (?:403|404|410)")
_FORBIDDEN = re.compile(r"is not public|port [0-9]+ is not allowed")
_LOOK_FIRST = "look for it in the provider’s list before you submit it again, or you may pay twice."


class Trouble(Struct, frozen=True):
    """What is wrong. `acts` are buttons in the box itself."""

    kind: str
    title: str
    what: Sentence
    todo: Sentence = ()
    small: tuple[Sentence, ...] = ()
    acts: tuple[TaskAct, ...] = ()


def describe_trouble(scene: TaskScene) -> Trouble | None:
    """What is wrong with a task, if anything is."""
    found = _find_trouble(scene)
    if found is None or scene.repeated is None or not scene.task.state.is_final:
        return found
    return replace(found, todo=say("nothing: it was submitted again as ", link_task(scene.repeated), "."))


def _find_trouble(scene: TaskScene) -> Trouble | None:
    task = scene.task
    match task.state:
        case TaskState.FAILED:
            return _failed(task) if task.confirmed else _unconfirmed_failure(scene)
        case TaskState.CANCELLED:
            return _cancelled(scene)
        case TaskState.LOST:
            return _lost(scene)
        case TaskState.COMPLETED:
            return _unconfirmed(scene) if not task.confirmed else _not_kept(scene)
        case TaskState.QUEUED:
            return _held(scene)
        case TaskState.WAITING:
            return _unsure(scene) if scene.needs_person else _doubted(scene) or _not_sure_yet(scene)
        case _:
            return None


def _failed(task: Task) -> Trouble:
    error = task.error or TaskError(None, "")
    refused = task.settled_by is OutcomeSource.ANSWER
    words = _quoted(error)
    code = one_line(error.code or "", 80)
    if words and _FILTER.search(error.message):
        what = say("The provider’s filter stopped the prompt: ", *words)
        todo = "change the words of the prompt and submit it again. The same words will fail again."
    else:
        what = say("The provider said: ", *words) if words else say("The provider gave no reason.")
        todo = page_advice(code) or "submit it again; if it fails again, ask the provider."
    small = say("Code ", outside(code), ", as the provider gave it.") if code else ()
    title = "The provider refused it" if refused else "The generation failed"
    return Trouble("bad", title, what, say(todo), (small,) if small else ())


def _unconfirmed_failure(scene: TaskScene) -> Trouble:
    words = _quoted(scene.task.error or TaskError(None, ""))
    said = say("A callback said so: ", *words) if words else say("A callback said so.")
    what = say(*said, " ", _why_unconfirmed(scene))
    return Trouble("warn", "Nobody could confirm that it failed", what, say(_LOOK_FIRST))


def _unconfirmed(scene: TaskScene) -> Trouble:
    if scene.why_unconfirmed:
        what = say("A callback said so, but ", outside(scene.why_unconfirmed, ERROR_MOST), ".")
    else:
        what = say("A callback said so, and the provider could not be asked.")
    return Trouble("warn", "Nobody could confirm this", what, say("look before you rely on it."))


def _cancelled(scene: TaskScene) -> Trouble | None:
    task, parent = scene.task, scene.parent
    if task.settled_by is not OutcomeSource.PARENT:
        return None
    what: Sentence = say(outside(_sentence(task.error.message), ERROR_MOST)) if task.error is not None else ()
    if task.error is not None and task.error.code == PARENT_FAILED and parent is not None:
        became = {TaskState.FAILED: "failed", TaskState.CANCELLED: "was cancelled"}.get(
            parent.state, "did not complete"
        )
        what = say(link_task(parent), f" {became}, so this was not sent. Nothing was charged.")
    todo = say("submit ", link_task(parent), " again.") if parent is not None else ()
    return Trouble("warn", "It was not sent", what or say("What it goes on from did not come."), todo)


def _lost(scene: TaskScene) -> Trouble:
    task = scene.task
    heard = describe_hint(task.hint_note)
    small = (say(outside(heard, ERROR_MOST)),) if heard else ()
    if task.task_id is None:
        what = "No callback came within its time, and its id is not known. A late callback still settles it."
        return Trouble("warn", "Given up", say(what), say(_LOOK_FIRST), small)
    what = "No callback came within its time, and the provider does not know it. A late callback still settles it."
    todo = say("ask the provider once more, or look for ", _id(task.task_id), " in its list.")
    return Trouble("warn", "Given up", say(what), todo, small)


def _unsure(scene: TaskScene) -> Trouble:
    task = scene.task
    span = format_duration((scene.now - (task.submitted_at or task.created_at)) // 60_000 * 60_000)
    what = f"The provider’s answer broke off. A callback would settle it; none came in {span}."
    todo = "look into the provider’s list. If it is there, tell its id; if it is not, submit it again."
    return Trouble("warn", "Nobody knows whether the provider took it", say(what), say(todo))


def _not_sure_yet(scene: TaskScene) -> Trouble | None:
    if not scene.task.unsure:
        return None
    what = say(
        "The provider’s answer broke off. A callback settles it; if none comes by ",
        Piece(at=scene.asks_person_at),
        ", it needs you.",
    )
    return Trouble("warn", "Nobody knows yet whether the provider took it", what, say("wait for its callback."))


def _doubted(scene: TaskScene) -> Trouble | None:
    heard = describe_hint(scene.task.hint_note)
    if heard is None:
        return None
    asks = "the provider is asked about it." if scene.can_poll else "without a provider key, nobody can ask about it."
    todo = say("wait, or open the callback below: if you know that it is right, believe it.")
    return Trouble(
        "warn", "Something was heard that is not believed yet", say(outside(heard, ERROR_MOST), f" Now {asks}"), todo
    )


def _held(scene: TaskScene) -> Trouble | None:
    task, wait = scene.task, scene.wait
    why = outside(task.why or "", ERROR_MOST) if task.why else None
    if task.held_by is HoldReason.PERSON:
        what = say("The provider did not take it, again and again", *((": “", why, "”.") if why else (".",)))
        return Trouble("warn", "It needs you", what, say("submit it again, or cancel it."))
    if wait is None:
        return None
    until = (" One task tries at ", Piece(at=wait.until), ".") if wait.until is not None else ()
    detail = outside(wait.detail, ERROR_MOST) if wait.detail else None
    match wait.why:
        case QueueReason.NO_KEY:
            todo = "set PROVIDER_KEY where the service runs."
            return Trouble("warn", "Submissions pause", say("The service has no provider key."), say(todo))
        case QueueReason.KEY:
            what = say("The provider refuses our key or balance", *((" (", detail, ").") if detail else (".",)))
            todo = "check PROVIDER_KEY, and the account’s balance and plan."
            return Trouble("warn", "Submissions pause", what, say(todo, *until))
        case QueueReason.DOWN:
            todo = "nothing, unless it lasts: then check the network."
            return Trouble("warn", "Submissions pause", say("The provider cannot be reached."), say(todo, *until))
        case QueueReason.BUDGET | QueueReason.PRICE:
            is_budget = wait.why is QueueReason.BUDGET
            title = "The budget is used up" if is_budget else "Its model needs a price"
            why_held = "It is sent once there is budget again." if is_budget else "A budget cannot hold without one."
            what = say(detail or why_held)
            waits = say("raise the budget, or wait until ", Piece(at=wait.until), ".") if wait.until is not None else ()
            return Trouble("warn", title, what, waits or with_commands("see `receiver costs`."))
        case QueueReason.PAUSED:
            return Trouble("warn", "Submitting is paused", with_commands(_sentence(wait.detail or "By a person")))
        case QueueReason.PICK:
            named = link_task(scene.parent) if scene.parent is not None else "the task before it"
            what = say(
                "It goes on from a picture of ", named, ", once somebody picks one", *((": ", why) if why else ()), "."
            )
            return Trouble("warn", "Pick a picture", what, say("open ", named, " and pick one."))
        case _:
            return None


def _not_kept(scene: TaskScene) -> Trouble | None:
    missing = scene.missing
    if not missing:
        return None
    types = [it.type for it in scene.images]
    noun = media_noun(types)
    if len(missing) == 1:
        title = f"{noun.capitalize()} {missing[0].image_no} was not kept"
    elif len(missing) >= len(types):
        title = f"None of its {len(missing)} {noun}s was kept"
    else:
        title = f"{len(missing)} of {count_media(types)} were not kept"
    error = next((it.error for it in missing if it.error), "")
    them = "it" if len(missing) == 1 else "them"
    what = say(outside(_sentence(error), ERROR_MOST)) if error else say("Nobody knows why.")
    if error and _GONE.search(error):
        ended = (
            "Its link had ended before it was fetched"
            if them == "it"
            else "Their links had ended before they were fetched"
        )
        what = say(f"{ended}: ", outside(error, ERROR_MOST), ".")
        todo = f"fetch {them} again soon, if at all: the provider’s links end."
    elif error and _FORBIDDEN.search(error):
        todo = f"add the host to FETCH_ALLOW, start the service again, then fetch {them} again."
    else:
        todo = f"fetch {them} again."
    return Trouble("warn", title, what, say(todo), acts=(TaskAct.FETCH_AGAIN,))


def _why_unconfirmed(scene: TaskScene) -> Piece:
    why = scene.why_unconfirmed
    return outside(f"But {why}.", ERROR_MOST) if why else Piece("The provider could not be asked.")


def _quoted(error: TaskError) -> tuple[Piece, ...]:
    words = one_line(error.message, ERROR_MOST)
    return (
        (Piece("“"), Piece(words, outside=True), Piece("”" if words.endswith((".", "!", "?")) else "”."))
        if words
        else ()
    )


def _id(text: str) -> Piece:
    return Piece(one_line(text, 256), outside=True, code=True)


def _sentence(text: str) -> str:
    text = text.strip()
    if "." not in text.partition(" ")[0]:  # the name of a host stays as it is
        text = text[:1].upper() + text[1:]
    return text + ("" if text.endswith((".", "!", "?")) else ".")
