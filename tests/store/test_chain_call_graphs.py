"""Calls of any shape: names that cross, circles, faults and pictures of all kinds."""

import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kit.chain_requests import a_lane, an_intake
from kit.new_database import place_database
from receiver.client.schemas import NewTask, WaitFor
from receiver.core.chains import CHAIN_MOST, CHILDREN_MOST, DEPTH_MOST, is_held, needs_pick
from receiver.core.errors import RequestRefused
from receiver.core.types import Task
from receiver.store import Store, open_store
from receiver.tasks.chain_groups import group_items
from receiver.tasks.judge_requests import CreatedTask, CreationResult

NAMES = [None, "a", "b", "c", "d", "e"]
IMAGES = st.sampled_from([0, 0, 0, 3, 4, (0, 1), (2, 2), "all", "pick", None, "some"])
ITEMS = st.tuples(
    st.sampled_from(NAMES), st.sampled_from([*NAMES, "nobody"]), IMAGES, st.sampled_from([1.5, 1.5, 1.5, 9])
)


def item(place: int, drawn: tuple[str | None, str | None, Any, float], *, row: bool) -> NewTask:
    """A request of the call; those that wait for nobody make four pictures."""
    name, awaited, image_no, scale = drawn
    more = {"line": 2 + place, "row_key": f"key {place}"} if row else {"idempotency_key": f"key {place}"}
    if awaited is None:
        return NewTask("midjourney_diffusion", {"text": f"picture {place}"}, name=name, **more)
    wait = WaitFor(name=awaited, image_no=image_no)
    return NewTask("midjourney_outpaint", {"scale": scale}, name=name, wait_for=wait, **more)


@settings(max_examples=150, deadline=None)
@given(st.lists(ITEMS, min_size=1, max_size=9), st.booleans())
def test_each_chain_is_there_whole_or_not_at_all_and_only_once(drawn: list[Any], in_batch: bool) -> None:
    asked = [item(place, it, row=in_batch) for place, it in enumerate(drawn)]
    asyncio.run(_check(asked, "rows" if in_batch else None))


async def _check(asked: list[NewTask], batch: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = await open_store(await place_database(Path(folder, "r.db")))
        try:
            if batch is not None:
                await a_lane(store, batch)
            intake = an_intake(store)
            dry = await intake.create_many(asked, batch=batch, dry_run=True)
            assert await _stored(store) == {}
            made = await intake.create_many(asked, batch=batch)
            assert [_fault(it) for it in dry] == [_fault(it) for it in made]
            _check_groups(asked, made)
            await _check_stored(store, made)
            before = await _stored(store)
            again = await intake.create_many(asked, batch=batch)
            assert await _stored(store) == before
            assert [_refs(it) for it in again] == [_refs(it) for it in made]
            assert all(it.replayed for it in again if isinstance(it, CreatedTask))
        finally:
            await store.close()


def _check_groups(asked: list[NewTask], made: list[CreationResult]) -> None:
    for group in group_items(asked):
        refused = [it for place in group if isinstance(it := made[place], RequestRefused)]
        assert len(refused) in (0, len(group))
        assert not refused or any(it.code != "chain_refused" for it in refused), "one of them is at fault"


async def _check_stored(store: Store, made: list[CreationResult]) -> None:
    tasks = await _stored(store)
    assert {ref for it in made for ref in _refs(it)} == set(tasks)
    assert [task for it in made if isinstance(it, CreatedTask) for task in it.tasks] == [
        tasks[ref] for it in made for ref in _refs(it)
    ]
    held = Counter(task.parent for task in tasks.values() if is_held(task))
    picks = Counter(task.parent for task in tasks.values() if needs_pick(task))
    for task in tasks.values():
        assert (task.children, task.picks) == (held[task.ref], picks[task.ref])
        assert task.children <= CHILDREN_MOST
        assert (task.parent is None) is (task.due_at is not None)
        if task.parent is None:
            assert (task.depth, task.root) == (0, task.ref if task.children else None)
        else:
            parent = tasks[task.parent]
            assert (task.depth, task.root) == (parent.depth + 1, parent.root)
            assert task.depth < DEPTH_MOST
    sizes = Counter(task.root for task in tasks.values() if task.root is not None)
    assert max(sizes.values(), default=0) <= CHAIN_MOST


async def _stored(store: Store) -> dict[str, Task]:
    return {task.ref: task for task in await store.tasks.page(limit=1_000)}


def _refs(result: CreationResult) -> list[str]:
    return [] if isinstance(result, RequestRefused) else [task.ref for task in result.tasks]


def _fault(result: CreationResult) -> tuple[str, str] | None:
    return (result.code, str(result)) if isinstance(result, RequestRefused) else None
