"""What a person is told about callbacks that say something about a task, but do not settle it."""

from collections.abc import Sequence

from msgspec import Struct

from receiver.core.after_end import contradicts_refusal
from receiver.core.sanitize import one_line
from receiver.core.types import (
    Ending,
    Outcome,
    OutcomeShape,
    OutcomeSource,
    Policy,
    Task,
    TaskOrigin,
    TaskState,
    Verdict,
)
from receiver.notify.attention import raise_attention, raise_task_attention
from receiver.store import Tx

ID_SHOWN = 80  # characters of an id from outside

_UNPARSED = (
    "A callback for {} could not be parsed. The provider may have changed its format. To see the body, run `receiver "
    "callbacks list --verdict unparsed`. {}"
)
_UNPARSED_MANY = (
    "Callbacks for {count} tasks could not be parsed within an hour, and only the first {singly} tasks are reported "
    "one by one. The provider may have changed its format. To list them all, run "
    "`receiver callbacks list --verdict unparsed --limit 200`."
)
_POLLED = "The task is polled instead."
_NOT_POLLED = "The task cannot be polled, because {}. Check the provider's task list."
_CALLED = (
    "Something called the callback URL of {name} while the task was still queued here, so it may have been submitted "
    "elsewhere. It will not be submitted until you say so. `receiver tasks show {ref}` names the callback. Check the "
    "provider's task list: if the task is there, run `receiver tasks tell-id {ref} ID`. If not, run `receiver tasks "
    "resubmit {ref}` to submit it; if the provider has it after all, you pay twice. If you do neither, it is given up "
    "at its deadline."
)
_CALLED_MANY = (
    "Something called the callback URLs of {count} tasks within an hour while they were still queued here, and only "
    "the first {singly} are reported one by one. None of them will be submitted until you say so. `receiver tasks list "
    "--state waiting --limit 200` shows them with a question mark; `receiver tasks resubmit REF` submits one."
)
_CONTRADICTED = (
    "{0} was reported as {1}, although no poll could confirm it. Now a callback says {2}. That changes nothing "
    "yet: if the provider can be asked, it is, and you are told if it says so too. Otherwise check its task list: "
    "`receiver tasks show {0}` names the callback, and `receiver callbacks replay --accept ID` believes it."
)
_WITHDRAWN = (
    "{0} was withdrawn here, but now its callback URL was called: the provider may have taken it after all, and charge "
    "for it. `receiver tasks show {0}` names the callback, which may have the links to the pictures."
)
_TAKEN_AFTER_ALL = (
    "{0} failed because its submission was refused, but now its callback URL was called: the provider may have taken "
    "it after all, and charge for it. Do not submit it again: it is open again, and you are told how it ends."
)
_CROWDED = (
    "{0} has so many different callbacks which may say how it ended that further ones are answered 503. Probably "
    "someone knows its callback URL and makes them up. Look for the task in the provider's task list; once you know "
    "its id there, run `receiver tasks tell-id {0} ID`, and only callbacks and polls with this id count."
)


_ANOTHER_ID = (
    "A callback for {name} says that the provider's task {other} is completed, but {ref} is its task {own}. Look for "
    "both in the provider's task list: if both are there, the submission was taken twice, and both may be charged. If "
    "{other} is not, someone knows the callback URL and made it up."
)


class HandledCallback(Struct, frozen=True, eq=False):
    """A callback whose verdict is known, and its task `before` it and `after` its transaction."""

    before: Task
    after: Task
    verdict: Verdict
    outcome: Outcome | None


def is_expected(before: Task, verdict: Verdict, outcome: Outcome | None) -> bool:
    """Whether a callback cannot call for a person: it was believed, for a task that waited for it under this id."""
    if verdict is not Verdict.ACCEPTED or before.state is not TaskState.WAITING or outcome is None:
        return False
    return outcome.task_id is None or outcome.task_id == before.task_id


async def raise_callback_attention(
    tx: Tx, handled: Sequence[HandledCallback], crowded: Sequence[Task], policy: Policy, now: int
) -> None:
    """Raise attention for the callbacks of a transaction that call for a person; `crowded` are the tasks that have no
    room for another end."""
    open_ = [it for it in handled if not (it.after.state.is_final and it.after.confirmed)]
    unparsed = [it for it in open_ if it.verdict is Verdict.UNPARSED]
    texts = {it.after.ref: (it.after, _unparsed_text(it.after, policy)) for it in unparsed}
    await raise_task_attention(tx, "unparsed", texts, _UNPARSED_MANY, policy, now)
    # It is told again if it happens again after a person had the task submitted, which forgets `called_at`.
    called = {f"{it.after.ref}:{it.after.called_at}": it.after for it in handled if _ends_queueing(it)}
    texts = {about: (task, _called_text(task)) for about, task in called.items()}
    await raise_task_attention(tx, "called", texts, _CALLED_MANY, policy, now)
    for it in handled:
        if it.before.state is TaskState.CANCELLED and it.before.settled_by is OutcomeSource.PERSON:
            text = _WITHDRAWN.format(it.after.ref)
            await raise_attention(tx, f"withdrawn:{it.after.ref}", text, policy, now, it.after)
        elif it.verdict is Verdict.CONFLICT and not it.after.confirmed and it.outcome is not None:
            text = _CONTRADICTED.format(it.after.ref, it.after.state, it.outcome.ending)
            await raise_attention(tx, f"conflict:{it.after.ref}", text, policy, now, it.after)
        elif contradicts_refusal(it.before, it.outcome):
            text = _TAKEN_AFTER_ALL.format(it.after.ref)
            await raise_attention(tx, f"taken:{it.after.ref}", text, policy, now, it.after)
        if (other := _another_id(it)) is not None:
            shown = {"name": it.after.shown_name, "ref": it.after.ref, "own": it.after.task_id}
            text = _ANOTHER_ID.format(**shown, other=one_line(other, ID_SHOWN))
            await raise_attention(tx, f"another-id:{it.after.ref}", text, policy, now, it.after)
    for task in {it.ref: it for it in crowded}.values():
        await raise_attention(tx, f"crowded:{task.ref}", _CROWDED.format(task.ref), policy, now, task)


def _another_id(it: HandledCallback) -> str | None:
    """The id of another task of the provider's that is said to have completed for the same submission."""
    outcome, own = it.outcome, it.before.task_id
    if outcome is None or own is None or it.before.origin is not TaskOrigin.SUBMITTED:
        return None
    completed = outcome.shape is OutcomeShape.TASK and outcome.ending is Ending.COMPLETED and outcome.is_terminal
    return outcome.task_id if completed and outcome.task_id != own else None


def _ends_queueing(it: HandledCallback) -> bool:
    """Whether a queued task is unsure from now on, only because its callback URL was called."""
    return it.before.state is TaskState.QUEUED and it.after.state is TaskState.WAITING and it.after.unsure


def _called_text(task: Task) -> str:
    return _CALLED.format(name=task.shown_name, ref=task.ref)


def _unparsed_text(task: Task, policy: Policy) -> str:
    reason = "the provider's id of it is unknown" if policy.can_poll else "PROVIDER_KEY is not set"
    polled = policy.can_poll and task.task_id is not None
    return _UNPARSED.format(task.ref, _POLLED if polled else _NOT_POLLED.format(reason))
