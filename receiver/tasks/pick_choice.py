"""Which of the tasks that wait for pictures of one task a pick lets go on, and from which pictures. Pure.

A pick for the task that they wait for is one for those that want any picture. One that wanted a picture of its own goes
on from that: from another one only if it is named itself, or nothing else waits. What takes the whole job goes on once.
None goes on as an equal one does, or did after an earlier pick: the provider would be paid twice for the same.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Struct

from receiver.core.chains import find_image, is_held
from receiver.core.sanitize import one_line
from receiver.core.types import HoldReason, Image, Task, TaskState
from receiver.providers.declarations import JobFeed, UrlFeed
from receiver.providers.models import MODELS

_MARK = re.compile(r" #\d+\Z")  # at the label of one that was made for another picture
_NAMED_MOST = 4
_NAME_MOST = 60


class Waiting(Struct, frozen=True):
    """The task of which pictures are picked, all that goes on from it or only the one that was `named`, and its
    pictures. `by_job`: a person knows the picture's job."""

    parent: Task
    children: Sequence[Task]
    images: Sequence[Image]
    named: bool = False
    by_job: bool = False

    @property
    def ready(self) -> list[Task]:
        """Those for which a picture can be picked, by the pictures that they wanted. Whoever knows the job need not
        wait for the task's end."""
        doubtful = self.by_job and is_doubtful(self.parent)
        ready = [it for it in self.children if it.held_by is HoldReason.PICK or (doubtful and is_held(it))]
        return sorted(ready, key=_wanted)


class _Kind(NamedTuple):
    """What makes tasks equal, but for the picture."""

    model: str | None
    step: str | None
    label: str | None
    params: str


def is_doubtful(task: Task) -> bool:
    """Whether nobody can say for certain how the task ended."""
    return task.state is TaskState.LOST or (task.state.is_final and not task.confirmed)


def choose(waiting: Waiting, numbers: Sequence[int]) -> list[tuple[Task, list[int]]]:
    """What goes on from which of the pictures `numbers`."""
    ready = waiting.ready
    if waiting.named:
        return [(it, list(numbers[:1] if takes_job(it) else numbers)) for it in ready]
    gone, equal = _find_picked(waiting.children), dict[_Kind, list[Task]]()
    for child in ready:
        equal.setdefault(_kind(child), []).append(child)
    chosen = list[tuple[Task, list[int]]]()
    for kind, children in equal.items():
        taken = set(gone.get(kind, ()))
        if takes_job(children[0]):
            chosen += [] if taken else [(children[0], [numbers[0]])]
            continue
        own = [(it, number) for it in children if (number := _own_number(it, waiting, numbers)) is not None]
        for child, number in own:
            if number not in taken:
                taken.add(number)
                chosen.append((child, [number]))
        replaces = len(ready) == 1 and not own and not is_doubtful(waiting.parent)
        anywhere = [it for it in children if it.parent_image is None or replaces]
        left = [it for it in numbers if it not in taken]
        chosen += [(it, left[at :: len(anywhere)]) for at, it in enumerate(anywhere) if at < len(left)]
    return chosen


def takes_job(task: Task) -> bool:
    """Whether the task goes on from all of a job, and not from one of its pictures."""
    model = MODELS.get(task.model or "")
    return model is not None and not model.takes_one_picture


def lacks_job_only(child: Task, images: Sequence[Image]) -> bool:
    """Whether all that the task needs to go on from the picture that it wanted is the id of the job."""
    if not isinstance(_feed(child), JobFeed) or child.parent_image is None:
        return False
    image = find_image(images, child.parent_image)
    return takes_job(child) if image is None else image.job_id is None


def describe_remedy(parent: Task, stuck: Sequence[Task], images: Sequence[Image]) -> str:
    """What a person can do for these, which cannot go on from the pictures that they wanted."""
    stuck = sorted(stuck, key=_wanted)
    first, ref = stuck[0].parent_image or 0, stuck[0].ref
    others = f", and likewise for each of the others: {name_tasks(stuck[1:])}" if len(stuck) > 1 else ""
    if not all(lacks_job_only(it, images) for it in stuck):
        command = f"`receiver tasks pick {ref} N` with the number of a picture"
        return f"Run {command}, and with `--job-id ID` if you know the id of its job{others}."
    if len(stuck) > 1 and not parent.picks:  # else those that want any picture would go on with them
        command = f"`receiver tasks pick {parent.ref} {first} --job-id ID`"
        return f"If you know the id of its job, run {command}: each goes on from the picture that it wanted."
    return f"If you know the id of its job, run `receiver tasks pick {ref} {first} --job-id ID`{others}."


def name_tasks(tasks: Sequence[Task]) -> str:
    """Some tasks by their refs, with their labels and their pictures."""
    named = [f"{it.ref}{_describe(it)}" for it in tasks[:_NAMED_MOST]]
    more = f" and {len(tasks) - len(named)} more (`receiver tasks list --waits pick`)"
    return ", ".join(named) + (more if len(tasks) > len(named) else "")


def _wanted(task: Task) -> int:
    return -1 if task.parent_image is None else task.parent_image


def _describe(task: Task) -> str:
    label = f"“{one_line(task.label, _NAME_MOST)}”" if task.label else ""
    number = f"picture {task.parent_image}" if task.parent_image is not None else ""
    words = ", ".join(filter(None, (label, number)))
    return f" ({words})" if words else ""


def _own_number(child: Task, waiting: Waiting, numbers: Sequence[int]) -> int | None:
    """The picture that the task wanted, if it can go on from that now."""
    number = child.parent_image
    if number is None or number in numbers:
        return number
    if not waiting.by_job or is_doubtful(waiting.parent):  # whether there is such a picture, nobody else can say
        return None
    return number if lacks_job_only(child, waiting.images) else None


def _find_picked(children: Sequence[Task]) -> Mapping[_Kind, set[int]]:
    """From which pictures tasks of each kind went on after earlier picks."""
    found = dict[_Kind, set[int]]()
    for child in children:
        if child.picked_by is None or is_held(child) or child.parent_image is None:
            continue
        if child.state not in (TaskState.FAILED, TaskState.CANCELLED):
            kind = _kind(child)
            for label in {kind.label, _MARK.sub("", kind.label or "") or None}:
                found.setdefault(kind._replace(label=label), set()).add(child.parent_image)
    return found


def _kind(task: Task) -> _Kind:
    feed = _feed(task)
    params = dict(msgspec.json.decode(task.params))
    for name in feed.names if feed is not None else ():
        params.pop(name, None)
    return _Kind(task.model, task.step, task.label, msgspec.json.encode(params, order="sorted").decode())


def _feed(task: Task) -> JobFeed | UrlFeed | None:
    model = MODELS.get(task.model or "")
    return model.feed if model is not None else None
