"""What can still be said of a task that has ended. Pure.

A final task does not change any more, with two exceptions: its submission was refused and yet something says that it
was carried out; or its end could not be confirmed, and then what is believed corrects it.
"""

import hashlib
from collections.abc import Iterable

from msgspec.structs import replace

from receiver.core.hints import add_candidate, next_id
from receiver.core.types import Ending, Image, Outcome, OutcomeSource, Policy, Task, TaskState, Verdict

STATE_AT_END = {
    Ending.COMPLETED: TaskState.COMPLETED,
    Ending.FAILED: TaskState.FAILED,
    Ending.CANCELLED: TaskState.CANCELLED,
}


def verdict_after_end(task: Task, outcome: Outcome | None) -> Verdict:
    """What an outcome says to a final task: the same, something unfinished, or something else."""
    if outcome is None:
        return Verdict.UNPARSED
    if not outcome.says_end or (outcome.why_doubted is not None and task.confirmed):
        return Verdict.LATE
    same = STATE_AT_END[outcome.ending] is task.state
    if same and task.state is TaskState.COMPLETED:
        same = picture_digest(outcome.images) == task.pictures
    return Verdict.DUPLICATE if same else Verdict.CONFLICT


def contradicts_refusal(task: Task, outcome: Outcome | None) -> bool:
    """Whether the outcome, of a task whose submission was refused, says anything but that it failed: somebody took it
    after all.

    A gateway can refuse in the provider's name what the provider has taken.
    """
    refused = task.state is TaskState.FAILED and task.settled_by is OutcomeSource.ANSWER and task.task_id is None
    return refused and (outcome is None or outcome.ending in (Ending.COMPLETED, Ending.RUNNING))


def reopen_task(task: Task) -> Task:
    """A refused task that is waited for again. It keeps its error until something else is known."""
    return replace(task, state=TaskState.WAITING, unsure=True, settled_at=None, settled_by=None)


def ask_again(task: Task, outcome: Outcome, policy: Policy, now: int) -> Task:
    """A task whose end could not be confirmed, after a callback that says otherwise: the provider is asked by the ids
    that are known, if it can be."""
    doubted = add_candidate(task, outcome, policy, now)
    if not policy.can_poll or next_id(doubted) is None:
        return doubted
    return replace(doubted, poll_at=now, poll_step=0)


def picture_digest(images: Iterable[Image]) -> str | None:
    """Equal for equal pictures: a digest of their URLs in any order, without the query, which holds a signature."""
    urls = sorted(image.url.partition("?")[0] for image in images)
    return hashlib.blake2b("\n".join(urls).encode("utf-8", "replace"), digest_size=16).hexdigest() if urls else None
