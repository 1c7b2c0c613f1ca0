"""Retention over a database that several processes share: one of them removes, and nothing that is in use."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kit.fakes import NOW, Clock, notices
from kit.retention import OLD, a_past, left, passed, pruning
from receiver.core.types import Callback, ImageCopy
from receiver.store import PostgresPlace, Store, open_store
from receiver.upkeep.prune_lease import LEASE_MS, PACE, PruneLeaseLost
from receiver.upkeep.retention import AGAIN_MS, EVERY_MS, FIRST_MS

pytestmark = pytest.mark.anyio
DAYS: dict[str, Any] = {"tasks": 10, "callbacks": 10, "polls": 10, "notices": 10, "images": 10}


@pytest.fixture
async def shared(postgres_url: str) -> AsyncIterator[Store]:
    opened = await open_store(PostgresPlace(url=postgres_url, pool=4))
    yield opened
    await opened.close()


async def test_one_prunes_and_the_other_waits_for_the_next_pass(shared: Store, tmp_path: Path, clock: Clock) -> None:
    await a_past(shared, tmp_path, OLD)
    one, other = (pruning(shared, tmp_path, clock=clock, alone=False, **DAYS) for _ in range(2))
    clock.forward(FIRST_MS)
    assert await one.claim() == "tasks"
    assert (await passed(other), await other.next_due()) == (0, clock.now + LEASE_MS)
    await passed(one)
    assert (await left(shared))["tasks"] == 0
    clock.forward(LEASE_MS)
    assert (await passed(other), await other.next_due()) == (0, NOW + FIRST_MS + EVERY_MS)
    assert other.start_pass_now(), "a person need not wait for it"
    assert await passed(other) > 0
    assert await one.next_due() == NOW + FIRST_MS + EVERY_MS


async def test_if_it_dies_the_other_takes_over_and_it_notices_when_it_was_only_frozen(
    shared: Store, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await a_past(shared, tmp_path, OLD)
    one, other = (pruning(shared, tmp_path, clock=clock, alone=False, **DAYS) for _ in range(2))
    clock.forward(FIRST_MS)
    step = await one.claim()
    assert step == "tasks"
    clock.forward(LEASE_MS)
    assert await other.claim() == "tasks"
    with caplog.at_level(logging.WARNING):
        await one.carry_out(step)
    assert "another process is removing what is old" in caplog.text
    assert (await left(shared))["tasks"] == 1
    assert (await one.claim(), await one.next_due()) == (None, clock.now + AGAIN_MS)
    await passed(other)
    assert (await left(shared))["tasks"] == 0


async def test_the_lease_is_looked_at_in_each_transaction_that_removes(
    shared: Store, tmp_path: Path, clock: Clock
) -> None:
    """It was frozen between a look and the removal."""
    await a_past(shared, tmp_path, OLD)
    one, other = (pruning(shared, tmp_path, clock=clock, alone=False, **DAYS) for _ in range(2))
    one.start_pass_now()
    assert await one.claim() == "tasks"
    clock.forward(LEASE_MS)
    other.start_pass_now()
    assert await other.claim() == "tasks"
    with pytest.raises(PruneLeaseLost):
        await one._prune_tasks()
    assert (await left(shared))["tasks"] == 1


async def test_a_long_pass_keeps_it(shared: Store, tmp_path: Path, clock: Clock) -> None:
    await a_past(shared, tmp_path, OLD)
    one, other = (pruning(shared, tmp_path, clock=clock, alone=False, **DAYS) for _ in range(2))
    one.start_pass_now()
    while (step := await one.claim()) is not None:
        other.start_pass_now()
        assert await other.claim() is None
        clock.forward(LEASE_MS - 1)
        await one.carry_out(step)
    assert (await left(shared))["tasks"] == 0


async def test_a_command_is_refused_while_a_process_is_at_it(shared: Store, tmp_path: Path, clock: Clock) -> None:
    one = pruning(shared, tmp_path, clock=clock, alone=False, **DAYS)
    one.start_pass_now()
    await one.claim()
    command = pruning(shared, tmp_path, clock=clock, alone=False, **DAYS)
    with pytest.raises(PruneLeaseLost, match="another process"):
        await command.run_full_pass()
    await passed(one)
    await command.run_full_pass()
    assert await shared.paces.get(PACE) is not None


# -- what is in use stays --


async def test_a_task_that_another_transaction_has_in_hand_stays_with_all_it_has(shared: Store, tmp_path: Path) -> None:
    task = await a_past(shared, tmp_path, OLD)
    before = await left(shared)
    async with shared.write() as ingest:
        await ingest.tasks.get([task.ref])
        async with shared.write() as tx:
            gone = await tx.pruning.drop_tasks([task.ref], NOW, 1000)
        assert gone.rows == 0
        async with shared.write() as tx:
            gone = await tx.pruning.drop_callbacks(list(range(10)))
        assert gone.rows == 0
        async with shared.write() as tx:
            gone = await tx.pruning.drop_copies([task.ref], "old")
        assert gone.rows == 0
        late = Callback(ref=task.ref, received_at=NOW, body=b"{}", digest=b"d")
        await ingest.callbacks.insert([(late, False)])
    assert await left(shared) == {**before, "callbacks": before["callbacks"] + 1}
    async with shared.write() as tx:
        assert (await tx.pruning.drop_tasks([task.ref], NOW, 1000)).refs == (task.ref,)
    assert set((await left(shared)).values()) == {0}


async def test_a_notice_that_is_sent_again_meanwhile_keeps_its_task(shared: Store, tmp_path: Path) -> None:
    task = await a_past(shared, tmp_path, OLD)
    async with shared.write() as tx:
        await tx.tasks._db.run_statement("UPDATE notices SET state = 'dead'")
        await tx.tasks._db.run_statement("UPDATE sends SET state = 'dead'")
        await tx.tasks._db.run_statement("DELETE FROM redriven")
    async with shared.write() as tx:
        await tx.notices.redrive(NOW, targets=["slack"], ids=None, to=None)
    [notice] = await notices(shared)
    assert notice.id is not None
    async with shared.write() as tx:
        assert (await tx.pruning.drop_notices([notice.id])).rows == 0
        assert (await tx.pruning.drop_tasks([task.ref], NOW, 1000)).rows == 0
    assert (await left(shared))["tasks"] == 1


async def test_pictures_that_are_fetched_again_are_not_written_off(shared: Store, tmp_path: Path) -> None:
    task = await a_past(shared, tmp_path, OLD, archive_at=NOW)
    async with shared.write() as tx:
        assert (await tx.pruning.drop_copies([task.ref], "old")).rows == 0
    copies = (await shared.copies.by_refs([task.ref]))[task.ref]
    assert list(copies) == [ImageCopy(0, "0.png", small="0.small.jpg", tiny="0.tiny.jpg")]
