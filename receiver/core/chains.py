"""What becomes of the tasks that go on from another one: when that one ends, and when a person picks a picture. Pure.

A task with a parent is held until that parent has certainly completed; then it is filled with what it goes on from, and
becomes a queued task like any other. If the parent fails or is cancelled, so is the child. An end that nothing confirms
releases nobody: whoever forged it would spend money.
"""

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from receiver.core.types import HoldReason, Image, OutcomeSource, Task, TaskError, TaskState

DEPTH_MOST = 8  # steps in a chain, the first one included
CHILDREN_MOST = 16  # tasks that go on from one
CHAIN_MOST = 64  # tasks in a chain
PARENT_FAILED = "parent_failed"  # the code of a task that its parent's end cancelled

FillParams = Callable[[Task, Image], bytes | None]
"""The parameters of a task that goes on from this picture; None if it has not what the task's model needs."""


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
    image = next((it for it in images if it.image_no == child.parent_image), None)
    if image is None and child.of_all:
        return Followed(_cancel(child, f"{parent.shown_name} came with {len(images)} pictures only", now))
    params = None if image is None else fill(child, image)
    if params is not None:
        return Followed(release(child, params, now))
    missing = f"picture {child.parent_image}" if image is None else f"the jobId of picture {child.parent_image}"
    return Followed(replace(child, held_by=HoldReason.PICK), missing)


def release(child: Task, params: bytes, now: int) -> Task:
    """The child as a queued task like any other, with all its parameters."""
    return replace(child, held_by=None, due_at=now, params=params)


def pick(child: Task, image_no: int, params: bytes, by: str, now: int) -> Task:
    """The child once a person has picked the picture that it goes on from."""
    return replace(release(child, params, now), parent_image=image_no, picked_by=by)


def cancel_with_parent(child: Task, parent: Task, now: int) -> Task:
    """The child of a task that failed or was cancelled."""
    how = "was cancelled" if parent.state is TaskState.CANCELLED else "failed"
    said = f": {parent.error.message}" if parent.error is not None else ""
    return _cancel(child, f"{parent.shown_name}, which it goes on from, {how}{said}", now)


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
