"""Tasks of a chain that come back: resubmitted after a restore, or made once more because they failed.

One that never got what it goes on from waits for that again; it is never sent without.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from receiver.core.chains import DEPTH_MOST, PARENT_FAILED, is_over, needs_pick
from receiver.core.decide import pick_notices
from receiver.core.errors import RequestRefused
from receiver.core.types import HoldReason, Policy, Task, TaskState
from receiver.providers.models import is_filled
from receiver.store import Tx
from receiver.tasks.batch_ends import is_row
from receiver.tasks.new_tasks import repeat_task
from receiver.tasks.pick_purposes import purpose_of

_ENDED_BADLY = (TaskState.FAILED, TaskState.CANCELLED)


async def hold_again(tx: Tx, task: Task) -> Task:
    """A task that is to be submitted once more, held if it was never filled. Raises RequestRefused if it cannot be."""
    if not _waits(task):
        return task
    parent = (await tx.tasks.get([task.parent or ""])).get(task.parent or "")
    remedy = "submit a task of its own, with the jobId of the picture that it goes on from"
    if parent is None:
        raise RequestRefused(409, "parent_gone", "the task that it goes on from has been deleted", remedy=remedy)
    if is_over(parent) and parent.state in _ENDED_BADLY:
        problem = f"{parent.shown_name}, which it goes on from, did not complete"
        raise RequestRefused(409, PARENT_FAILED, problem, remedy=remedy)
    return await _hang(tx, task, task, parent)


async def repeat_rows(tx: Tx, rows: Sequence[Task], now: int) -> list[tuple[Task, Task]]:
    """Pairs of a row's task and the new one that repeats it; not of those that wait for a task that is not repeated.

    Those that wait for another row's task wait for its repetition, which is made with it.
    """
    old = {task.ref: task for task in rows}
    parents = await _find_parents(tx, old)
    pairs = list[tuple[Task, Task]]()
    for task in sorted(old.values(), key=lambda it: it.depth):  # a parent before its children
        new = repeat_task(task, now)
        if _waits(task):
            parent = parents.get(task.parent or "")
            if parent is None or (parent.confirmed and parent.state in _ENDED_BADLY):
                continue
            new = await _hang(tx, task, new, parent)
        elif task.root is not None:
            new = replace(new, root=new.ref)  # what waits for it is its chain now
        parents[task.ref] = new
        pairs.append((task, new))
    return pairs


async def ask_again(tx: Tx, new: Sequence[Task], policy: Policy, now: int) -> None:
    """Ask a person to pick pictures for `new` tasks, which are not stored yet, of earlier ones that completed: what
    waited for these before was cancelled, so the notice that asked for it is done with."""
    waiting: dict[str, list[Task]] = {}
    for task in new:
        if needs_pick(task) and task.parent is not None:
            waiting.setdefault(task.parent, []).append(task)
    parents = await tx.tasks.get(sorted(waiting)) if waiting else {}
    asking = {ref: task for ref, task in parents.items() if not task.picks}
    images = await tx.tasks.images_by_ref(sorted(asking)) if asking else {}
    for ref, parent in asking.items():
        purposes = tuple(dict.fromkeys(map(purpose_of, waiting[ref])))
        asked = pick_notices(replace(parent, picks=len(waiting[ref])), images.get(ref, ()), policy, now)
        await tx.notices.insert([replace(it, report=replace(it.report, picks_for=purposes)) for it in asked])


async def _find_parents(tx: Tx, old: dict[str, Task]) -> dict[str, Task]:
    """What these tasks wait for, or what repeats that; rows that are to be repeated with them are added to them."""
    parents: dict[str, Task] = {}
    for _ in range(DEPTH_MOST):
        above = {it.parent: it for it in old.values() if _waits(it) and it.parent not in old}
        unknown = sorted(ref for ref in above if ref is not None and ref not in parents)
        if not unknown:
            break
        found, repeated = await tx.tasks.get(unknown), await tx.chains.repeated_by(unknown)
        for ref, parent in found.items():
            if ref in repeated or not _is_failed_row(parent, above[ref].lane):
                parents[ref] = repeated.get(ref, parent)
            else:
                old[ref] = parent
    return parents


def _is_failed_row(task: Task, lane: int) -> bool:
    return task.lane == lane and is_row(task) and task.confirmed and task.state in _ENDED_BADLY


def _waits(task: Task) -> bool:
    return task.parent is not None and not is_filled(task.model or "", task.params)


async def _hang(tx: Tx, task: Task, new: Task, parent: Task) -> Task:
    """`new`, which waits for `parent` as `task` did for its own."""
    if is_over(parent):
        await tx.chains.add_followups([parent.ref])
    return replace(
        new,
        root=parent.root or parent.ref,
        parent=parent.ref,
        parent_image=task.parent_image,
        depth=parent.depth + 1,
        of_all=task.of_all,
        traits=task.traits,
        held_by=HoldReason.PARENT,
        due_at=None,
    )
