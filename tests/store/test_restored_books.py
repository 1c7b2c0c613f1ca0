"""What the database that a backup replaces has spent since counts in the restored one, and is not counted twice."""

from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.fakes import MODEL, NOW, a_task, put
from kit.state_folder import Place
from receiver.core.budgets import Committed, ModelCosts, PeriodKind
from receiver.core.money import NANO
from receiver.core.spend import SpendCounts
from receiver.core.types import LanePriority, QueueLane, Task, TaskState, Usage
from receiver.store import Store, open_store

pytestmark = pytest.mark.anyio

CENT = NANO // 100
TODAY = "2025-12-29"
PAID = Usage(Decimal("0.05"))


def taken(**more: object) -> Task:
    """A task in hand."""
    return a_task(TaskState.WAITING, reserved=5 * CENT, spend_day=TODAY, **more)


async def a_batch(store: Store, name: str) -> int:
    lane = QueueLane(id=0, name=name, batch=True, priority=LanePriority.LOW, created_at=NOW)
    async with store.write() as tx:
        await tx.lanes.insert(lane)
    return (await store.lanes.by_name([name]))[name].id


async def settle(store: Store, *tasks: Task) -> None:
    async with store.write() as tx:
        await tx.tasks.update([(it, replace(it, state=TaskState.COMPLETED, usage=PAID)) for it in tasks])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_what_was_spent_since_counts_and_what_was_in_hand_then_counts_once(place: Place) -> None:
    await place.filled(0)
    store = await open_store(place.database)
    rows = await a_batch(store, "rows")
    then = [taken(task_id="then", label="hero"), taken(task_id="row", lane=rows)]
    await put(store, *then)
    await store.close()
    place.back_up()
    store = await open_store(place.database)
    later = await a_batch(store, "later")
    await settle(store, *then)
    since = [
        taken(task_id="since", label="hero"),
        taken(task_id="since row", lane=rows),
        taken(task_id="later", lane=later, label="hero"),
        replace(taken(task_id="yesterday"), spend_day="2025-12-28"),
    ]
    await put(store, *since)
    await settle(store, *since[:3])
    await store.close()
    assert place.restore().spent_since == "0.2"
    store = await open_store(place.database)
    assert await store.spend.committed(PeriodKind.DAY, TODAY) == Committed(15 * CENT, 10 * CENT)
    assert await store.spend.committed(PeriodKind.MONTH, "2025-12") == Committed(20 * CENT, 10 * CENT)
    assert await store.spend.committed_by([f"lane {rows}", f"lane {later}"]) == {
        f"lane {rows}": Committed(5 * CENT, 5 * CENT)
    }
    assert await store.spend.model_costs(MODEL) == ModelCosts(completed=5, ended=5, cost=25 * CENT)
    await settle(store, *then)
    assert await store.spend.committed(PeriodKind.DAY, TODAY) == Committed(25 * CENT, 0)
    counts = SpendCounts(completed=2, lost=4, unknown=4, cost=10 * CENT, presumed=20 * CENT)
    assert await store.spend.sum_all("0", "9") == counts
    await store.close()
    assert place.restore().spent_since == "0.2", "again: what was carried is not lost, and not counted twice"


async def test_with_nothing_to_read_it_is_not_known_what_was_spent(place: Place) -> None:
    await place.filled(1)
    place.back_up()
    assert place.restore().spent_since == "0"
    place.database.write_bytes(b"junk" * 4096)
    assert place.restore().spent_since is None
    place.database.unlink()
    assert place.restore().spent_since is None
