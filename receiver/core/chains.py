"""What becomes of the tasks that go on from another one: when that one ends, and when a person picks a picture. Pure.

A task with a parent is held until that parent has certainly completed; then it is filled with what it goes on from, and
becomes a queued task like any other. If the parent fails or is cancelled, so is the child. An end that nothing confirms
releases nobody: whoever forged it would spend money.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from receiver.core.types import HoldReason, Image, OutcomeSource, Task, TaskError, TaskState

DEPTH_MOST = 8  # steps in a chain, the first one included
CHILDREN_MOST = 16  # tasks that go on from one
CHAIN_MOST = 64  # tasks in a chain
_LABEL_MOST = 200  # characters
PARENT_FAILED = "parent_failed"  # the code of a task that its parent's end cancelled
NOT_PICKED = "nobody has picked a picture for two days"


class Missing(Struct, frozen=True):
    """What a task needs to go on from a picture, and the picture did not bring."""

    what: str


FillParams = Callable[[Task, Image], bytes | Missing]
"""The parameters of a task that goes on from this picture."""


class Followed(Struct, frozen=True):
    """A child once its parent has ended; `missing` says what it needs and did not come, if that is so."""

    task: Task
    missing: str | None = None


def follow(child: Task, parent: Task, images: Sequence[Image], fill: FillParams, now: int) -> Followed:
    """What becomes of `child`, which waits for `parent`, now that this has certainly ended with these `images`."""
    if parent.state is not TaskState.COMPLETED:
        return Followed(cancel_with_parent(child, parent, now))
    if child.parent_image is None:
        return Followed(replace(child, held_by=HoldReason.PICK))
    image = find_image(images, child.parent_image)
    if image is None and child.of_all:
        came = f"{len(images)} picture{'' if len(images) == 1 else 's'}"
        return Followed(_cancel(child, f"{parent.shown_name} came with {came} only", now))
    filled = Missing(f"picture {child.parent_image} did not come") if image is None else fill(child, image)
    if isinstance(filled, Missing):
        return Followed(replace(child, held_by=HoldReason.PICK, why=filled.what), filled.what)
    return Followed(release(child, filled, now))


def find_image(images: Iterable[Image], image_no: int) -> Image | None:
    """The picture of this number."""
    return next((it for it in images if it.image_no == image_no), None)


def release(child: Task, params: bytes, now: int) -> Task:
    """The child as a queued task like any other, with all its parameters."""
    return replace(child, held_by=None, due_at=now, params=params, why=None)


def pick(child: Task, image_no: int, params: bytes, by: str, now: int) -> Task:
    """The child once a person has picked the picture that it goes on from."""
    return replace(release(child, params, now), parent_image=image_no, picked_by=by)


def copy_subtree(top: Task, below: Sequence[Task], new_ref: Callable[[], str], mark: str, now: int) -> list[Task]:
    """`top`, which waits for a pick, and all that waits `below` it once more, for another picture, with refs and keys
    of their own and with `mark` at their labels. The copy of `top` is the first. A key says what is copied and below
    which copy: so it is not that of another copy, if what was copied is picked for once more."""
    refs = {task.ref: new_ref() for task in (top, *below)}
    keys = dict[str, bytes]()

    def copy(task: Task, parent: str | None) -> Task:
        label = f"{task.label[: _LABEL_MOST - len(mark) - 1]} {mark}" if task.label else None
        if task.row_key:
            above = keys.get(task.parent or "", (parent or "").encode())
            keys[task.ref] = hashlib.sha256(b"%s from %s %s" % (task.ref.encode(), above, mark.encode())).digest()
        return replace(
            task,
            ref=refs[task.ref],
            created_at=now,
            parent=parent,
            label=label,
            row_key=keys.get(task.ref),
            children=0,
            picks=0,
        )

    return [copy(top, top.parent), *(copy(it, refs[it.parent or ""]) for it in below)]


def order_subtree(top: str, tasks: Sequence[Task]) -> list[Task]:
    """Of the `tasks` of a chain, those below `top` that are held, each after the one that it waits for."""
    waiting: dict[str, list[Task]] = {}
    for task in tasks:
        if is_held(task) and task.parent is not None:
            waiting.setdefault(task.parent, []).append(task)
    found, places = list[Task](), [top]
    while places:
        children = waiting.pop(places.pop(0), [])
        found += children
        places += [it.ref for it in children]
    return found


def cancel_with_parent(child: Task, parent: Task, now: int) -> Task:
    """The child of a task that failed or was cancelled."""
    how = "was cancelled" if parent.state is TaskState.CANCELLED else "failed"
    if parent.settled_by is OutcomeSource.PARENT and parent.error is not None:
        return _cancel(child, parent.error.message, now)  # which says what began it
    said = f": {parent.error.message}" if parent.error is not None else ""
    return _cancel(child, f"{parent.shown_name}, which it goes on from, {how}{said}", now)


def was_withdrawn(task: Task) -> bool:
    """Whether a person cancelled the task before it was sent: of that nobody is notified."""
    unsent = task.state is TaskState.CANCELLED and task.submitted_at is None
    return unsent and task.settled_by is OutcomeSource.PERSON


def count_held(changes: Iterable[tuple[Task | None, Task]]) -> dict[str, tuple[int, int]]:
    """By parent, how many more children it holds after these changes (None: there was no task before), and for how many
    more of them a person has to pick."""
    counts: dict[str, tuple[int, int]] = {}
    for old, new in changes:
        if new.parent is None:
            continue
        held = int(is_held(new)) - int(old is not None and is_held(old))
        picks = int(needs_pick(new)) - int(old is not None and needs_pick(old))
        if held or picks:
            before = counts.get(new.parent, (0, 0))
            counts[new.parent] = (before[0] + held, before[1] + picks)
    return counts


def is_held(task: Task) -> bool:
    """Whether the task waits for its parent, or for a pick of the parent's pictures."""
    return task.state is TaskState.QUEUED and task.held_by in (HoldReason.PARENT, HoldReason.PICK)


def needs_pick(task: Task) -> bool:
    """Whether a person has to pick the picture that the task goes on from, now or once there are pictures."""
    return is_held(task) and (task.parent_image is None or task.held_by is HoldReason.PICK)


def is_over(task: Task) -> bool:
    """Whether the task has certainly ended, so that what goes on from it can be told."""
    return task.state.is_final and task.confirmed


def reports_completion(task: Task) -> bool:
    """Whether the completion of the task is reported: that of a step is not while others go on from it by themselves,
    unless a person picks one of its pictures."""
    if needs_picker(task):
        return True
    return task.children == 0 if task.ping is None else task.ping


def needs_picker(task: Task) -> bool:
    """Whether others wait until a person has picked one of the pictures with which the task has completed."""
    return task.state is TaskState.COMPLETED and task.confirmed and task.picks > 0


def tasks_that_led_to(task: Task, known: Mapping[str, Task]) -> list[Task]:
    """The tasks above a cancelled one whose ends led to its own, the nearest first, as far as they are `known`."""
    line = list[Task]()
    while task.settled_by is OutcomeSource.PARENT and len(line) < DEPTH_MOST:
        parent = known.get(task.parent or "")
        if parent is None or parent.state is TaskState.COMPLETED:  # it came with too few pictures
            break
        line.append(parent)
        task = parent
    return line


def _cancel(child: Task, why: str, now: int) -> Task:
    return replace(
        child,
        state=TaskState.CANCELLED,
        held_by=None,
        due_at=None,
        settled_at=now,
        settled_by=OutcomeSource.PARENT,
        error=TaskError(PARENT_FAILED, why),
    )
