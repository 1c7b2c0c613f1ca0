"""What a callback's verdict means, in a sentence with three parts: what became of it, why, and what comes next. Pure.

The verdict is that of the moment when the callback came; what comes next is said of the task as it is now.
"""

from msgspec import Struct

from receiver.core.hints import is_denied
from receiver.core.types import (
    ConfirmMode,
    Ending,
    Outcome,
    OutcomeShape,
    OutcomeSource,
    Policy,
    PollResult,
    Task,
    TaskState,
    Verdict,
)
from receiver.notify.messages.media_words import count_media
from receiver.store.tables.callbacks import StoredCallback
from receiver.web.pages.callbacks.bodies import BodyKind
from receiver.web.pages.sentences import Piece, Sentence, outside, say

MARKS = {
    Verdict.ACCEPTED: "good",
    Verdict.DUPLICATE: "off",
    Verdict.LATE: "off",
    Verdict.CONFLICT: "bad",
    Verdict.HINT: "warn",
    Verdict.UNPARSED: "bad",
}
_WORD_MOST = 60  # characters of a word from outside
_COUNTS = ["once", "twice", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_ANSWERS = {
    PollResult.OUTCOME: "did not confirm it",
    PollResult.UNKNOWN: "does not know the id (404)",
    PollResult.UNAUTHORIZED: "refuses our key",
    PollResult.BUSY: "was too busy to answer",
    PollResult.UNREADABLE: "answered something that nobody could read",
    PollResult.NOTHING: "did not answer",
}
_BODIES = {
    BodyKind.EMPTY: "it is empty",
    BodyKind.JSON: "it is JSON, but says nothing about a task that we understand",
    BodyKind.BROKEN: "it begins like JSON, but is cut off or broken",
    BodyKind.BINARY: "it is not text",
}
_BRIEFLY = {
    BodyKind.EMPTY: "empty",
    BodyKind.JSON: "JSON that says nothing of a task",
    BodyKind.BROKEN: "broken JSON",
    BodyKind.BINARY: "not text",
}


class Asked(Struct, frozen=True, gc=False):
    """The polls since a callback came: how many, what the last one brought, and its line in the log."""

    count: int = 0
    last: PollResult | None = None
    text: str = ""


class Case(Struct, frozen=True, kw_only=True):
    """What a verdict is explained from: the callback, what its body says, and what was known and became of it."""

    kept: StoredCallback
    outcome: Outcome | None
    kind: BodyKind
    media_type: str
    task: Task | None
    policy: Policy
    now: int
    asked: Asked = Asked()
    earlier: int | None = None  # the first callback with the same bytes
    settling: int | None = None  # the newest accepted callback before it
    told: tuple[str, ...] = ()  # targets that were sent how the task ended


class Explanation(Struct, frozen=True):
    """The three parts; the first ends in a colon where the second goes on."""

    what: Sentence
    why: Sentence
    after: Sentence


def mark_of(verdict: Verdict, task: Task | None) -> str:
    """The kind of mark that a verdict gets. A hint whose task has ended since needs nobody."""
    over = task is not None and task.state.is_final and task.confirmed
    return "off" if verdict is Verdict.HINT and over else MARKS[verdict]


def explain_verdict(case: Case) -> Explanation:
    """What became of a callback, why, and what comes next."""
    match case.kept.verdict:
        case Verdict.ACCEPTED:
            return _explain_accepted(case)
        case Verdict.DUPLICATE:
            return _explain_duplicate(case)
        case Verdict.LATE:
            return _explain_late(case)
        case Verdict.CONFLICT:
            return _explain_conflict(case)
        case Verdict.HINT:
            return _explain_hint(case)
        case Verdict.UNPARSED:
            return _explain_unparsed(case)


def says_briefly(outcome: Outcome | None) -> str:
    """What an outcome says, in few words: `completed, 4 pictures`, `failed`, `35 %`, `running`."""
    if outcome is None:
        return "nothing that can be read"
    if outcome.ending is Ending.COMPLETED:
        return f"completed, {count_media([it.type for it in outcome.images])}"
    if outcome.ending is not Ending.RUNNING:
        return outcome.ending.value
    if outcome.unknown_status:
        return f"“{outside(outcome.status, _WORD_MOST).text}”, which we do not know"
    return "running" if outcome.progress is None else percent(outcome.progress)


def percent(progress: float) -> str:
    """A progress as pages write it: `35 %`."""
    return f"{round(min(max(progress, 0.0), 1.0) * 100)} %"


def state_words(task: Task) -> str:
    """A task's state with its progress: `waiting, 40 %`."""
    if task.state is TaskState.WAITING and task.progress is not None:
        return f"{task.state.value}, {percent(task.progress)}"
    return task.state.value if task.confirmed else f"{task.state.value}, unconfirmed"


def describe_row(kept: StoredCallback, outcome: Outcome | None, task: Task | None, *, kind: BodyKind) -> str:
    """The second line of a row: what the callback says, and what that was about."""
    if kind is BodyKind.UNKNOWN and kept.size:
        return "open it to read it"
    says = says_briefly(outcome)
    match kept.verdict:
        case Verdict.UNPARSED:
            return _BRIEFLY.get(kind, "not JSON") if outcome is None else f"{says}, as this version reads it"
        case Verdict.DUPLICATE:
            ended = task is None or task.state.is_final
            return "says again what is settled" if ended else "says again what was known"
        case Verdict.LATE:
            return f"{says}, after the end"
        case Verdict.CONFLICT:
            return f"says {_first_word(outcome)}; the task is {task.state.value}" if task else f"says {says}"
        case Verdict.HINT:
            return f"{says}; {_doubt_briefly(outcome, task)}"
        case _:
            return says


def may_believe(kept: StoredCallback, outcome: Outcome | None, task: Task | None) -> bool:
    """Whether it makes a difference if a person believes it."""
    if outcome is None or not outcome.says_end or task is None or kept.body is None:
        return False
    return kept.verdict in (Verdict.HINT, Verdict.CONFLICT) and not (task.state.is_final and task.confirmed)


def _explain_accepted(case: Case) -> Explanation:
    kept, outcome, task = case.kept, case.outcome, case.task
    believed = kept.replay_of is not None and task is not None and task.settled_by is OutcomeSource.PERSON
    if believed and (outcome is None or outcome.says_end):
        what = say("It settled the task:")
        why = say("somebody believed ", link_callback(kept.replay_of or 0), ", of which it is the replay.")
        return Explanation(what, why, _after_end(case))
    if outcome is None:
        return Explanation(
            say("It was believed, and changed the task."),
            say("What it says cannot be read any more." if kept.body is not None else "Its bytes were not kept."),
            _how_it_stands(case),
        )
    why = say("it came on the task’s own URL and carries its id.")
    if outcome.says_end:
        return Explanation(say("It settled the task:"), why, _after_end(case))
    if outcome.progress is not None:
        return Explanation(say(f"It moved the task to {percent(outcome.progress)}:"), why, _how_it_stands(case))
    return Explanation(say("It told us more about the task:"), why, _how_it_stands(case))


def _explain_duplicate(case: Case) -> Explanation:
    why = say("Nothing was changed, and nobody was told again.")
    nothing = say("Nothing is to be done.")
    task = case.task
    if case.earlier is not None and case.earlier != case.kept.id:
        return Explanation(say("It says again what ", link_callback(case.earlier), " said."), why, nothing)
    if task is not None and task.state.is_final:
        match task.settled_by:
            case OutcomeSource.CALLBACK if case.settling is not None:
                return Explanation(say("It says again what ", link_callback(case.settling), " said."), why, nothing)
            case OutcomeSource.POLL:
                return Explanation(say("It says what the provider had said already when it was asked."), why, nothing)
            case OutcomeSource.PERSON:
                return Explanation(say("It says what somebody had settled already."), why, nothing)
    return Explanation(say("It says again what was known."), why, nothing)


def _explain_late(case: Case) -> Explanation:
    task, outcome = case.task, case.outcome
    lost = task is not None and task.state is TaskState.LOST
    had = "was lost by then" if lost else "had ended"
    if outcome is not None and outcome.says_end and (doubt := outcome.why_doubted):
        says = say(f"It says {_first_word(outcome)}, but ", outside(doubt, 200), f", and the task {had}.")
    else:
        says = say(f"It says {says_briefly(outcome)}, but the task {had}.")
    after = "If its end comes after all, it still counts." if lost else "Nothing is to be done."
    return Explanation(says, say("Nothing was changed."), say(after))


def _explain_conflict(case: Case) -> Explanation:
    task, outcome = case.task, case.outcome
    if task is None:
        says = say(f"It says {says_briefly(outcome)}; the task had ended otherwise.")
        return Explanation(says, say("It was kept and changed nothing: an end is final."), _gone())
    same = outcome is not None and _first_word(outcome) == task.state.value
    if same and task.state is TaskState.COMPLETED:
        says = say("It says completed, but with other pictures than the task has.")
    elif same:
        says = say(f"It says {task.state.value}; the task had ended otherwise then, and is {task.state.value} now.")
        return Explanation(says, say("It was kept and changed nothing by itself."), say("Nothing is to be done."))
    else:
        says = say(f"It says {_first_word(outcome)}; the task is {task.state.value}.")
    if task.confirmed:
        why = say("It was kept and changed nothing: an end is final.")
        return Explanation(says, why, say("If you doubt the first, look into the provider’s list."))
    why = say("It was kept and changed nothing yet: the task’s own end was never confirmed.")
    return Explanation(says, why, _when_asked(case) or say("If you know that it is right, believe it."))


def _explain_hint(case: Case) -> Explanation:
    asked = _describe_asked(case)
    why = (*_why_not_believed(case), *(say(" ", *asked) if asked else ()))
    task = case.task
    if task is None:
        return Explanation(say("It was not believed."), why, _gone())
    if task.state.is_final and task.confirmed:
        return Explanation(say("It was not believed."), why, _how_it_stands(case))
    if task.state.is_final:
        after = f"Nothing confirmed it in time: the task is {task.state.value} with it, marked unconfirmed."
        other = f"The task is {task.state.value}, unconfirmed. If you know that this is right, believe it."
        same = case.outcome is not None and _first_word(case.outcome) == task.state.value
        return Explanation(say("It was not believed at first." if same else "It is not believed yet."), why,
                           say(after if same else other))  # fmt: skip
    if task.state is TaskState.LOST:
        after = "No end was found within its time, so the task is lost. If you know that it is right, believe it."
        return Explanation(say("It is not believed yet."), why, say(after))
    return Explanation(say("It is not believed yet."), why, _what_follows_hint(case, task))


def _explain_unparsed(case: Case) -> Explanation:
    task, outcome = case.task, case.outcome
    if outcome is not None:
        what = say(f"Nobody could read it when it came; this version can: it says {says_briefly(outcome)}.")
        again = "It changes nothing until it is replayed." if case.kept.body is not None else ""
        return Explanation(what, say(again), _how_it_stands(case))
    what = say("Nobody could read it: ", *_describe_body(case))
    if task is None:
        return Explanation(what, say("So it changed nothing."), _gone())
    settled = task.settled_by is OutcomeSource.POLL and (task.settled_at or 0) >= case.kept.received_at
    if settled:
        return Explanation(what, say(f"The provider was asked instead, and said {task.state.value}."), _nothing())
    if task.state.is_final:
        return Explanation(what, say("It changed nothing."), _how_it_stands(case))
    if asked := _describe_asked(case, " instead"):
        return Explanation(what, asked, _when_asked(case) or _how_it_stands(case))
    if not case.policy.can_poll or task.poll_at is None:
        return Explanation(what, say("It changed nothing."), _when_asked(case) or _how_it_stands(case))
    when = (", at ", Piece(at=task.poll_at)) if task.poll_at > case.now else ()
    return Explanation(what, say("The provider is asked instead", *when, "."), _how_it_stands(case))


def _describe_body(case: Case) -> Sentence:
    if case.kind is BodyKind.UNKNOWN:
        return say("its bytes were not kept.")
    if case.kind is BodyKind.TEXT:
        named = case.media_type if case.media_type and "json" not in case.media_type else "text"
        return say("it is ", outside(named, _WORD_MOST), ", no JSON.")
    return say(f"{_BODIES[case.kind]}.")


def _why_not_believed(case: Case) -> Sentence:
    outcome, task = case.outcome, case.task
    if outcome is None:
        return say("What it says cannot be read any more.")
    word = outside(outcome.status, _WORD_MOST).text or outcome.ending.value
    says = say("It says ", Piece(f"“{word}”", outside=True))
    anybody = "so anybody with the URL could have sent it."
    if (doubt := outcome.why_doubted) is not None:
        return (*says, *say(", but ", outside(doubt, 200), "."))
    if outcome.shape is not OutcomeShape.TASK:
        return (*says, *say(f", but not in the form of the provider’s own tasks, {anybody}"))
    if outcome.task_id is None:
        return (*says, *say(f", but carries no id, {anybody}"))
    if task is not None and task.task_id is not None and outcome.task_id != task.task_id:
        return (*says, *say(f", but carries an id that is not this task’s, {anybody}"))
    if case.policy.confirm is ConfirmMode.ALWAYS:
        return (*says, *say(", and the settings want each callback confirmed by the provider (CONFIRM)."))
    return (*says, *say(f", but the task’s id was not known by then, {anybody}"))


def _doubt_briefly(outcome: Outcome | None, task: Task | None) -> str:
    if outcome is None:
        return "cannot be read any more"
    if outcome.why_doubted is not None:
        return "cannot be believed as it stands"
    if outcome.shape is not OutcomeShape.TASK:
        return "not the provider’s own form"
    if outcome.task_id is None:
        return "carries no id"
    if task is not None and task.task_id is not None and outcome.task_id != task.task_id:
        return "carries another id"
    return "to be confirmed"


def _describe_asked(case: Case, instead: str = "") -> Sentence:
    """How often the provider was asked since, and what it said; empty if it was not."""
    if case.asked.last is None or not case.asked.count:
        return ()
    count = case.asked.count
    times = (_COUNTS[count - 1] if count <= 2 else f"{_COUNTS[count - 1]} times") if count <= 12 else f"{count} times"
    answered = _ANSWERS[case.asked.last]
    if case.asked.last is PollResult.OUTCOME and instead:
        answered = "named no end"
    return say(f"The provider was asked{instead} {times} and {answered}.")


def _what_follows_hint(case: Case, task: Task) -> Sentence:
    """What becomes of an open task after a hint."""
    asked = _when_asked(case)
    told = (*asked, Piece(" ")) if asked else ()
    until, outcome = task.hint_until, case.outcome
    if until is None or outcome is None or not outcome.says_end:
        return asked or say("If you know that it is right, believe it.")
    denied = outcome.task_id is not None and is_denied(task, outcome.task_id)
    settles = outcome.is_terminal and case.policy.confirm is ConfirmMode.MISMATCH and task.hint is not None
    end = Piece(at=until)
    if not settles or task.hint is None or not task.hint.is_terminal:
        return say(*told, "If nothing confirms it by ", end, ", you are asked.")
    first = task.hint.ending is outcome.ending and not denied
    with_what = f"the task is {task.hint.ending.value} with this, marked unconfirmed." if first else (
        f"the task is {task.hint.ending.value} with what another callback said, marked unconfirmed.")  # fmt: skip
    return say(*told, "If nothing confirms it by ", end, f", {with_what}")


def _when_asked(case: Case) -> Sentence:
    """When the provider is asked next; empty if it is not."""
    task = case.task
    if not case.policy.can_poll:
        return say("There is no key for the provider, so it cannot be asked.")
    if task is None or task.poll_at is None:
        return ()
    again = "Asked again" if case.asked.count else "The provider is asked"
    return say(f"{again} at ", Piece(at=task.poll_at), ".") if task.poll_at > case.now else say("It is asked now.")


def _after_end(case: Case) -> Sentence:
    """What comes after the end that a callback brought."""
    if not case.told:
        return _how_it_stands(case)
    names: list[str | Piece] = []
    for place, name in enumerate(case.told):
        names += [" and " if place == len(case.told) - 1 else ", "] if place else []
        names.append(outside(name, _WORD_MOST))
    return say(*names, " was told." if len(case.told) == 1 else " were told.")


def _how_it_stands(case: Case) -> Sentence:
    task = case.task
    if task is None:
        return _gone()
    if task.state is TaskState.LOST:
        return say("The task is lost: no end was found within its time.")
    if task.state.is_final:
        return say(f"The task is {task.state.value}{'' if task.confirmed else ', unconfirmed'}.")
    return say("Its end is still to come.")


def _nothing() -> Sentence:
    return say("Nothing is to be done.")


def _gone() -> Sentence:
    return say("Its task was removed by retention.")


def _first_word(outcome: Outcome | None) -> str:
    return outcome.ending.value if outcome is not None else "something else"


def link_callback(number: int) -> Piece:
    """A link to a callback's page."""
    return Piece(f"callback {number}", href=f"/callbacks/{number}")
