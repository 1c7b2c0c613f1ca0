"""What a refused submission means for the other tasks, and what a person is told of it."""

from collections.abc import Iterable

from msgspec.structs import replace

from receiver.core.submissions import is_refused, own_probe_at
from receiver.core.types import (
    Ending,
    HoldReason,
    Outcome,
    OutcomeShape,
    OutcomeSource,
    RefusalCause,
    SubmitAnswer,
    SubmitResult,
    Task,
    TaskError,
    TaskState,
)
from receiver.tasks.settle import TaskBatch

_PAUSED = {
    RefusalCause.KEY: ("our key", "Check PROVIDER_KEY."),
    RefusalCause.BALANCE: ("our balance", "Top up the account."),
    RefusalCause.PERMISSION: ("us permission", "Check the account's plan and what the key may do."),
    None: ("all tasks alike", "Check PROVIDER_KEY, and the account's balance and plan."),
}
_HELD = {
    SubmitResult.BUSY: "The provider was too busy for {name}, {count} times ({words}).",
    SubmitResult.UNAUTHORIZED: "The provider refused {name} {count} times ({words}). Perhaps it refuses only this one.",
}
_HELD_REMEDY = (
    " It is not sent again by itself. To send it again, run `receiver tasks resubmit {ref}`; to withdraw it, "
    "`receiver tasks cancel {ref}`."
)
DOWN = (
    "The provider cannot be reached ({words}), {count} times in a row. Nothing was sent, so nothing is lost: the tasks "
    "wait, and one request a minute probes. Check the network and PROVIDER_URL with `receiver doctor`."
)


BUSY = (
    "The provider has been too busy for the last {count} submissions ({words}). Nothing was taken, so nothing is lost: "
    "the tasks wait, and one request a minute probes."
)


def refusal_outcome(error: TaskError | None, text: str) -> Outcome:
    """The outcome of a task whose refusal is its own."""
    error = error or TaskError(None, text)
    return Outcome(ending=Ending.FAILED, shape=OutcomeShape.OTHER, status="refused", error=error)


def judge_refused(batch: TaskBatch, refused: Iterable[Task], sent_at: int, now: int) -> None:
    """A task that was sent at `sent_at` was taken. So what was refused before is explained: a suspect's refusal was its
    own; a task that was refused like all others is tried again now."""
    for ref in [it.ref for it in refused]:
        task = batch.tasks[ref]
        if task.state is not TaskState.QUEUED or not is_refused(task) or (task.refused_at or 0) > sent_at:
            continue
        if task.held_by is HoldReason.SUSPECT:
            outcome = refusal_outcome(task.error, "the provider refused it, and took another task")
            batch.apply_outcome(ref, outcome, OutcomeSource.ANSWER)
        elif task.refusals <= 1:  # later it waits for its time, so that it is not sent again with every task
            batch.set_task(replace(task, due_at=now))


def pause_suspects(batch: TaskBatch, refused: Iterable[Task], refusals: int, now: int) -> None:
    """All tasks are refused, so those that were suspects are none."""
    for ref in [it.ref for it in refused]:
        task = batch.tasks[ref]
        if task.state is TaskState.QUEUED and task.held_by is HoldReason.SUSPECT:
            due_at = own_probe_at(refusals, now)
            batch.set_task(replace(task, held_by=HoldReason.PAUSE, due_at=due_at, refused_at=now))


def describe_pause(answer: SubmitAnswer) -> str:
    """Why submissions are paused, for a person."""
    what, remedy = _PAUSED[answer.cause]
    denies = "denies" if answer.cause is RefusalCause.PERMISSION else "refuses"
    return f"The provider {denies} {what} ({answer.text}). Submissions are paused and retried automatically. {remedy}"


def describe_hold(task: Task, answer: SubmitAnswer) -> str:
    """Why a task is held until a person decides."""
    name = task.shown_name
    count = task.tries if answer.result is SubmitResult.BUSY else task.refusals + 1
    text = _HELD[answer.result] + _HELD_REMEDY
    return text.format(name=name, ref=task.ref, count=count, words=answer.text)
