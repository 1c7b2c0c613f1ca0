"""kill -9 while a budget is spent: whatever dies, the provider never takes more than the budget pays for."""

import asyncio
import random
import signal
from decimal import Decimal
from pathlib import Path

import pytest

from kit.fakes import a_task, put
from kit.live_service import PATIENCE_S
from kit.programs import Programs
from receiver.core.budgets import PeriodKind
from receiver.core.money import NANO, to_decimal
from receiver.core.spend import SpendCounts, contribution
from receiver.core.types import TaskState
from receiver.store import open_store

pytestmark = pytest.mark.anyio

LIVES = 25
STEPS_MOST = 45
TODAY = "2025-12-29"
COST = Decimal("0.05")


@pytest.mark.parametrize("seed", [1, 3, 4])
async def test_a_dollar_at_five_cents_each_with_ten_in_hand_stays_a_dollar(
    tmp_path: Path, programs: Programs, seed: int
) -> None:
    """No cost is known at first: then one task is alone. Then ten are in hand; every life but the last is killed."""
    chance = random.Random(seed)  # noqa: S311 - repeatable
    store = await open_store(tmp_path / "r.db")
    await put(store, *[a_task(TaskState.QUEUED, turn=turn) for turn in range(60)])
    await store.close()
    deaths = 0
    for life in range(LIVES):
        last = life == LIVES - 1
        steps = 0 if last else chance.randint(1, STEPS_MOST)
        async with asyncio.timeout(PATIENCE_S):
            status = await programs.run("kit.dying_spender", str(tmp_path), str(life), str(steps))
        assert status in ((0,) if last else (0, -signal.SIGKILL))
        deaths += status != 0
        taken = (tmp_path / "taken").read_text().splitlines() if (tmp_path / "taken").exists() else []
        assert len(taken) == len(set(taken)), "one task was sent twice"
        assert len(taken) * COST <= 1
    assert deaths >= 3
    store = await open_store(tmp_path / "r.db")
    committed = await store.spend.committed(PeriodKind.DAY, TODAY)
    assert len(taken) * COST <= to_decimal(committed.amount) <= 1, "what was taken is in the books"
    assert committed.amount + NANO // 20 > NANO, "and all that could be spent was"
    added = filter(None, [contribution(task) for task in await store.tasks.page(limit=200)])
    assert await store.spend.sum_all("0", "9") == SpendCounts(*map(sum, zip(*added, strict=True)))
    await store.close()


async def test_the_first_of_a_model_dies_unsure_and_nothing_more_is_spent_before_its_cost_is_known(
    tmp_path: Path, programs: Programs
) -> None:
    for steps in range(1, STEPS_MOST):  # until the process dies just after the provider took it
        folder = tmp_path / str(steps)
        folder.mkdir()
        store = await open_store(folder / "r.db")
        await put(store, *[a_task(TaskState.QUEUED, turn=turn) for turn in range(5)])
        await store.close()
        async with asyncio.timeout(PATIENCE_S):
            assert await programs.run("kit.dying_spender", str(folder), "0", str(steps)) == -signal.SIGKILL
            if not (folder / "taken").exists() or not (folder / "taken").read_text():
                continue
            assert await programs.run("kit.dying_spender", str(folder), "1", "0") == 0
        assert len((folder / "taken").read_text().splitlines()) == 1
        return
    pytest.fail("nothing was taken")
