"""Where a form leads that made a task, and what the task's page says about it then. Pure."""

from receiver.core.types import Task
from receiver.providers.models import param_hints
from receiver.web.pages.going_on.form_errors import as_sentence
from receiver.web.pages.sentences import decode_params

BEFORE = "before"
TIPS = "tips"


def made_path(task: Task, *, replayed: bool) -> str:
    """The address of the task that a form made; `replayed`: it was sent before, and made no other one."""
    done = BEFORE if replayed else TIPS if find_tips(task) else ""
    return f"/tasks/{task.ref}?done={done}#done" if done else f"/tasks/{task.ref}"


def find_tips(task: Task) -> tuple[str, ...]:
    """What is allowed in what a task asks for, but is probably a mistake."""
    return tuple(map(as_sentence, param_hints(task.model, decode_params(task)))) if task.model is not None else ()
