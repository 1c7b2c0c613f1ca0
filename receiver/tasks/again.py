"""The same task once more, changed if wanted. Pure."""

from collections.abc import Collection

import msgspec

from receiver.client.schemas import AgainRequest, NewTask
from receiver.core.errors import RequestRefused
from receiver.core.types import Task, TaskOrigin, TaskState
from receiver.providers.models import prompt_param


def repeat_request(task: Task, asked: AgainRequest, targets: Collection[str]) -> NewTask:
    """The request for a task like `task`, with what is `asked` changed. Of its targets, those that still exist count.

    Raises RequestRefused: 409 if its parameters are not known here, or if the provider may have the task already.
    """
    if task.origin is not TaskOrigin.SUBMITTED or task.model is None:
        raise RequestRefused(409, "not_ours", "the task was not submitted from here, so its parameters are not known")
    if task.unsure and task.state in (TaskState.WAITING, TaskState.LOST):
        problem = "the task is unsure: the provider may have taken it, and then another one is paid for too"
        remedy = f"run `receiver tasks show {task.ref}`, and see what can be done"
        raise RequestRefused(409, "unsure", problem, remedy=remedy)
    if task.state is TaskState.FAILED and not task.confirmed:
        problem = "no poll has confirmed that the task failed, and if it did not, another one is paid for too"
        remedy = f"check the provider's task list, and tell its id with `receiver tasks tell-id {task.ref} ID`"
        raise RequestRefused(409, "unconfirmed", problem, remedy=remedy)
    params = {**msgspec.json.decode(task.params), **asked.params}
    as_before = asked.prompt is None and not asked.params
    if asked.prompt is not None:
        name = prompt_param(task.model)
        if name is None:
            raise RequestRefused(422, "invalid_parameter", f"{task.model} takes no prompt", "prompt")
        params[name] = asked.prompt
    kept = tuple(it for it in task.targets or () if it in targets)
    return NewTask(
        model=task.model,
        params=params,
        label=task.label if asked.label is None else asked.label,
        targets=kept or None,
        poll_only=task.poll_only,
        allow_permutations=asked.allow_permutations or as_before,  # a person allowed these braces
    )
