"""The counts of hours: written with what they count, right after every change, and kept for a month."""

import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.fakes import DAY, HOUR, NOW, POLICY, SLACK, Clock, a_notice, a_task, owe, put, steady
from receiver.core.budgets import load_zone
from receiver.core.errors import StaleUpdate
from receiver.core.types import OutcomeSource, Retention, Task, TaskState
from receiver.pictures.files import ArchiveFiles
from receiver.store import NewSend, Store
from receiver.store.migrations.steps import load_migrations
from receiver.store.tables.hours import HOURS_KEPT_MS, HourCount, HourKind
from receiver.upkeep.day_counts import day_start, last_days, sum_by_day
from receiver.upkeep.retention import RetentionPruner

pytestmark = pytest.mark.anyio

THIS_HOUR = NOW - NOW % HOUR


def settled(task: Task, by: OutcomeSource, at: int = NOW) -> Task:
    return replace(task, state=TaskState.COMPLETED, settled_at=at, settled_by=by, poll_at=None, place_until=None)


async def change(store: Store, *changes: tuple[Task, Task]) -> None:
    async with store.write() as tx:
        await tx.tasks.update(changes)


async def counted(store: Store, kind: HourKind = HourKind.SETTLED, since: int = 0) -> dict[tuple[int, str], int]:
    return {(it.at, it.name): it.count for it in await store.hours.counts_since(kind, since) if it.count}


async def test_each_settled_task_counts_in_its_hour_by_what_settled_it(store: Store) -> None:
    tasks = [a_task(task_id=f"t-{number}") for number in range(5)]
    await put(store, *tasks)
    assert await counted(store) == {}

    await change(store, *((it, settled(it, OutcomeSource.CALLBACK)) for it in tasks[:3]))
    await change(store, (tasks[3], settled(tasks[3], OutcomeSource.POLL, NOW + HOUR)))
    await change(store, (tasks[4], settled(tasks[4], OutcomeSource.CALLBACK, NOW + HOUR)))

    assert await counted(store) == {
        (THIS_HOUR, "callback"): 3,
        (THIS_HOUR + HOUR, "callback"): 1,
        (THIS_HOUR + HOUR, "poll"): 1,
    }
    assert set(await counted(store, since=NOW + HOUR)) == {(THIS_HOUR + HOUR, "callback"), (THIS_HOUR + HOUR, "poll")}


async def test_a_task_that_is_stored_with_its_end_counts_too(store: Store) -> None:
    await put(store, settled(a_task(), OutcomeSource.CALLBACK))
    assert await counted(store) == {(THIS_HOUR, "callback"): 1}


async def test_a_task_that_is_open_again_counts_no_longer(store: Store) -> None:
    task = settled(a_task(), OutcomeSource.ANSWER)
    await put(store, task)
    opened = replace(task, state=TaskState.WAITING, settled_at=None, settled_by=None)
    await change(store, (task, opened))
    assert await counted(store) == {}
    await change(store, (opened, settled(opened, OutcomeSource.CALLBACK, NOW + HOUR)))
    assert await counted(store) == {(THIS_HOUR + HOUR, "callback"): 1}


async def test_what_ended_without_an_outcome_counts_nowhere(store: Store) -> None:
    await put(store, a_task(TaskState.LOST), a_task(TaskState.CANCELLED, task_id="b"))
    assert await counted(store) == {}


async def test_a_change_that_was_not_committed_counts_nothing(store: Store) -> None:
    task = a_task()
    await put(store, task)
    await change(store, (task, settled(task, OutcomeSource.CALLBACK)))
    with pytest.raises(StaleUpdate):
        await change(store, (task, settled(task, OutcomeSource.POLL)))
    assert await counted(store) == {(THIS_HOUR, "callback"): 1}


async def test_after_any_changes_the_counts_are_those_of_the_tasks(store: Store) -> None:
    """What is counted step by step is what a look at all tasks would count, and what the migration counts."""
    chance = random.Random(14)  # noqa: S311 - repeatable
    tasks = {it.ref: it for it in (a_task(task_id=f"t-{number}") for number in range(30))}
    await put(store, *tasks.values())
    for _ in range(40):
        changes = []
        for ref in chance.sample(sorted(tasks), 5):
            old = tasks[ref]
            by, at = chance.choice(list(OutcomeSource)), NOW + chance.randrange(6 * HOUR)
            reopened = replace(old, state=TaskState.WAITING, settled_at=None, settled_by=None)
            tasks[ref] = chance.choice([settled(old, by, at), reopened])
            changes.append((old, tasks[ref]))
        await change(store, *changes)
    expected = expected_counts(tasks.values())
    assert await counted(store) == expected

    script = next(step.sql for step in load_migrations("sqlite") if step.number == 18)
    fills = [it for it in script.split(";") if "INSERT INTO hours" in it]
    assert len(fills) == len(HourKind)
    async with store.write() as tx:
        for statement in ("DELETE FROM hours", *fills):
            await tx.hours._db.run_statement(statement)
    assert await counted(store) == expected


def expected_counts(tasks: Iterable[Task]) -> dict[tuple[int, str], int]:
    return Counter(
        (it.settled_at - it.settled_at % HOUR, it.settled_by.value)
        for it in tasks
        if it.settled_at is not None and it.settled_by is not None
    )


async def test_notices_count_once_they_are_sent(store: Store) -> None:
    await owe(store, *(a_notice() for _ in range(3)))
    async with store.write() as tx:
        [send] = await tx.sends.open_sends([NewSend(SLACK.name, NOW, digest=True)], "me", NOW, NOW + HOUR)
    assert await counted(store, HourKind.SENT) == {}
    async with store.write() as tx:
        await tx.sends.record_sent(send, NOW + HOUR)
    expected = {(THIS_HOUR + HOUR, "slack"): 3}
    assert await counted(store, HourKind.SENT) == expected
    assert await counted(store) == {}

    script = next(step.sql for step in load_migrations("sqlite") if step.number == 18)
    async with store.write() as tx:
        for statement in ("DELETE FROM hours", *(it for it in script.split(";") if "INSERT INTO hours" in it)):
            await tx.hours._db.run_statement(statement)
    assert await counted(store, HourKind.SENT) == expected


async def test_counts_outlive_their_tasks_but_not_the_month(store: Store, tmp_path: Path) -> None:
    old = [settled(a_task(task_id=f"t-{n}"), OutcomeSource.CALLBACK, NOW - 40 * DAY + n * HOUR) for n in range(30)]
    await put(store, *old, settled(a_task(task_id="new"), OutcomeSource.CALLBACK))
    clock = Clock()
    files = ArchiveFiles(tmp_path / "images")
    pruner = RetentionPruner(store, files, POLICY, clock, keep=Retention(), watch=steady(clock), alone=True)

    await pruner.run_full_pass()
    left = await counted(store)
    assert len(left) == 7, "a pass deletes the counts of a day at most"
    await pruner.run_full_pass()
    assert await counted(store) == {(THIS_HOUR, "callback"): 1}

    clock.forward(HOURS_KEPT_MS - HOUR)
    await pruner.run_full_pass()
    assert await counted(store) == {(THIS_HOUR, "callback"): 1}
    clock.forward(2 * HOUR)
    await pruner.run_full_pass()
    assert await counted(store) == {}


def test_hours_are_summed_by_the_day_of_a_zone() -> None:
    berlin = load_zone("Europe/Berlin")
    midnight = day_start("2026-11-30", berlin)
    counts = [
        HourCount(midnight - HOUR, "callback", 1),
        HourCount(midnight, "callback", 2),
        HourCount(midnight, "poll", 3),
        HourCount(midnight + 23 * HOUR, "callback", 4),
        HourCount(midnight + 24 * HOUR, "callback", 5),
    ]
    assert sum_by_day(counts, berlin) == {
        "2026-11-29": {"callback": 1},
        "2026-11-30": {"callback": 6, "poll": 3},
        "2026-12-01": {"callback": 5},
    }
    assert sum_by_day(counts[:2], load_zone("UTC")) == {"2026-11-29": {"callback": 3}}


def test_a_day_of_the_change_of_clocks_has_its_own_length() -> None:
    berlin = load_zone("Europe/Berlin")
    assert day_start("2026-10-26", berlin) - day_start("2026-10-25", berlin) == 25 * HOUR
    assert last_days("2026-03-01", 3) == ["2026-02-27", "2026-02-28", "2026-03-01"]
