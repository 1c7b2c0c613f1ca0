"""What a notice that a person has to pick a picture says of those that wait for it: what they are called."""

from collections.abc import Sequence

from msgspec.structs import replace

from receiver.core.chains import CHILDREN_MOST, needs_pick
from receiver.core.types import Notice, Task
from receiver.providers.models import command_name
from receiver.store import Tx


async def name_waiting(tx: Tx, notices: Sequence[Notice]) -> list[Notice]:
    """The notices; those that ask for a pick say for which steps. What waits must not have been followed yet."""
    asking = sorted({it.report.ref for it in notices if it.report.picks and it.report.ref is not None})
    if not asking:
        return list(notices)
    names: dict[str, dict[str, None]] = {}  # in order, each once
    for task in sorted(await tx.chains.held_children(asking, CHILDREN_MOST * len(asking)), key=lambda it: it.ref):
        if needs_pick(task) and task.parent is not None:
            names.setdefault(task.parent, {})[purpose_of(task)] = None
    return [
        replace(it, report=replace(it.report, picks_for=tuple(names[it.report.ref])))
        if it.report.picks and it.report.ref in names
        else it
        for it in notices
    ]


def purpose_of(task: Task) -> str:
    """What a task that waits for a pick is called."""
    return task.step or command_name(task.model or "") or "a task"
