"""The calls about chains: to see one as a tree, with what it costs, and to withdraw what waits in it."""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from receiver.client.chain_schemas import ChainView
from receiver.client.chain_views import Estimates, chain_view, estimate_rest
from receiver.client.schemas import TaskView
from receiver.core.types import Task
from receiver.service.wiring import ServiceParts

TASKS_MOST = 200  # of a chain that are read


class CancelFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """What to withdraw: with `children`, what waits for the task, and not the task itself."""

    children: bool = False


async def show_chain(parts: ServiceParts, task: Task) -> ChainView:
    """The chain of a task; of one that belongs to none, the task alone."""
    tasks = await _read_chain(parts, task)
    return chain_view(task.root or task.ref, tasks, await estimate_models(parts, tasks))


async def with_estimates(parts: ServiceParts, views: Sequence[TaskView]) -> list[TaskView]:
    """New tasks, with what their chains may still cost."""
    roots = {view.chain.root for view in views if view.chain is not None}
    chains = {root: await parts.store.chains.tasks_of(root, TASKS_MOST) for root in roots}
    estimates = await estimate_models(parts, [task for tasks in chains.values() for task in tasks])
    rest = {root: estimate_rest(tasks, estimates) for root, tasks in chains.items()}
    return [
        view if view.chain is None else replace(view, chain=replace(view.chain, estimate=rest[view.chain.root]))
        for view in views
    ]


async def _read_chain(parts: ServiceParts, task: Task) -> list[Task]:
    return [task] if task.root is None else await parts.store.chains.tasks_of(task.root, TASKS_MOST)


async def estimate_models(parts: ServiceParts, tasks: Sequence[Task]) -> Estimates:
    """What a task of each of their models may cost."""
    models = sorted({task.model for task in tasks if task.model is not None})
    return {model: await parts.budget.estimate(parts.store.spend, model) for model in models}


async def usual_costs(parts: ServiceParts, tasks: Sequence[Task]) -> Estimates:
    """What a task of each of their models costs as a rule: for people to read."""
    models = sorted({task.model for task in tasks if task.model is not None})
    return {model: await parts.budget.usual_cost(parts.store.spend, model) for model in models}
