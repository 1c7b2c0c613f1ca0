"""Finds the tasks that a query asks for: by columns, by a handle, or by a pattern of labels. All of it is bounded."""

from msgspec import Struct

from receiver.core.handles import LOOKED_MOST, is_pattern, keep_first_steps, matches_pattern, ref_part, step_part
from receiver.core.types import HoldReason, Task
from receiver.store import Store
from receiver.tasks.batch_names import require_batch
from receiver.web.api.requests import TaskFilter

_HANDLE_MOST = 200  # refs that a handle may fit
_TURN = 200  # tasks that are read at once


class FoundTasks(Struct, frozen=True):
    """Tasks, newest first, and the cursor at which a search goes on that had looked at enough."""

    tasks: list[Task]
    next: str | None = None


async def find_tasks(store: Store, query: TaskFilter, limit: int) -> FoundTasks:
    """Up to `limit` tasks that the query asks for, newest first. Raises RequestRefused if it names an unknown batch."""
    lane = None if query.batch is None else await _find_lane(store, query.batch)
    if query.handle is not None:
        return FoundTasks(await _find_by_handle(store, query, query.handle, lane, limit))
    if query.label is not None and is_pattern(query.label):
        newest = await store.tasks.newest_labels(query.cursor, LOOKED_MOST)
        refs = [ref for ref, label in newest if matches_pattern(query.label, label)]
        go_on = newest[-1][0] if len(newest) == LOOKED_MOST else None
        return FoundTasks(await _read_fitting(store, query, lane, refs, limit), go_on)
    if query.waits is not None:
        picks = await store.chains.open_picks(_TURN, query.cursor)
        go_on = picks[-1].ref if len(picks) == _TURN else None
        fitting = [it for it in picks if _fits(it, query, lane)]
        return FoundTasks(fitting[:limit], None if len(fitting) > limit else go_on)
    page = store.tasks.page(
        state=query.state, label=query.label, model=query.model, lane=lane, before=query.cursor, limit=limit
    )
    return FoundTasks(await page)


async def _find_by_handle(store: Store, query: TaskFilter, handle: str, lane: int | None, limit: int) -> list[Task]:
    part, step = ref_part(handle), step_part(handle)
    refs = await store.tasks.find_refs(handle, part, step, limit=_HANDLE_MOST, looked=LOOKED_MOST)
    if query.chains is None:
        older = [it for it in refs if _is_older(it, query.cursor)]
        return await _read_fitting(store, query, lane, older, limit)
    every = await _read_fitting(store, query, lane, refs, _HANDLE_MOST)
    return [it for it in keep_first_steps(every, handle) if _is_older(it.ref, query.cursor)][:limit]


async def _find_lane(store: Store, batch: str) -> int:
    return (await require_batch(store, batch)).id


async def _read_fitting(store: Store, query: TaskFilter, lane: int | None, refs: list[str], limit: int) -> list[Task]:
    """The first of `refs` whose tasks fit the rest of the query."""
    fitting: list[Task] = []
    for at in range(0, len(refs), _TURN):
        turn = refs[at : at + _TURN]
        found = await store.tasks.get(turn)
        fitting += [found[ref] for ref in turn if ref in found and _fits(found[ref], query, lane)]
        if len(fitting) >= limit:
            break
    return fitting[:limit]


def _fits(task: Task, query: TaskFilter, lane: int | None) -> bool:
    label = query.label is None or matches_pattern(query.label, task.label)
    same = query.state in (None, task.state) and query.model in (None, task.model) and lane in (None, task.lane)
    return label and same and (query.waits is None or task.held_by is HoldReason.PICK)


def _is_older(ref: str, cursor: str | None) -> bool:
    return cursor is None or ref < cursor
