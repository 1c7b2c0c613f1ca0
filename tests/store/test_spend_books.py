"""The books of what was spent: their sums, and what the migration makes of older tasks."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from kit.fakes import MODEL, a_task, put
from receiver.core.budgets import PeriodKind
from receiver.core.spend import SpendCounts
from receiver.core.types import TaskState, Usage
from receiver.store import Store
from receiver.store.migrations.steps import load_migrations

pytestmark = pytest.mark.anyio

TODAY = "2025-12-29"


async def test_the_books_by_each_dimension(store: Store) -> None:
    paid = a_task(TaskState.COMPLETED, usage=Usage(Decimal("0.05")), task_id="a", label="hero", spend_day="2025-11-30")
    other = replace(a_task(TaskState.FAILED, task_id="b"), model="other", lane=3)
    await put(store, paid, other)

    async def names(dimension: str) -> list[str | None]:
        return [line.name for line in await store.spend.sum_by(dimension, "0", "9", 10)]

    assert await names("day") == [TODAY, "2025-11-30"]
    assert await names("month") == ["2025-12", "2025-11"]
    assert await names("model") == [MODEL, "other"]
    assert await names("label") == ["hero", ""]
    assert await names("batch") == [None]
    assert (await store.spend.sum_by("model", TODAY, "9", 10))[0].counts == SpendCounts(failed=1, unknown=1)


async def test_a_database_from_before_has_books_of_what_its_tasks_cost(store: Store) -> None:
    """What the migration makes of old tasks is what `contribution` says of them."""
    usages = [None, "0.05", "-1", "1e30", "0.123456789"]
    many = [
        a_task(state, task_id=f"{state}-{usage}", usage=None if usage is None else Usage(Decimal(usage)))
        for state in TaskState
        for usage in usages
    ]
    await put(store, *many)
    books = await store.spend.sum_all("0", "9")
    totals = await store.spend.committed(PeriodKind.DAY, TODAY)
    script = next(step.sql for step in load_migrations("sqlite") if step.number == 9)
    fill = script[script.index("INSERT INTO spend\n") :]
    async with store.write() as tx:
        emptied = ("DELETE FROM spend", "DELETE FROM spend_totals")
        for statement in (*emptied, *filter(str.strip, fill.split(";"))):
            await tx.spend._db.run_statement(statement)
    assert await store.spend.sum_all("0", "9") == books
    assert await store.spend.committed(PeriodKind.DAY, TODAY) == totals
