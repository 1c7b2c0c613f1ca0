"""The same task once more, changed if wanted, and with what goes on from it. Pure."""

import hashlib
import re
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from receiver.client.schemas import LABEL_MOST, STEP_MOST, AgainRequest, NewTask, WaitFor
from receiver.core.errors import RequestRefused
from receiver.core.types import Task, TaskOrigin, TaskState
from receiver.providers.declarations import JobFeed, UrlFeed
from receiver.providers.models import MODELS, prompt_param, short_model_name


class RepeatedTask(Struct, frozen=True):
    """A request that repeats a task."""

    asked: NewTask
    again_of: str


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
        wait_for=_awaited_parent(task, params),
        label=task.label if asked.label is None else asked.label,
        targets=kept or None,
        poll_only=task.poll_only,
        allow_permutations=asked.allow_permutations or as_before,  # a person allowed these braces
        anyway=asked.anyway or as_before or task.model not in MODELS,  # likewise
    )


def repeat_chain(
    task: Task, chain: Sequence[Task], asked: AgainRequest, targets: Collection[str], key: str | None
) -> list[RepeatedTask]:
    """The same with all that goes on from it, in its `chain`: each goes on from the new one of its parent, and from the
    same picture, or from the one that a person picks if a person picked before. Each has a key that is made of `key`.

    Raises RequestRefused.
    """
    first = repeat_request(task, asked, targets)
    names = {task.ref: _unique_name(_name_of(task), ())}
    found = [RepeatedTask(replace(first, name=names[task.ref], idempotency_key=key), task.ref)]
    picked: dict[tuple[object, ...], int] = {}
    children = sorted((it for it in chain if it.parent is not None), key=lambda it: (it.depth, it.ref))
    for child in children:
        if child.parent not in names or child.model is None:
            continue
        params = _without_fed(child)
        by_person = child.parent_image is None or child.picked_by is not None
        twin = (child.parent, child.step, child.model, msgspec.json.encode(params), abs(child.turn))
        if by_person and picked.setdefault(twin, child.created_at) < child.created_at:
            continue  # it was made of an earlier one, for which several pictures were picked
        name = names[child.ref] = _unique_name(_name_of(child), names.values())
        new = NewTask(
            model=child.model,
            params=params,
            label=_label_of(child, task, asked.label),
            targets=tuple(it for it in child.targets or () if it in targets) or None,
            poll_only=child.poll_only,
            allow_permutations=True,  # a person allowed it before
            # likewise, unless other pictures come now
            anyway=asked.anyway or (asked.prompt is None and not asked.params),
            wait_for=WaitFor(name=names[child.parent], image_no=_image_of(child, by_person=by_person)),
            name=name,
            ping=child.ping,
            idempotency_key=None if key is None else f"{hashlib.sha256(key.encode()).hexdigest()}#{name}",
        )
        found.append(RepeatedTask(new, child.ref))
    return found


def _awaited_parent(task: Task, params: dict[str, Any]) -> WaitFor | None:
    """What the new task goes on from, if the old one never had its parameters from its own parent."""
    feed = _feed_of(task)
    if task.parent is None or feed is None or any(params.get(it) is not None for it in feed.names):
        return None
    return WaitFor(ref=task.parent, image_no=_image_of(task, by_person=task.parent_image is None))


def _image_of(task: Task, *, by_person: bool) -> int | str | None:
    """From which picture the new task goes on; None if from none by itself."""
    declared = MODELS.get(task.model or "")
    if declared is not None and not declared.takes_one_picture:
        return None
    return "pick" if by_person else task.parent_image


def _without_fed(task: Task) -> dict[str, Any]:
    feed = _feed_of(task)
    filled = feed.names if feed is not None else ()
    return {name: it for name, it in msgspec.json.decode(task.params).items() if name not in filled}


def _feed_of(task: Task) -> JobFeed | UrlFeed | None:
    declared = MODELS.get(task.model or "")
    return declared.feed if declared is not None else None


def _name_of(task: Task) -> str:
    """What the step is called: as before, else as its label says, else as what it does."""
    words = re.sub(r"[^A-Za-z0-9_.]+", "-", task.label or "").strip("-_.")
    return task.step or words[:STEP_MOST] or short_model_name(task.model or "")[:STEP_MOST]


def _label_of(child: Task, task: Task, new: str | None) -> str | None:
    """Its label; after `new`, the one of the first `task`, so that it is not that of the earlier child too."""
    if new is None:
        return child.label
    if child.label is None or child.label == task.label:
        return new if child.label == task.label else None
    own = child.label.removeprefix(f"{task.label} ").strip()
    return f"{new} {own}"[:LABEL_MOST].strip()


def _unique_name(name: str, taken: Collection[str]) -> str:
    """The step's name, with a number if another one has it."""
    numbered = (f"{name[: STEP_MOST - 3]}.{number}" for number in range(2, 100))
    return name if name not in taken else next(it for it in numbered if it not in taken)
