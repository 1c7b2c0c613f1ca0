"""Two processes are asked for the same at once: it is made once, and the other one gives what was made."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from kit.chain_requests import a_lane, an_intake, created, make, task_of, wide
from kit.chains import ChainBench, check_counts
from kit.fakes import NOW, POLICY, a_task, attention, got, put
from kit.lock_waits import somebody_waits
from receiver.client.schemas import NewTask, WaitFor
from receiver.core.budgets import PeriodKind
from receiver.core.chains import CHAIN_MOST
from receiver.core.errors import RequestRefused, StoreUnavailable
from receiver.core.types import TaskState
from receiver.store import Lane, Store
from receiver.store.tables.spend import BudgetPeriod
from receiver.tasks import new_tasks
from receiver.tasks.copied_database import pause_if_copied
from receiver.tasks.intake import TaskIntake

pytestmark = pytest.mark.anyio

TIMES = 8


@pytest.fixture
def intakes(store: Store, other: Store) -> tuple[TaskIntake, TaskIntake]:
    return an_intake(store), an_intake(other)


Intakes = tuple[TaskIntake, TaskIntake]


async def test_one_key_makes_one_task(store: Store, intakes: Intakes) -> None:
    one, two = intakes
    for time in range(TIMES):
        made = await asyncio.gather(*(it.create_one(make(), f"key {time}") for it in (one, two, one, two)))
        assert len({task_of(it).ref for it in made}) == 1
        assert sorted(it.replayed for it in made) == [False, True, True, True]
    assert len(await store.tasks.page(limit=200)) == TIMES


async def test_a_key_comes_with_one_request(store: Store, intakes: Intakes) -> None:
    """Of two that differ, one is made and the other is refused."""
    one, two = intakes

    async def ask(intake: TaskIntake, asked: NewTask, key: str) -> str:
        try:
            return task_of(await intake.create_one(asked, key)).prompt or ""
        except RequestRefused as refused:
            return refused.code

    for time in range(TIMES):
        key = f"key {time}"
        given = await asyncio.gather(ask(one, make("a tower"), key), ask(two, make("a mill"), key))
        assert sorted(given) in (["a tower", "idempotency_key_reused"], ["a mill", "idempotency_key_reused"])
    assert len(await store.tasks.page(limit=200)) == TIMES


async def test_an_id_is_given_to_one_task(store: Store, intakes: Intakes) -> None:
    for time in range(TIMES):
        tasks = [a_task(task_id=None, unsure=True) for _ in intakes]
        await put(store, *tasks)

        async def give(intake: TaskIntake, ref: str, task_id: str) -> str:
            try:
                return (await intake.set_task_id(ref, task_id)).task_id or ""
            except RequestRefused as refused:
                return refused.code

        given = await asyncio.gather(
            *(give(it, task.ref, f"job-{time}") for it, task in zip(intakes, tasks, strict=True))
        )
        assert sorted(given) == [f"job-{time}", "task_id_taken"]


async def test_what_is_added_to_a_task_that_ends_meanwhile_goes_on(store: Store, intakes: Intakes) -> None:
    """Else it waits for an end that was told already, for ever."""
    bench = ChainBench(store)
    for time in range(TIMES):
        parent = a_task(task_id=f"job-{time}")
        [parent] = await bench.plant(parent)
        made, _ = await asyncio.gather(
            intakes[1].create_one(wide(wait_for=WaitFor(parent.ref, image_no=0), anyway=True), None), bench.end(parent)
        )
        await bench.follow_all()
        assert (await got(store, task_of(made).ref)).held_by is None
    await check_counts(store)


async def test_a_chain_that_two_add_to_does_not_grow_too_large(store: Store, intakes: Intakes) -> None:
    bench = ChainBench(store)
    root = a_task(task_id=None)
    line = {"parent": root.ref, "root": root.ref, "depth": 1}
    inner = [a_task(TaskState.QUEUED, **line) for _ in intakes]
    await bench.plant(root, *inner, *(a_task(TaskState.CANCELLED, **line) for _ in range(CHAIN_MOST - 4)))
    async with store.write() as tx:
        await tx.tasks.get([root.ref])
        asked = [
            asyncio.create_task(it.create_many([wide(wait_for=WaitFor(task.ref, image_no=0), anyway=True)]))
            for it, task in zip(intakes, inner, strict=True)
        ]
        await somebody_waits(store, 2)
    made = [result for it in asked for result in await it]
    assert sorted(isinstance(it, RequestRefused) for it in made) == [False, True]


async def test_a_batchs_lane_is_there_for_both(store: Store, intakes: Intakes) -> None:
    await a_lane(store)
    made = await asyncio.gather(
        *(it.create_many([make(line=line, row_key=f"row {line}") for line in (1, 2)], batch="rows") for it in intakes)
    )
    assert len({task_of(it).ref for some in made for it in some}) == 2


async def test_a_budget_that_is_raised_stays_so_whatever_is_noted_of_it_meanwhile(store: Store, other: Store) -> None:
    async def note(store: Store, **more: Any) -> None:
        async with store.write() as tx:
            kept = await tx.spend.get_period(PeriodKind.DAY, "2026-11-30")
            await tx.spend.put_period(
                BudgetPeriod(**{**{it: getattr(kept, it) for it in kept.__struct_fields__}, **more})
            )

    await asyncio.gather(note(store, raised_to=5), note(other, warned_at=NOW), note(store, reached_at=NOW))
    assert await store.spend.get_period(PeriodKind.DAY, "2026-11-30") == BudgetPeriod(
        PeriodKind.DAY, "2026-11-30", 5, NOW, NOW
    )


async def test_two_that_start_over_a_copied_database_say_so_once(store: Store, other: Store) -> None:
    await pause_if_copied(store, POLICY, "one", NOW)
    await asyncio.gather(*(pause_if_copied(it, POLICY, "another", NOW) for it in (store, other)))
    assert await attention(store) == ["copied-database"]


class _Lossy:
    """A store whose answer to a commit is lost on its way."""

    def __init__(self, store: Store, *, commits: bool) -> None:
        self._store, self._commits, self.shared = store, commits, True  # as if it was, also over SQLite

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @contextlib.asynccontextmanager
    async def write(self, lane: Lane = Lane.OTHER) -> AsyncIterator[Any]:
        try:
            async with self._store.write(lane) as tx:
                yield tx
                if not self._commits:
                    raise ConnectionResetError
        except ConnectionResetError:
            pass
        raise StoreUnavailable("the database did not say whether it committed")


async def test_a_task_that_was_stored_though_nobody_heard_so_is_not_asked_for_again(store: Store) -> None:
    intake = an_intake(_Lossy(store, commits=True))
    made = created(await intake.create_one(make(), None))
    assert [it.ref for it in await store.tasks.page()] == [task_of(made).ref]


async def test_it_is_looked_for_until_another_server_has_taken_over(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sum(new_tasks.READ_BACK_GAPS_S) >= 10
    monkeypatch.setattr(new_tasks, "READ_BACK_GAPS_S", [0.0] * len(new_tasks.READ_BACK_GAPS_S))
    states, away = store.tasks.states, [len(new_tasks.READ_BACK_GAPS_S) - 1]

    async def states_later(refs: Sequence[str]) -> Any:
        away[0] -= 1
        if away[0] >= 0:
            raise StoreUnavailable("the database is starting")
        return await states(refs)

    monkeypatch.setattr(store.tasks, "states", states_later)
    made = created(await an_intake(_Lossy(store, commits=True)).create_one(make(), None))
    assert [it.ref for it in await store.tasks.page()] == [task_of(made).ref]


async def test_of_a_later_part_of_a_call_it_is_said_that_its_outcome_is_not_known(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_tasks, "TURN", 1)
    write, left = store.write, [1]

    class Unknown(StoreUnavailable):
        outcome_unknown = True

    def lost(lane: Lane = Lane.OTHER) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Unknown("the answer is lost")
        return write(lane)

    monkeypatch.setattr(store, "write", lost)
    first, second = await an_intake(store).create_many([make("a"), make("b")])
    assert created(first).task is not None
    assert isinstance(second, RequestRefused)
    assert str(second).startswith(
        "it is not known whether this was stored: the answer is lost; repeat it with the same"
    )


async def test_a_task_that_was_not_stored_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    intake = an_intake(_Lossy(store, commits=False))
    with pytest.raises(StoreUnavailable):
        await intake.create_one(make(), None)
    assert await store.tasks.page() == []
