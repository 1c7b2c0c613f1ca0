"""What the answer to a submission says about its task: that the provider has it, by which id; or perhaps."""

from msgspec.structs import replace

from receiver.core.decide import FOREVER, heard_doubted_end, mark_unsure
from receiver.core.hints import add_candidate_id, allow_id, drop_candidate
from receiver.core.submissions import without_refusal
from receiver.core.types import Outcome, Policy, SubmitAnswer, Task, TaskState
from receiver.notify.attention import raise_attention
from receiver.store import Tx


async def learn_task_id(tx: Tx, task: Task, claimed: Task, outcome: Outcome, policy: Policy, now: int) -> Task:
    """The task with the answer's id and time, in any state. An id that contradicts another raises an attention.

    The answer to our own request is the word: an id that a callback gave before becomes a candidate.
    """
    task_id = outcome.task_id or ""
    owner = (await tx.tasks.by_task_id(task.provider, [task_id])).get(task_id, task.ref)
    if owner != task.ref or task.task_id not in (None, task_id):
        if owner != task.ref:
            but = f"{owner} has that id. The wrong pictures may arrive."
        elif task.state.is_final:
            but = f"a callback with the id {task.task_id} had settled it before. The wrong pictures may have arrived."
        else:
            but = f"a callback gave it the id {task.task_id} before. The answer counts."
        await raise_attention(
            tx,
            f"task-id:{task.ref}",
            f"The provider answered {task.ref} with the id {task_id}, but {but} "
            "Compare both ids with the provider's task list.",
            policy,
            now,
            task,
        )
    known = task.task_id
    if owner == task.ref and task_id:
        task = allow_id(drop_candidate(replace(task, task_id=task_id), task_id), task_id)
        if known not in (None, task_id) and not task.state.is_final:
            task = add_candidate_id(task, known)
    return replace(
        task,
        provider_created_at=outcome.created_at,
        submitted_at=claimed.submitted_at,
    )


def mark_unclear(task: Task, answer: SubmitAnswer, now: int, expected_ms: int) -> Task:
    """The task when the provider may have taken it; if the answer has an id in an odd place, it is polled by that."""
    unsure = mark_unsure(without_refusal(task), now, expected_ms)
    task_id = answer.outcome and answer.outcome.task_id
    if not task_id:
        return unsure
    return replace(add_candidate_id(unsure, task_id), poll_at=now, hint_step=0)


def mark_taken(task: Task, now: int, expected_ms: int) -> Task:
    """The task once the provider has certainly taken it: waiting, to be polled if no callback comes; or as it ended."""
    if task.state in (TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED, TaskState.LOST):
        return task
    hinted = task.hint is not None or task.hint_step is not None
    return replace(
        without_refusal(task),
        state=TaskState.WAITING,
        held_by=None,
        unsure=False,
        due_at=None,
        lease_until=None,
        place_until=None if heard_doubted_end(task) else FOREVER,
        poll_at=now if hinted else now + expected_ms,
        hint_step=0 if hinted else None,
    )
