"""Views of chains, made from what the store has. Pure."""

from collections.abc import Mapping, Sequence

from receiver.client.chain_schemas import ChainStep, ChainView
from receiver.core.money import amount_text, to_nano
from receiver.core.types import Task, TaskState

Estimates = Mapping[str, int | None]
"""What a task of each model may cost, in nano-USD."""


def chain_view(root: str, tasks: Sequence[Task], estimates: Estimates) -> ChainView:
    """The chain that begins with `root` as a tree. A task whose parent was deleted begins a tree of its own."""
    refs = {task.ref for task in tasks}
    below: dict[str | None, list[Task]] = {}
    for task in sorted(tasks, key=lambda it: (it.turn, it.parent_image or 0, it.ref)):
        below.setdefault(task.parent if task.parent in refs else None, []).append(task)

    def make_step(task: Task) -> ChainStep:
        expected, cost = expected_cost(task, estimates), to_nano(task.usage.cost if task.usage else None)
        return ChainStep(
            ref=task.ref,
            step=task.step,
            label=task.label,
            model=task.model,
            state=task.state.value,
            held_by=task.held_by and task.held_by.value,
            unsure=task.unsure,
            confirmed=task.confirmed,
            progress=task.progress,
            image_no=task.parent_image,
            picked_by=task.picked_by,
            cost=None if cost is None else amount_text(cost),
            estimate=None if expected is None else amount_text(expected),
            children=[make_step(it) for it in below.get(task.ref, ())],
        )

    costs = [cost for task in tasks if (cost := to_nano(task.usage.cost if task.usage else None)) is not None]
    return ChainView(
        root=root,
        tasks=len(tasks),
        steps=[make_step(it) for it in below.get(None, ())],
        cost=amount_text(sum(costs)) if costs else None,
        estimate=estimate_rest(tasks, estimates),
        unknown=sum(is_to_come(it) and expected_cost(it, estimates) is None for it in tasks),
    )


def estimate_rest(tasks: Sequence[Task], estimates: Estimates) -> str | None:
    """What those of these tasks that have not ended may cost together, as far as that is known; None if it is not of
    any."""
    known = [cost for task in tasks if (cost := expected_cost(task, estimates)) is not None]
    return amount_text(sum(known)) if known else None


def expected_cost(task: Task, estimates: Estimates) -> int | None:
    """What a task that has not ended may cost, in nano-USD; None if that is not known, or if it has."""
    if not is_to_come(task):
        return None
    return task.reserved if task.reserved is not None else estimates.get(task.model or "")


def is_to_come(task: Task) -> bool:
    """Whether the end of a task, and so its cost, is still awaited."""
    return not task.state.is_final and task.state is not TaskState.LOST
