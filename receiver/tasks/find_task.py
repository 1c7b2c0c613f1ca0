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


def unknown_task(ref: str) -> RequestRefused:
    """There is no task of this ref."""
    return RequestRefused(404, "not_found", f"there is no task {ref[:80]}")
