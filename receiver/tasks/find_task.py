"""A task by its ref, for what a person asks about it."""

from receiver.core.errors import RequestRefused
from receiver.core.types import Task
from receiver.store import Store, Tx


async def require_task(tables: Tx | Store, ref: str) -> Task:
    """The task of this ref. Raises RequestRefused if there is none."""
    found = await tables.tasks.get([ref])
    if ref not in found:
        raise unknown_task(ref)
    return found[ref]


async def require_with_parent(tx: Tx, ref: str) -> tuple[Task, Task | None]:
    """The task of this ref, and the one that it goes on from, if it does. Whoever lets the children of a task go holds
    that first, and so does who changes a child that counts there. Raises RequestRefused if there is no such task."""
    found = await tx.chains.with_parent(ref)
    if ref not in found:
        raise unknown_task(ref)
    return found[ref], found.get(found[ref].parent or "")


def unknown_task(ref: str) -> RequestRefused:
    """There is no task of this ref."""
    return RequestRefused(404, "not_found", f"there is no task {ref[:80]}")
