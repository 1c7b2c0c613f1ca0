"""The books of what was spent: their sums, and what the migration makes of older tasks."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from kit.fakes import MODEL, a_task, put
from receiver.core.budgets import PeriodKind
from receiver.core.spend import SpendCounts
from receiver.core.types import OutcomeSource, TaskState, Usage
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


@pytest.mark.sqlite_only
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


@pytest.mark.sqlite_only
async def test_a_database_from_before_presumes_what_failed_and_knows_what_each_model_cost(store: Store) -> None:
    paid, odd = Usage(Decimal("0.05")), Usage(Decimal(-1))
    await put(
        store,
        *(
            replace(a_task(state, task_id=f"{state}-{lane}-{usage}", usage=usage), reserved=7, lane=lane, spend_day=day)
            for state in TaskState
            for usage in (None, paid, odd)
            for lane, day in ((2, TODAY), (4, "2025-12-28"))
        ),
        a_task(TaskState.FAILED, settled_by=OutcomeSource.ANSWER, reserved=7, spend_day=TODAY),
        a_task(TaskState.FAILED, reserved=None, spend_day=TODAY, task_id="unpriced"),
        a_task(TaskState.CANCELLED, submitted_at=None, settled_at=1, reserved=7),
    )
    books = await store.spend.sum_by("day", "0", "9", 9)
    committed = await store.spend.committed_by(["2025-12-29", "2025-12-28", "lane 4"])
    model = await store.spend.model_costs(MODEL)
    script = next(step.sql for step in load_migrations("sqlite") if step.number == 14)
    fill = script[script.index("INSERT INTO spend_models") :]
    async with store.write() as tx:
        before = (
            "DELETE FROM spend_models",
            "CREATE TEMP TABLE failures AS SELECT lane, spend_day FROM tasks"
            " WHERE state IN ('failed', 'cancelled') AND reserved = 7 AND submitted_at > 0"
            " AND NOT (settled_by IS 'answer' AND task_id IS NULL) AND (usage IS NULL OR usage LIKE '%-1%')",
            "UPDATE spend SET presumed = presumed - 7 * (SELECT count(*) FROM failures WHERE spend_day = spend.day)",
            "UPDATE spend_totals SET spent = spent"
            " - 7 * (SELECT count(*) FROM failures WHERE scope IN (spend_day, 'lane ' || lane))",
        )
        for statement in (*before, *filter(str.strip, fill.split(";"))):
            await tx.spend._db.run_statement(statement)
    assert await store.spend.sum_by("day", "0", "9", 9) == books
    assert await store.spend.committed_by(["2025-12-29", "2025-12-28", "lane 4"]) == committed
    assert await store.spend.model_costs(MODEL) == model
